//! The book's tables and plots are those of the results beside them, to the byte.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use bench::policy::{self, LiveResult, PolicyResult};
use bench::{BenchResult, BookPage, Places, markdown, svg};

#[test]
fn what_the_book_shows_is_made_from_the_results_beside_it() {
    let root = Places::here().root;
    let mut shown = 0;
    for bench in ["cluster", "engine", "loadgen", "router", "simulation"] {
        let page = BookPage::of(&root, bench);
        if !page.result.is_file() {
            continue;
        }
        shown += 1;
        let result = BenchResult::load(&page.result).unwrap();
        assert_eq!(result.bench, bench);
        let again = format!("`cargo xtask bench {bench} --book` writes all three files");
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        assert!(read(&page.table) == markdown(&result), "another table: {again}");
        assert!(read(&page.plot) == svg(&result), "another plot: {again}");
    }
    assert!(shown > 0, "the book shows no result at all");
}

#[test]
fn what_the_book_shows_of_policies_is_made_from_the_result_beside_it() {
    let page = BookPage::of(&Places::here().root, "policy");
    let result = PolicyResult::load(&page.result).unwrap();
    let again = "`cargo xtask bench policy --book` writes all three files";
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    assert!(read(&page.table) == policy::markdown(&result), "other tables: {again}");
    assert!(read(&page.plot) == policy::svg(&result), "another plot: {again}");
}

#[test]
fn what_the_book_shows_of_policies_in_real_time_is_made_from_the_result_beside_it() {
    let page = BookPage::of(&Places::here().root, "policy-live");
    let result = LiveResult::load(&page.result).unwrap();
    let again = "`cargo xtask bench policy --live --book` writes both files";
    let table = std::fs::read_to_string(&page.table).unwrap_or_default();
    assert!(table == result.markdown(), "another table: {again}");
}
