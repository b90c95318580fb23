//! Fenced code blocks of a Markdown source, line by line.

use std::ops::Range;

/// One fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fence<'a> {
    /// What stands after the opening backticks.
    pub(crate) info: &'a str,
    /// The text between the fences.
    pub(crate) body: &'a str,
    /// Line of the first line of the body, from 1.
    pub(crate) line: usize,
    /// The whole block in the source, fences included.
    pub(crate) span: Range<usize>,
}

impl<'a> Fence<'a> {
    /// The language: the info string up to a comma or a space.
    pub(crate) fn language(&self) -> &'a str {
        self.info.split([',', ' ']).next().unwrap_or_default()
    }

    /// What follows the language: `exit=1` in `console,exit=1`.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &'a str> {
        self.info.split([',', ' ']).skip(1).filter(|part| !part.is_empty())
    }
}

/// All blocks fenced by three or more backticks at the start of a line, in order.
pub(crate) fn fences(source: &str) -> Vec<Fence<'_>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str, usize, usize, usize)> = None;
    let mut at = 0;
    for (index, line) in source.split_inclusive('\n').enumerate() {
        let ticks = line.bytes().take_while(|&byte| byte == b'`').count();
        let rest = line[ticks..].trim();
        match open {
            None if ticks >= 3 => open = Some((ticks, rest, at, at + line.len(), index + 2)),
            Some((opened, info, start, body, number)) if ticks >= opened && rest.is_empty() => {
                let span = start..at + line.trim_end().len();
                found.push(Fence { info, body: &source[body..at], line: number, span });
                open = None;
            }
            _ => {}
        }
        at += line.len();
    }
    found
}

/// The source with every fenced block replaced by what `replace` makes of it; `None` leaves it alone.
pub(crate) fn replace_fences(
    source: &str,
    mut replace: impl FnMut(&Fence<'_>) -> Option<String>,
) -> String {
    let mut out = String::with_capacity(source.len());
    let mut copied = 0;
    for fence in fences(source) {
        if let Some(new) = replace(&fence) {
            out.push_str(&source[copied..fence.span.start]);
            out.push_str(&new);
            copied = fence.span.end;
        }
    }
    out.push_str(&source[copied..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "text\n```console,exit=1\n$ true\n```\n````text\n```\nno end\n```\n````\n";

    #[test]
    fn a_longer_fence_holds_a_shorter_one() {
        let found = fences(SOURCE);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].language(), found[0].body, found[0].line), ("console", "$ true\n", 3));
        assert_eq!(found[0].attributes().collect::<Vec<_>>(), ["exit=1"]);
        assert_eq!(found[1].body, "```\nno end\n```\n");
    }

    #[test]
    fn replacing_keeps_the_text_around_it() {
        let out = replace_fences(SOURCE, |fence| (fence.language() == "text").then(|| "X".into()));
        assert_eq!(out, "text\n```console,exit=1\n$ true\n```\nX\n");
    }
}
