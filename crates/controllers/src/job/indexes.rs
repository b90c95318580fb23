//! Sets of numbers as a job's status carries them: `0,2-4`.

use std::collections::BTreeSet;

/// The numbers of a text. What is no number is left out.
pub(super) fn parse(text: &str) -> BTreeSet<i64> {
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            all.extend(first..=last);
        }
    }
    all
}

/// The text of numbers; runs of three and more are shortened, as in Kubernetes.
pub(super) fn format(all: &BTreeSet<i64>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut numbers = all.iter().copied().peekable();
    while let Some(first) = numbers.next() {
        let mut last = first;
        while numbers.peek() == Some(&(last + 1)) {
            last += 1;
            numbers.next();
        }
        parts.push(match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_are_shortened() {
        assert_eq!(format(&[0, 2, 3, 4, 7, 8].into()), "0,2-4,7,8");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(all in proptest::collection::btree_set(0_i64..200, 0..60)) {
            prop_assert_eq!(parse(&format(&all)), all);
        }
    }
}
