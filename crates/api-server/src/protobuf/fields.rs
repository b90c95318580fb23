//! Which field of a message has which number: facts that `examples/protobuf_fields.rs` reads from Kubernetes' `.proto` files.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The table.
const FIELDS: &str = include_str!("fields.txt");

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Text,
    Bytes,
    Boolean,
    Integer,
    Fraction,
    /// A message, by name.
    Message(&'static str),
    /// A message whose fields are the outer one's own in JSON.
    Inline(&'static str),
}

/// How often it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    Many,
    /// By a text.
    Map,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) of: Of,
    pub(super) times: Times,
}

type Messages = HashMap<&'static str, HashMap<u32, Field>>;

static MESSAGES: LazyLock<Messages> =
    LazyLock::new(|| FIELDS.lines().filter_map(message).collect());

/// A message's fields by number.
pub(super) fn of(message: &str) -> Option<&'static HashMap<u32, Field>> {
    MESSAGES.get(message)
}

fn message(line: &'static str) -> Option<(&'static str, HashMap<u32, Field>)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    Some((name, words.filter_map(field).collect()))
}

fn field(word: &'static str) -> Option<(u32, Field)> {
    let mut parts = word.split(':');
    let (name, number, of) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    let (times, of) = match of.as_bytes().first()? {
        b'*' => (Times::Many, &of[1..]),
        b'%' => (Times::Map, &of[1..]),
        _ => (Times::Once, of),
    };
    let of = match of {
        "s" => Of::Text,
        "y" => Of::Bytes,
        "b" => Of::Boolean,
        "i" => Of::Integer,
        "d" => Of::Fraction,
        _ => match of.split_at(1) {
            ("@", message) => Of::Message(message),
            ("=", message) => Of::Inline(message),
            _ => return None,
        },
    };
    Some((number, Field { name, of, times }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_refers_to_messages_that_are_there() {
        assert_eq!(MESSAGES.len(), FIELDS.lines().count());
        for (line, fields) in FIELDS.lines().map(|line| (line, message(line).unwrap().1)) {
            assert_eq!(fields.len(), line.trim_end().split(' ').count() - 1, "{line}");
            for field in fields.values() {
                if let Of::Message(name) | Of::Inline(name) = field.of {
                    assert!(of(name).is_some(), "{name}");
                }
            }
        }
    }
}
