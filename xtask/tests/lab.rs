//! `cargo xtask lab 1` from the outside: the real program, over a small course.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod fixture;

use std::fs;
use std::time::{Duration, Instant};

use fixture::Fixture;
use insta::assert_snapshot;

#[test]
fn a_first_run_finds_everything_unsolved() {
    let course = Fixture::new();
    let said = course.grade();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(said.stderr, "");
    assert_snapshot!(said.report());
}

#[test]
fn a_solved_lab_has_full_marks_and_is_remembered() {
    let course = Fixture::new();
    course.solve();
    let said = course.grade();
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_snapshot!(said.report());
    assert_snapshot!("the_map_of_a_solved_lab", course.xtask(&[]).stdout);
    // A later mistake does not take the points back.
    course.write("labs/01-mini/src/totals.rs", "pub fn total(_: &[u64]) -> u64 {\n    0\n}\n");
    assert_eq!(course.grade().status, Some(1));
    assert!(course.xtask(&[]).stdout.contains("30/30"));
}

#[test]
fn the_reference_has_full_marks() {
    let course = Fixture::new();
    let said = course.xtask(&["lab", "1", "--solution"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(!course.path(".lab/state.json").exists(), "the reference's score was saved");
}

#[test]
fn a_wrong_answer_is_told_with_its_place_and_the_next_command() {
    let course = Fixture::new();
    course.answer_sum("a * b");
    let said = course.grade();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_snapshot!(said.report());
}

#[test]
fn a_panic_in_the_learners_code_is_placed_there() {
    let course = Fixture::new();
    course.answer_sum("[a, b][usize::try_from(a + b).unwrap()]");
    let said = course.grade();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stdout.contains("index out of bounds"), "{said:?}");
    assert!(said.stdout.contains("your code: labs/01-mini/src/sums.rs:7"), "{said:?}");
}

#[test]
fn an_error_of_the_compiler_is_shown_in_its_words() {
    let course = Fixture::new();
    course.answer_sum("a + c");
    let said = course.grade();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_snapshot!(said.report());
    assert!(!course.path(".lab/state.json").exists(), "there was nothing to save");
}

#[test]
fn a_deleted_file_costs_its_task_and_reset_brings_it_back() {
    let course = Fixture::new();
    course.solve();
    fs::remove_file(course.path("labs/01-mini/src/totals.rs")).unwrap();
    let said = course.grade();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_snapshot!(said.report());
    assert_eq!(course.xtask(&["lab", "1", "reset", "1.2"]).status, Some(0));
    assert!(course.read("labs/01-mini/src/totals.rs").contains("todo!(\"task 1.2\")"));
}

#[test]
fn reset_keeps_what_it_replaces() {
    let course = Fixture::new();
    course.solve();
    let mine = course.read("labs/01-mini/src/sums.rs");
    let said = course.xtask(&["lab", "1", "reset", "1.1"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let backup = said.stdout.trim().rsplit(' ').next().unwrap();
    assert_eq!(course.read(backup), mine);
    assert!(course.read("labs/01-mini/src/sums.rs").contains("todo!"));
    let other = course.read("labs/01-mini/src/totals.rs");
    assert!(!other.contains("todo!"), "another task's file was touched: {other}");
    assert!(course.xtask(&["lab", "1", "reset", "1.1"]).stdout.contains("Nothing to do"));
}

#[test]
fn edited_checks_and_manifests_count_for_nothing() {
    let course = Fixture::new();
    course.answer_sum("a * b");
    let easy = "#[test]\nfn task_1_1_adds_small_numbers() {}\n#[test]\nfn task_1_1_adds_large_numbers() {}\n";
    course.write("labs/01-mini/src/tests/task_1_1.rs", easy);
    course.write("labs/01-mini/build.rs", "fn main() { panic!(\"must not run\") }\n");
    let manifest = course.read("labs/01-mini/Cargo.toml");
    course.write("labs/01-mini/Cargo.toml", &manifest.replace("0.1.0", "9.9.9"));
    // The learner's own build of the tampered lab comes first: its output must not be taken for ours.
    fs::remove_file(course.path("labs/01-mini/build.rs")).unwrap();
    let mut cargo = std::process::Command::new("cargo");
    cargo.args(["test", "-q", "-p", "lab01-mini", "--lib", "task_1_1"]);
    cargo.current_dir(course.root()).env("CARGO_TARGET_DIR", course.path("target"));
    assert!(cargo.output().unwrap().status.success(), "the tampered lab passes its own tests");
    let said = course.grade();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stdout.contains("FAIL    1.1"), "{said:?}");
    assert!(said.stdout.contains("do not count"), "{said:?}");
}

#[test]
fn leaving_early_is_no_way_to_pass() {
    let course = Fixture::new();
    course.answer_sum("{ std::process::exit(i32::from(a + b == 0)) }");
    let said = course.grade();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stdout.contains("ended before the check was over"), "{said:?}");
}

#[test]
fn printing_what_the_harness_prints_is_no_way_to_pass() {
    let course = Fixture::new();
    course.answer_sum(
        r#"{
        println!("ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.00s\n");
        std::process::exit(i32::from(a + b == 0))
    }"#,
    );
    assert_eq!(course.grade().status, Some(1));
}

#[test]
fn an_endless_loop_is_named_within_its_limit() {
    let course = Fixture::new();
    course.answer_sum("{ loop { std::hint::black_box((a, b)); } }");
    course.grade();
    let started = Instant::now();
    let said = course.grade();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stdout.contains("time limit: not finished within 3 s"), "{said:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(processes_of(&course), Vec::<u32>::new());
}

#[test]
fn a_broken_state_file_is_kept_and_told() {
    let course = Fixture::new();
    course.write(".lab/state.json", "{ \"version\": 1, \"tasks\": ");
    let said = course.grade();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stdout.contains("state.json.broken-1"), "{said:?}");
    assert_eq!(course.read(".lab/state.json.broken-1"), "{ \"version\": 1, \"tasks\": ");
    assert!(course.read(".lab/state.json").contains("\"1.1\""));
}

#[test]
fn hints_come_one_by_one_and_are_remembered() {
    let course = Fixture::new();
    let hint = || course.xtask(&["lab", "1", "hint"]).stdout;
    assert!(hint().contains("1.1, hint 1 of 3: Look at the plus sign."));
    course.xtask(&["lab", "1", "hint", "1.1"]);
    assert!(hint().contains("hint 3 of 3: a + b"));
    assert!(hint().contains("next: cargo xtask lab 1 solution 1.1"));
    let solution = course.xtask(&["lab", "1", "solution", "1.1"]);
    assert_snapshot!(solution.stdout);
}

#[test]
fn a_report_for_programs_is_one_object() {
    let course = Fixture::new();
    course.answer_sum("a + b");
    let said = course.xtask(&["lab", "1", "--json"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["score"], serde_json::json!({ "points": 10, "of": 30, "unknown": 0 }));
    assert_eq!(report["tasks"][0]["verdict"], "PASS");
    assert_eq!(report["tasks"][0]["checks"][0]["notes"][0], "a note of the check");
    assert_eq!(report["tasks"][1]["unsolved"], true);
    assert_eq!(report["next"]["task"], "1.2");
}

#[test]
fn a_lab_or_task_that_is_not_there_is_told() {
    let course = Fixture::new();
    let said = course.xtask(&["lab", "7"]);
    assert_eq!(said.status, Some(2));
    assert!(said.stderr.contains("there is no lab 7 yet; there is 1"), "{said:?}");
    let said = course.xtask(&["lab", "1", "--task", "1.9"]);
    assert_eq!(said.status, Some(2));
    assert!(said.stderr.contains("lab 1 has no task 1.9; it has 1.1, 1.2"), "{said:?}");
    let said = course.xtask(&["docter"]);
    assert!(said.stderr.contains("doctor"), "{said:?}");
}

#[cfg(unix)]
mod interrupted {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// Starts a run of a lab whose checks never end; comes back when one of them runs.
    fn hanging(course: &Fixture) -> std::process::Child {
        course.answer_sum("{ loop { std::hint::black_box((a, b)); } }");
        let mut child = course.command(&["lab", "1"]);
        let child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        let child = child.spawn().unwrap();
        let started = Instant::now();
        while processes_of(course).is_empty() {
            assert!(started.elapsed() < Duration::from_secs(60), "no check was started");
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    #[test]
    fn ctrl_c_ends_the_checks_and_leaves_the_state_alone() {
        let course = Fixture::new();
        course.write(".lab/state.json", "{\"version\":1,\"tasks\":{}}");
        let child = hanging(&course);
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert_eq!(processes_of(&course), Vec::<u32>::new());
        assert_eq!(course.read(".lab/state.json"), "{\"version\":1,\"tasks\":{}}");
    }

    #[test]
    fn a_second_run_is_refused_while_one_is_on() {
        let course = Fixture::new();
        let mut child = hanging(&course);
        let said = course.grade();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        child.wait().unwrap();
        assert_eq!(said.status, Some(2), "{said:?}");
        assert!(said.stderr.contains(&format!("(process {})", child.id())), "{said:?}");
    }
}

/// Processes that run a program built in the fixture.
fn processes_of(course: &Fixture) -> Vec<u32> {
    let programs = course.path("target/debug/deps");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let runs = |id: &u32| {
        fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe.starts_with(&programs))
    };
    ids.filter(runs).collect()
}
