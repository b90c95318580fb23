//! The real book is sound, and an unsound one is found out.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use book::check::check;

fn real_book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../book")
}

/// A book of one chapter with the text given.
fn fixture(chapter: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let src = dir.path().join("src");
    std::fs::create_dir(&src).unwrap();
    std::fs::write(dir.path().join("book.toml"), "[book]\ntitle = \"Fixture\"\n").unwrap();
    std::fs::write(src.join("SUMMARY.md"), "# Summary\n\n- [One](one.md)\n").unwrap();
    std::fs::write(src.join("one.md"), chapter).unwrap();
    std::fs::write(src.join("code.rs"), "// ANCHOR: here\nfn f() {}\n// ANCHOR_END: here\n")
        .unwrap();
    dir
}

fn findings(chapter: &str) -> Vec<String> {
    let dir = fixture(chapter);
    check(dir.path()).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn the_real_book_is_sound() {
    let findings = check(&real_book()).unwrap();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn the_real_book_asks_nothing_of_the_network() {
    let out = tempfile::tempdir().unwrap();
    let built = book::build(&real_book(), out.path()).unwrap();
    let page = std::fs::read_to_string(built.out.join("lab-1/paged-kv.html")).unwrap();
    let loaded: Vec<&str> = page
        .split('<')
        .filter(|tag| tag.starts_with("script") || tag.starts_with("link"))
        .collect();
    assert!(loaded.len() > 10, "{loaded:?}");
    assert!(loaded.iter().all(|tag| !tag.contains("://")), "{loaded:?}");
}

#[test]
fn the_real_book_promises_only_its_own_commands() {
    let commands = book::commands::commands(&real_book()).unwrap();
    assert!(commands.iter().any(|command| command.command == "cargo xtask lab 1"));
    let tasks = ["1.1", "1.2", "1.3", "1.4"].map(|task| format!("cargo xtask lab 1 --task {task}"));
    for task in tasks {
        assert!(commands.iter().any(|command| command.command == task), "{task}");
    }
}

#[test]
fn a_sound_chapter_has_no_findings() {
    let chapter = "# One\n\n[up](#one) and [out](https://example.org)\n\n```rust\n{{#include code.rs:here}}\n```\n";
    assert_eq!(findings(chapter), Vec::<String>::new());
}

#[test]
fn a_broken_link_is_found() {
    let found = findings("# One\n\n[two](two.md) and ![alt](none.png)\n");
    assert!(found.iter().any(|line| line.contains("broken link: two.")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("broken link: none.png")), "{found:?}");
}

#[test]
fn a_missing_anchor_is_found() {
    let found = findings("# One\n\n[x](#two)\n\n```rust\n{{#include code.rs:there}}\n```\n");
    assert!(found.iter().any(|line| line.contains("no such anchor: #two")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("no lines or anchor `there`")), "{found:?}");
}

#[test]
fn a_missing_alt_text_is_found() {
    let found = findings("# One\n\n![](code.rs)\n");
    assert!(found.iter().any(|line| line.contains("no alt text: code.rs")), "{found:?}");
}

#[test]
fn a_broken_quiz_is_found() {
    let found = findings("# One\n\n```quiz\nquestion = 'Q'\n```\n");
    assert!(found.iter().any(|line| line.contains("one.md: quiz: ")), "{found:?}");
}

#[test]
fn a_folder_with_something_else_is_not_overwritten() {
    let dir = fixture("# One\n");
    let out = tempfile::tempdir().unwrap();
    std::fs::write(out.path().join("thesis.txt"), "years of work").unwrap();
    let refused = book::build(dir.path(), out.path()).unwrap_err().to_string();
    assert!(refused.ends_with("holds something that is no built book: give an empty folder"));
    assert!(out.path().join("thesis.txt").is_file());

    let free = out.path().join("book");
    book::build(dir.path(), &free).unwrap();
    book::build(dir.path(), &free).unwrap();
}

#[test]
fn a_solution_is_folded_and_whole() {
    let out = tempfile::tempdir().unwrap();
    let built = book::build(&real_book(), out.path()).unwrap();
    let page = std::fs::read_to_string(built.out.join("lab-1/paged-kv.html")).unwrap();
    let (before, after) = page.split_once("<details class=\"solution\">").unwrap();
    assert!(after.contains("fn take_block(&amp;mut self)"));
    assert!(!before.contains("pop_front"), "the text gives the solution away");
    assert!(!page.contains("ANCHOR"));
}
