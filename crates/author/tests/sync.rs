//! `author sync` on a small course: what it writes, what it reports, and what it never gives up.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use author::{AuthorError, SyncArgs, run_sync, sync};
use common::Fixture;

const CODE: &str = "labs/01-fixture/src/tally.rs";
const SOLUTION: &str = "solutions/01-fixture/src/tally.rs";

fn synced() -> Fixture {
    let fixture = Fixture::new();
    sync_now(&fixture, false).unwrap();
    fixture
}

fn sync_now(fixture: &Fixture, force: bool) -> Result<usize, AuthorError> {
    let course = fixture.course();
    let report = sync::compare(&course)?;
    sync::write(&course, &report, force)?;
    Ok(report.changes.len())
}

fn git(fixture: &Fixture, args: &[&str]) {
    let identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"];
    let status = Command::new("git")
        .args(identity)
        .args(args)
        .current_dir(fixture.root())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "git {args:?}");
}

#[test]
fn a_second_sync_finds_nothing_to_do() {
    let fixture = synced();
    assert!(fixture.read(CODE).contains("todo!(\"task 1.1\")"));
    assert!(sync::compare(&fixture.course()).unwrap().is_clean());
}

#[test]
fn comparing_shows_the_difference_and_writes_nothing() {
    let fixture = synced();
    fixture.edit(SOLUTION, "/// Counts one more.", "/// Counts another one.");
    let before = fixture.read(CODE);
    let report = sync::compare(&fixture.course()).unwrap();
    let [change] = &report.changes[..] else { panic!("{} changes", report.changes.len()) };
    assert_eq!(change.path, Path::new(CODE));
    let diff = change.diff();
    assert!(diff.contains("-    /// Counts one more."), "{diff}");
    assert!(diff.contains("+    /// Counts another one."), "{diff}");
    assert_eq!(fixture.read(CODE), before);
}

#[test]
fn what_comes_from_no_solution_is_named_and_left_alone() {
    let fixture = synced();
    fixture.write("labs/01-fixture/src/extra.rs", "mine");
    fixture.write("labs/02-unknown/notes.txt", "mine");
    let report = sync::compare(&fixture.course()).unwrap();
    let strangers: Vec<_> =
        report.strangers.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(strangers, ["labs/01-fixture/src/extra.rs", "labs/02-unknown/notes.txt"]);
    assert!(!report.is_clean());
    sync_now(&fixture, true).unwrap();
    assert_eq!(fixture.read("labs/02-unknown/notes.txt"), "mine");
}

#[test]
fn an_edit_is_given_up_only_by_force() {
    let fixture = synced();
    fixture.edit(CODE, "todo!(\"task 1.1\")", "self.count += 1;");
    fixture.edit(SOLUTION, "/// Counts one more.", "/// Counts another one.");
    let mine = fixture.read(CODE);
    match sync_now(&fixture, false) {
        Err(AuthorError::Edited(files)) => assert_eq!(files, [Path::new(CODE)]),
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.read(CODE), mine);
    assert_eq!(sync_now(&fixture, true).unwrap(), 1);
    assert!(fixture.read(CODE).contains("Counts another one"));
}

#[test]
fn what_sync_itself_wrote_may_be_written_again() {
    let fixture = synced();
    fixture.edit(SOLUTION, "/// Counts one more.", "/// Counts another one.");
    assert_eq!(sync_now(&fixture, false).unwrap(), 1);
}

#[test]
fn what_git_has_may_be_written_again() {
    let fixture = synced();
    std::fs::remove_dir_all(fixture.path("target")).unwrap();
    fixture.edit(CODE, "todo!(\"task 1.1\")", "self.count += 1;");
    git(&fixture, &["init", "--quiet"]);
    git(&fixture, &["add", "."]);
    git(&fixture, &["commit", "--quiet", "--message", "all"]);
    assert_eq!(sync_now(&fixture, false).unwrap(), 1);
    assert!(fixture.read(CODE).contains("todo!(\"task 1.1\")"));
}

#[test]
fn the_command_shows_a_diff_or_writes_and_says_so_by_its_status() {
    let fixture = Fixture::new();
    let run = |check| {
        let mut out = Vec::new();
        let args = SyncArgs { check, force: false };
        let status = run_sync(fixture.root(), &args, &mut out).unwrap();
        (status, String::from_utf8(out).unwrap())
    };
    let (status, said) = run(true);
    assert_eq!(status, 1);
    assert!(said.contains("+++ labs/01-fixture/src/tally.rs (generated)"), "{said}");
    assert!(said.ends_with("labs/ is out of date: run `cargo xtask author sync`\n"), "{said}");
    let (status, said) = run(false);
    assert_eq!(status, 0);
    assert!(said.contains("added   labs/01-fixture/src/tally.rs\n"), "{said}");
    assert_eq!(run(true), (0, "labs/ is what the solutions give\n".to_owned()));
    fixture.write("labs/01-fixture/notes.txt", "mine");
    let stranger = "labs/01-fixture/notes.txt comes from no solution: remove it\n";
    assert_eq!(run(true), (1, stranger.to_owned()));
    assert_eq!(run(false), (1, stranger.to_owned()));
}
