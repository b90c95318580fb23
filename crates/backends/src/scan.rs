//! Finds a few samples on a metrics page without reading the rest of it.
//!
//! [`protocol::scrape::Page`] reads all of a page into maps; a router needs five of 600 samples, from each backend,
//! several times a second. What both find is the same: a property test holds them together.

use std::borrow::Cow;

use memchr::memchr;

/// A sample that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample<'a> {
    /// Which of the names, by its index.
    pub(crate) name: usize,
    /// Its labels.
    pub(crate) labels: Labels<'a>,
    /// Its value, as text.
    pub(crate) value: &'a str,
}

/// A line that begins with a name that was looked for, and is no sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken<'a> {
    /// Which of the names, by its index.
    pub(crate) name: usize,
    /// What it says.
    pub(crate) line: &'a str,
}

/// The samples of these names, in the order of the page.
pub(crate) fn samples<'a, 'n>(
    page: &'a str,
    names: &'n [&'n str],
) -> impl Iterator<Item = Result<Sample<'a>, Broken<'a>>> + use<'a, 'n> {
    lines(page).filter_map(move |line| {
        let line = line.trim();
        let (name, rest) = names.iter().enumerate().find_map(|(index, name)| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with(|c: char| c == '{' || c.is_whitespace()).then_some((index, rest))
        })?;
        Some(parse(name, rest).ok_or(Broken { name, line }))
    })
}

/// Whether the page says what type a metric has. It may do so before there is a sample.
pub(crate) fn declares(page: &str, name: &str) -> bool {
    lines(page).any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some("#") && words.next() == Some("TYPE") && words.next() == Some(name)
    })
}

fn lines(page: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(page);
    std::iter::from_fn(move || {
        let text = rest?;
        let (line, after) = match memchr(b'\n', text.as_bytes()) {
            Some(end) => (&text[..end], Some(&text[end + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(line)
    })
}

fn parse(name: usize, rest: &str) -> Option<Sample<'_>> {
    let (labels, after) = match rest.strip_prefix('{') {
        Some(inside) => {
            let labels = Labels { inside };
            let mut at = labels.iter();
            at.by_ref().for_each(drop);
            (labels, at.after?)
        }
        None => (Labels { inside: "}" }, rest),
    };
    // A timestamp may follow.
    let value = after.split_whitespace().next()?;
    Some(Sample { name, labels, value })
}

/// The labels of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Labels<'a> {
    /// From behind the opening brace to the end of the line.
    inside: &'a str,
}

impl<'a> Labels<'a> {
    /// The value of a label as it stands on the page, escapes and all; `""` where there is none.
    pub(crate) fn raw(self, name: &str) -> &'a str {
        self.iter().find(|(each, _)| *each == name).map_or("", |(_, value)| value)
    }

    /// The value of a label; `""` where there is none.
    pub(crate) fn get(self, name: &str) -> Cow<'a, str> {
        unescape(self.raw(name))
    }

    fn iter(self) -> LabelIter<'a> {
        LabelIter { rest: self.inside, after: None }
    }
}

struct LabelIter<'a> {
    rest: &'a str,
    /// What follows the closing brace, when that was reached.
    after: Option<&'a str>,
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            self.after = Some(after);
            self.rest = "";
            return None;
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let end = closing_quote(quoted)?;
        let after = quoted[end + 1..].trim_start();
        self.rest = after.strip_prefix(',').unwrap_or(after);
        Some((name.trim(), &quoted[..end]))
    }
}

/// Where the value ends that `text` begins with. `\` takes the next character's meaning away.
fn closing_quote(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.as_bytes().get(from..)?)?;
        if text.as_bytes()[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut value = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => value.push('\n'),
                Some(other) => value.push(other),
                None => {}
            },
            (other, false) => value.push(other),
        }
    }
    Cow::Owned(value)
}

#[cfg(test)]
mod tests;
