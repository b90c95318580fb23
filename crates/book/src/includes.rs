//! Every file and anchor that the sources include. mdBook itself leaves a hole where an anchor is missing.

use std::path::Path;

use crate::fences::fences;
use crate::solution::solution_line;

/// What is wrong with the includes of one source, each with its line.
pub(crate) fn broken_includes(source: &str, dir: &Path) -> Vec<(usize, String)> {
    let mut broken = Vec::new();
    for (index, line) in source.lines().enumerate() {
        let mut report = |message| broken.push((index + 1, message));
        for target in targets(line, "{{#include ").chain(targets(line, "{{#rustdoc_include ")) {
            let (path, part) = target.split_once(':').unwrap_or((target, ""));
            match std::fs::read_to_string(dir.join(path)) {
                Err(cause) => report(format!("{path}: {cause}")),
                Ok(text) if !has_part(&text, part) => {
                    report(format!("{path} has no lines or anchor `{part}`"));
                }
                Ok(_) => {}
            }
        }
        if let Some((_, path)) = solution_line(line)
            && !dir.join(path).is_file()
        {
            report(format!("{path}: no such file"));
        }
    }
    for fence in fences(source).iter().filter(|fence| fence.info.is_empty()) {
        broken.push((fence.line - 1, "a code block needs a language; `text` for none".to_owned()));
    }
    broken
}

fn targets<'a>(line: &'a str, opening: &'a str) -> impl Iterator<Item = &'a str> {
    line.split(opening).skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()))
}

/// Whether `part` of `path:part` is something: nothing at all, a line range that is inside, or an anchor.
fn has_part(text: &str, part: &str) -> bool {
    let count = text.lines().count();
    let bounds: Vec<&str> = part.split(':').collect();
    if bounds.iter().all(|bound| bound.is_empty() || bound.parse::<usize>().is_ok()) {
        return bounds
            .iter()
            .filter_map(|bound| bound.parse().ok())
            .all(|line: usize| line <= count);
    }
    let marks = |mark: &str| {
        text.lines().any(|line| line.split_once(mark).is_some_and(|(_, name)| name.trim() == part))
    };
    marks("ANCHOR:") && marks("ANCHOR_END:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_must_open_and_close() {
        let text = "// ANCHOR: a\nx\n// ANCHOR_END: a\n// ANCHOR: b\n";
        assert!(has_part(text, "a") && has_part(text, "") && has_part(text, "1:3"));
        assert!(!has_part(text, "b") && !has_part(text, "c") && !has_part(text, "2:9"));
    }

    #[test]
    fn a_missing_file_is_named_with_its_line() {
        let broken = broken_includes("\n{{#include none.rs:a}}\n", Path::new("/nowhere"));
        assert_eq!(broken[0].0, 2);
        assert!(broken[0].1.starts_with("none.rs: "));
    }
}
