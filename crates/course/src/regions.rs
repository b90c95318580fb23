//! Regions of a source file between `// ANCHOR: name` and `// ANCHOR_END: name`.
//!
//! The book includes them by name; those whose name is a task's (`task_1_3`, `task_1_3_admit`) are what a
//! learner writes. A line is a marker when a comment is all it has and the comment begins with `ANCHOR`.

use std::ops::Range;

use crate::TaskId;

/// A region of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Its name: `task_1_3_admit`.
    pub name: String,
    /// Line of the opening marker, from 1.
    pub begin_line: usize,
    /// Line of the closing marker, from 1.
    pub end_line: usize,
    /// White space before the opening marker.
    pub indent: String,
    /// Bytes between the marker lines: whole lines, or nothing.
    pub body: Range<usize>,
}

impl Region {
    /// The task that it belongs to, if it is no mere anchor of the book.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        TaskId::of_name(&self.name)
    }

    /// Whether a line (from 1) lies between the markers or is one of them.
    #[must_use]
    pub fn contains_line(&self, line: usize) -> bool {
        (self.begin_line..=self.end_line).contains(&line)
    }

    /// The lines between the markers, of the text that it was found in.
    #[must_use]
    pub fn body_of<'t>(&self, text: &'t str) -> &'t str {
        &text[self.body.clone()]
    }
}

/// Markers that do not pair up. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// It looks like a marker, but is none.
    #[error("expected `// ANCHOR: name` or `// ANCHOR_END: name`, found `{found}`")]
    Malformed {
        /// Line of the marker.
        line: usize,
        /// The line, trimmed.
        found: String,
    },
    /// A marker opens a region that is never closed.
    #[error("region {name} is never closed")]
    Unclosed {
        /// Line of the opening marker.
        line: usize,
        /// Name of the region.
        name: String,
    },
    /// A marker closes what is not open.
    #[error("region {name} is closed here, but was never opened")]
    Unopened {
        /// Line of the closing marker.
        line: usize,
        /// Name of the region.
        name: String,
    },
    /// Two regions of one name.
    #[error("region {name} was opened before, in line {first}")]
    Duplicate {
        /// Line of the second opening marker.
        line: usize,
        /// Name of both.
        name: String,
        /// Line of the first.
        first: usize,
    },
    /// A region ends outside the one that it began in.
    #[error("region {name} is closed here, inside {inner}, which begins after it in line {begins}")]
    Overlap {
        /// Line of the closing marker.
        line: usize,
        /// The region being closed.
        name: String,
        /// The region still open inside it.
        inner: String,
        /// Where that one begins.
        begins: usize,
    },
    /// A task's region inside a task's region.
    #[error("region {name} lies inside {outer}: regions of tasks do not nest")]
    Nested {
        /// Line of the inner opening marker.
        line: usize,
        /// The inner region.
        name: String,
        /// The outer one.
        outer: String,
    },
}

impl RegionError {
    /// The line to look at, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        match self {
            Self::Malformed { line, .. }
            | Self::Unclosed { line, .. }
            | Self::Unopened { line, .. }
            | Self::Duplicate { line, .. }
            | Self::Overlap { line, .. }
            | Self::Nested { line, .. } => *line,
        }
    }
}

/// A marker and where it stands.
struct Marker<'t> {
    line: usize,
    bytes: Range<usize>,
    text: &'t str,
    kind: Kind<'t>,
}

#[derive(Clone, Copy)]
enum Kind<'t> {
    Begin(&'t str),
    End(&'t str),
    Malformed,
}

fn markers(text: &str) -> impl Iterator<Item = Marker<'_>> {
    let mut start = 0;
    text.split_inclusive('\n').enumerate().filter_map(move |(index, line)| {
        let bytes = start..start + line.len();
        start = bytes.end;
        let kind = kind(line.trim())?;
        Some(Marker { line: index + 1, bytes, text: line, kind })
    })
}

fn kind(line: &str) -> Option<Kind<'_>> {
    let comment = line.strip_prefix("//")?.trim_start_matches(['/', '!']).trim_start();
    let rest = comment.strip_prefix("ANCHOR")?;
    if !rest.starts_with([':', '_', ' ']) {
        return None;
    }
    let named = |prefix| line.strip_prefix(prefix).filter(|name| is_name(name));
    let begin = named("// ANCHOR: ").map(Kind::Begin);
    Some(begin.or_else(|| named("// ANCHOR_END: ").map(Kind::End)).unwrap_or(Kind::Malformed))
}

/// What mdBook takes as the name of an anchor.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.bytes().all(allowed)
}

/// All regions of a text, in the order of their opening markers.
///
/// # Errors
/// [`RegionError`], the first in the text, where markers do not pair up, regions overlap or share a name, or
/// a task's region lies inside a task's region.
pub fn parse(text: &str) -> Result<Vec<Region>, RegionError> {
    let mut regions: Vec<Region> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for marker in markers(text) {
        let line = marker.line;
        match marker.kind {
            Kind::Begin(name) => {
                check_begin(&regions, &open, line, name)?;
                open.push(regions.len());
                regions.push(opened(&marker, name));
            }
            Kind::End(name) => {
                let innermost = check_end(&regions, &open, line, name)?;
                open.pop();
                let region = &mut regions[innermost];
                region.end_line = line;
                region.body.end = marker.bytes.start;
            }
            Kind::Malformed => {
                return Err(RegionError::Malformed { line, found: marker.text.trim().to_owned() });
            }
        }
    }
    match open.first().map(|&index| &regions[index]) {
        Some(Region { name, begin_line, .. }) => {
            Err(RegionError::Unclosed { line: *begin_line, name: name.clone() })
        }
        None => Ok(regions),
    }
}

/// A region of which only the beginning is known.
fn opened(marker: &Marker<'_>, name: &str) -> Region {
    let indent = &marker.text[..marker.text.len() - marker.text.trim_start().len()];
    Region {
        name: name.to_owned(),
        begin_line: marker.line,
        end_line: marker.line,
        indent: indent.to_owned(),
        body: marker.bytes.end..marker.bytes.end,
    }
}

fn check_begin(
    regions: &[Region],
    open: &[usize],
    line: usize,
    name: &str,
) -> Result<(), RegionError> {
    if let Some(first) = regions.iter().find(|region| region.name == name) {
        let first = first.begin_line;
        return Err(RegionError::Duplicate { line, name: name.to_owned(), first });
    }
    let outer = open.iter().map(|&index| &regions[index]).find(|outer| outer.task().is_some());
    match outer {
        Some(outer) if TaskId::of_name(name).is_some() => {
            let outer = outer.name.clone();
            Err(RegionError::Nested { line, name: name.to_owned(), outer })
        }
        _ => Ok(()),
    }
}

/// The innermost open region, where it is the one to be closed.
fn check_end(
    regions: &[Region],
    open: &[usize],
    line: usize,
    name: &str,
) -> Result<usize, RegionError> {
    let is_open = open.iter().any(|&index| regions[index].name == name);
    let name = name.to_owned();
    match open.last() {
        Some(&innermost) if regions[innermost].name == name => Ok(innermost),
        Some(&innermost) if is_open => {
            let Region { name: inner, begin_line: begins, .. } = regions[innermost].clone();
            Err(RegionError::Overlap { line, name, inner, begins })
        }
        _ => Err(RegionError::Unopened { line, name }),
    }
}

/// One region of a text whose other markers may be broken, as a learner's file may have them. `None`
/// where an opening marker followed by its closing marker cannot be found.
#[must_use]
pub fn find(text: &str, name: &str) -> Option<Region> {
    let mut found: Option<Region> = None;
    for marker in markers(text) {
        match (marker.kind, found.as_mut()) {
            (Kind::Begin(begin), None) if begin == name => found = Some(opened(&marker, name)),
            (Kind::End(end), Some(region)) if end == name => {
                region.end_line = marker.line;
                region.body.end = marker.bytes.start;
                return found;
            }
            _ => {}
        }
    }
    None
}

/// The text with another body in one region; `None` where the region cannot be found.
#[must_use]
pub fn replace(text: &str, name: &str, body: &str) -> Option<String> {
    let region = find(text, name)?;
    Some([&text[..region.body.start], body, &text[region.body.end..]].concat())
}

#[cfg(test)]
mod tests;
