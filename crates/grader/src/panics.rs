//! Reads panics out of what a program printed.

use crate::outcome::Place;

/// Longest message that is kept, in lines.
const MESSAGE_LINES: usize = 40;

/// One panic, as std's hook prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    /// Name of the thread.
    pub(crate) thread: String,
    /// Where, as the compiler was told the file's path.
    pub(crate) place: Place,
    /// What it says.
    pub(crate) message: Vec<String>,
}

/// All panics in a text, in order.
pub(crate) fn parse<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<Panic> {
    let mut panics: Vec<Panic> = Vec::new();
    let mut open = false;
    for line in lines {
        if let Some((thread, place)) = header(line) {
            panics.push(Panic { thread, place, message: Vec::new() });
            open = true;
        } else if line.starts_with("note: run with `RUST_BACKTRACE") || line.starts_with("LAB_") {
            open = false;
        } else if let (true, Some(panic)) = (open, panics.last_mut())
            && panic.message.len() < MESSAGE_LINES
        {
            panic.message.push(line.trim_end().to_owned());
        }
    }
    for panic in &mut panics {
        while panic.message.last().is_some_and(String::is_empty) {
            panic.message.pop();
        }
    }
    panics
}

/// `thread 'name' (id) panicked at file:line:column:`; older versions of std have no id.
fn header(line: &str) -> Option<(String, Place)> {
    let (thread, place) = line.strip_suffix(':')?.split_once(" panicked at ")?;
    let name = thread.strip_prefix("thread '")?.rsplit_once('\'')?.0;
    let (file, line) = place.rsplit_once(':')?.0.rsplit_once(':')?;
    let place = Place { file: file.into(), line: line.parse().ok()? };
    Some((name.to_owned(), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_thread_place_and_message() {
        let text = "\nthread 'tests::a' (4711) panicked at labs/01-triage/src/paged.rs:41:9:\nthe pool\n\
                    expected 3\nsaw 4\nnote: run with `RUST_BACKTRACE=1` environment variable\nnoise\n";
        let panics = parse(text.lines());
        assert_eq!(panics.len(), 1);
        assert_eq!(panics[0].thread, "tests::a");
        assert_eq!(panics[0].place.to_string(), "labs/01-triage/src/paged.rs:41");
        assert_eq!(panics[0].message, ["the pool", "expected 3", "saw 4"]);
    }

    #[test]
    fn tells_two_panics_apart() {
        let text = "thread '<unnamed>' panicked at a.rs:1:2:\none\n\nthread 'main' panicked at b.rs:3:4:\ntwo\n";
        let panics = parse(text.lines());
        let told: Vec<_> = panics.iter().map(|p| (p.thread.as_str(), &p.message[..])).collect();
        assert_eq!(told, [("<unnamed>", &["one".into()][..]), ("main", &["two".into()][..])]);
    }
}
