//! The book shows what the program prints.

use std::fs;

use sol01_triage::published;

const IN_THE_BOOK: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../book/src/lab-1/recordings/roofline-published.txt");

#[test]
fn the_book_shows_the_table_that_is_printed() {
    let shown = fs::read_to_string(IN_THE_BOOK).expect("the book has the table");
    let printed = published::table().expect("the reference serves every request");
    for (shown, printed) in shown.lines().zip(printed.lines()) {
        assert_eq!(shown, printed);
    }
    let advice = "cargo run -p sol01-triage --bin sol01-published writes it anew";
    assert_eq!(shown.lines().count(), printed.lines().count(), "{advice}");
}
