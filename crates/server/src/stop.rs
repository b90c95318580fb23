//! Stop strings in a text that comes in pieces.
//!
//! Text that may be the start of a stop string is held back. One Knuth-Morris-Pratt automaton a stop
//! string makes that a constant amount of work a byte, however long the strings are.

use std::sync::Arc;

/// The stop strings of a request, ready to be searched for.
#[derive(Debug)]
pub(crate) struct StopStrings {
    patterns: Vec<Pattern>,
    /// Whether the string that was found is part of the answer.
    include: bool,
}

#[derive(Debug)]
struct Pattern {
    text: String,
    /// For each prefix, the length of its longest proper border.
    border: Vec<usize>,
}

impl StopStrings {
    /// `strings` has no empty one.
    pub(crate) fn new(strings: Vec<String>, include: bool) -> Self {
        Self { patterns: strings.into_iter().map(Pattern::new).collect(), include }
    }
}

impl Pattern {
    fn new(text: String) -> Self {
        let mut border = vec![0; text.len()];
        for i in 1..text.len() {
            border[i] = advance(text.as_bytes(), &border, border[i - 1], text.as_bytes()[i]);
        }
        Self { text, border }
    }
}

/// From `matched` bytes of `pattern` matched to how many are after one more byte.
fn advance(pattern: &[u8], border: &[usize], mut matched: usize, byte: u8) -> usize {
    loop {
        if pattern.get(matched) == Some(&byte) {
            return matched + 1;
        }
        if matched == 0 {
            return 0;
        }
        matched = border[matched - 1];
    }
}

/// Text that may go out, and the stop string that was found, if one was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) text: String,
    pub(crate) stop: Option<String>,
}

/// One answer's search.
#[derive(Debug)]
pub(crate) struct StopSearch {
    strings: Arc<StopStrings>,
    matched: Vec<usize>,
    held: String,
}

impl StopSearch {
    pub(crate) fn new(strings: Arc<StopStrings>) -> Self {
        Self { matched: vec![0; strings.patterns.len()], strings, held: String::new() }
    }

    /// Takes more text.
    pub(crate) fn push(&mut self, text: &str) -> Checked {
        let before = self.held.len();
        self.held.push_str(text);
        for (i, byte) in text.bytes().enumerate() {
            for (pattern, matched) in self.strings.patterns.iter().zip(&mut self.matched) {
                *matched = advance(pattern.text.as_bytes(), &pattern.border, *matched, byte);
                if *matched == pattern.text.len() {
                    let end = before + i + 1;
                    let cut = if self.strings.include { end } else { end - *matched };
                    let text = self.held[..cut].to_owned();
                    self.held.clear();
                    return Checked { text, stop: Some(pattern.text.clone()) };
                }
            }
        }
        let longest = self.matched.iter().copied().max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - longest);
        Checked { text: std::mem::replace(&mut self.held, rest), stop: None }
    }

    /// Gives out what was held back: no more text will come.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(stops: &[&str], include: bool) -> StopSearch {
        let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
        StopSearch::new(Arc::new(StopStrings::new(stops, include)))
    }

    #[test]
    fn a_possible_start_is_held_back_until_it_is_decided() {
        let mut search = search(&["</s>"], false);
        assert_eq!(search.push("a<"), Checked { text: "a".into(), stop: None });
        assert_eq!(search.push("/"), Checked { text: "".into(), stop: None });
        assert_eq!(search.push("b"), Checked { text: "</b".into(), stop: None });
        let found = Checked { text: "c".into(), stop: Some("</s>".into()) };
        assert_eq!(search.push("c</s>d"), found);
    }

    #[test]
    fn a_stop_string_is_kept_where_asked() {
        let found = Checked { text: "a.".into(), stop: Some(".".into()) };
        assert_eq!(search(&[",", "."], true).push("a.b"), found);
    }

    #[test]
    fn what_was_held_back_comes_out_at_the_end() {
        let mut search = search(&["éé!"], false);
        assert_eq!(search.push("xéé").text, "x");
        assert_eq!(search.finish(), "éé");
    }

    proptest! {
        #[test]
        fn finds_what_a_search_of_the_whole_text_finds(
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
            pieces in prop::collection::vec("[abé]{0,3}", 0..12),
        ) {
            let whole = pieces.concat();
            let ends = |stop: &String| whole.find(stop.as_str()).map(|at| at + stop.len());
            let first_end = stops.iter().filter_map(ends).min();
            let mut search = StopSearch::new(Arc::new(StopStrings::new(stops.clone(), false)));
            let mut seen = String::new();
            let mut found = None;
            for piece in &pieces {
                let checked = search.push(piece);
                seen.push_str(&checked.text);
                found = checked.stop;
                if found.is_some() { break }
            }
            match first_end {
                Some(end) => {
                    let found = found.expect("a stop string is in the text");
                    prop_assert_eq!(format!("{seen}{found}"), &whole[..end]);
                }
                None => {
                    prop_assert_eq!(found, None);
                    seen.push_str(&search.finish());
                    prop_assert_eq!(seen, whole);
                }
            }
        }
    }
}
