//! Expectations whose failures read as `expected ...`, `saw ...`: short, and the same in every
//! check.

use std::fmt::{Debug, Display};

/// Fails unless `holds`. `context` says what was going on, in one line.
///
/// # Panics
/// That is its purpose: the panic's message is the verdict's text.
#[track_caller]
pub fn expect(context: impl Display, holds: bool, expected: impl Display, saw: impl Display) {
    assert!(holds, "{context}\nexpected {}\nsaw {}", shorten(&expected), shorten(&saw));
}

/// Fails unless both are equal.
///
/// # Panics
/// Where they differ.
#[track_caller]
pub fn expect_eq<T, U>(context: impl Display, expected: T, saw: U)
where
    T: Debug + PartialEq<U>,
    U: Debug,
{
    expect(context, expected == saw, format!("{expected:?}"), format!("{saw:?}"));
}

/// Fails unless `saw` is within `tolerance` of `expected`, relative to it (absolute where that is
/// 0).
///
/// # Panics
/// Where it is not, or where it is NaN.
#[track_caller]
pub fn expect_close(context: impl Display, expected: f64, saw: f64, tolerance: f64) {
    let scale = if expected == 0.0 { 1.0 } else { expected.abs() };
    let close = expected == saw || (saw - expected).abs() <= tolerance * scale;
    expect(context, close, expected, saw);
}

/// Fails unless `value` is there.
///
/// # Panics
/// Where it is not.
#[track_caller]
pub fn expect_some<T>(context: impl Display, expected: impl Display, value: Option<T>) -> T {
    match value {
        Some(value) => value,
        None => panic!("{context}\nexpected {}\nsaw nothing", shorten(&expected)),
    }
}

/// At most this many characters of a value are shown.
const LONGEST: usize = 240;

/// One line, cut where it is too long to help.
pub(crate) fn shorten(value: &impl Display) -> String {
    let text = value.to_string().replace('\n', " ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}... ({} characters)", &text[..end], text.chars().count()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(check: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let panic = std::panic::catch_unwind(check).expect_err("the expectation holds");
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn a_failure_says_what_was_expected_and_what_was_seen() {
        let text = message(|| expect_eq("two and two", 4, 2 + 3));
        assert_eq!(text, "two and two\nexpected 4\nsaw 5");
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = message(|| expect("list", false, "short", format!("{:?}", [7; 500])));
        assert!(text.len() < 300, "{text}");
        assert!(text.ends_with("... (1500 characters)"), "{text}");
    }

    #[test]
    fn not_a_number_is_close_to_nothing() {
        assert!(message(|| expect_close("nan", 1.0, f64::NAN, 1.0)).contains("saw NaN"));
        expect_close("infinite", f64::INFINITY, f64::INFINITY, 0.0);
    }
}
