//! JSON text, read with an eye for fields that come twice or that nobody knows.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::schema::Typed;

/// Deepest nesting that is read, `serde_json`'s own.
pub const JSON_DEPTH: usize = 128;
/// Findings that are kept; what is worse is as bad.
const FINDINGS: usize = 100;

/// A value, and what is odd about its text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The value. Of a field that came twice, the last one.
    pub value: Value,
    /// `duplicate field "a.b"`, `unknown field "a.c[0].d"`, in the text's order.
    pub findings: Vec<String>,
}

/// Reads a text. With a schema, unknown fields are found too.
///
/// # Errors
/// What is wrong with the text, as Go says it where that is known.
pub fn parse(text: &[u8], typed: Option<Typed<'_>>) -> Result<Parsed, String> {
    let findings = RefCell::new(Vec::new());
    let seed = Seed { typed, path: String::new(), findings: &findings };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(value) => Ok(Parsed { value, findings: findings.into_inner() }),
        Err(error) if error.is_eof() => Err("unexpected end of JSON input".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

struct Seed<'a> {
    typed: Option<Typed<'a>>,
    path: String,
    findings: &'a RefCell<Vec<String>>,
}

impl<'a> Seed<'a> {
    fn report(&self, what: &str, path: &str) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() < FINDINGS {
            findings.push(format!("{what} field {path:?}"));
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let seed = Seed {
                typed: self.typed.map(Typed::item),
                path: format!("{}[{}]", self.path, list.len()),
                findings: self.findings,
            };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let path =
                if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            if map.contains_key(&name) {
                self.report("duplicate", &path);
            }
            let typed = self.typed.map(|typed| typed.field(&name));
            if matches!(typed, Some(None))
                && self.typed.is_some_and(|typed| typed.fields().is_some())
            {
                self.report("unknown", &path);
            }
            let typed = typed.flatten();
            let value = entries.next_value_seed(Seed { typed, path, findings: self.findings })?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;
    use proptest::prelude::*;

    #[test]
    fn fields_that_come_twice_and_unknown_ones_are_found_in_the_order_of_the_text() {
        let typed = Typed::new(&builtin().of_kind("v1", "ConfigMap").unwrap().schema);
        let text = br#"{"metadata":{"name":"q","name":"r","foo":{"a":1}},"data":{"a":"1"},"x":1}"#;
        let parsed = parse(text, Some(typed)).unwrap();
        let expected = [
            "duplicate field \"metadata.name\"",
            "unknown field \"metadata.foo\"",
            "unknown field \"x\"",
        ];
        assert_eq!(parsed.findings, expected);
        assert_eq!(parsed.value["metadata"]["name"], "r");
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        assert!(parse("[".repeat(100_000).as_bytes(), None).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}:,\"a0. ]{0,60}") {
            let _: Result<_, _> = parse(text.as_bytes(), None);
        }
    }
}
