//! What a router has to know of a request's body, found without parsing all of it.
//!
//! Walks over the fields of the outermost object and jumps over strings, so that a prompt of 32 KB costs about as much as
//! copying it. Whether the body is right is for the endpoint to say: what cannot be found is not there.

use memchr::{memchr, memchr2};

/// What stands in a body. Strings are as they were sent, escapes included: what is equal stays equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// `model`, where it is a string without escapes.
    pub model: Option<&'a str>,
    /// `max_completion_tokens` or `max_tokens`.
    pub max_tokens: Option<u32>,
    /// The value of `messages`, or else of `prompt` or `inputs`.
    pub prompt: &'a [u8],
    /// Whether there is a field that may have side effects, or one whose name has escapes: `protocol::features` knows which have.
    pub may_have_side_effects: bool,
}

impl<'a> Facts<'a> {
    /// Finds them. A body that is no JSON object has none, or those before its first mistake.
    #[must_use]
    pub fn of(body: &'a [u8]) -> Self {
        let mut facts = Self::default();
        let mut walk = Walk { body, at: 0 };
        // The end of the walk, wherever it is, is no error of ours.
        let _end = walk.fields(&mut facts);
        facts
    }

    fn take(&mut self, key: &[u8], value: &'a [u8]) {
        match key {
            b"model" => self.model = text(value),
            b"max_tokens" | b"max_completion_tokens" => {
                self.max_tokens =
                    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            }
            b"prompt" | b"messages" | b"inputs" => self.prompt = value,
            b"store" | b"tools" => self.may_have_side_effects = true,
            _ if memchr(b'\\', key).is_some() => self.may_have_side_effects = true,
            _ => {}
        }
    }
}

/// A string's content.
fn text(value: &[u8]) -> Option<&str> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let plain = memchr(b'\\', inner).is_none();
    std::str::from_utf8(inner).ok().filter(|_| plain)
}

struct Walk<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn fields(&mut self, facts: &mut Facts<'a>) -> Option<()> {
        self.expect(b'{')?;
        loop {
            self.blanks();
            let key = self.string()?;
            let key = key.get(1..key.len() - 1)?;
            self.expect(b':')?;
            self.blanks();
            let value = self.value()?;
            facts.take(key, value);
            self.expect(b',')?;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            let next = memchr2(b'"', b'\\', self.body.get(self.at..)?)?;
            self.at += next + 1;
            if self.body[self.at - 1] == b'"' {
                return self.body.get(start..self.at);
            }
            // Whatever is escaped is one byte, or harmless.
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match self.peek()? {
            b'"' => return self.string(),
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match self.peek()? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth = depth.checked_sub(1)?,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                while !matches!(self.peek()?, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                    self.at += 1;
                }
            }
        }
        self.body.get(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_the_outermost_fields_count_and_the_last_of_equal_ones() {
        let body = br#" { "metadata": {"model": "wrong", "x": ["}", "\"]"]}, "model" : "m",
            "stream":true, "max_tokens": 7, "messages": [{"role": "user", "content": "a \"b\" ]"}],
            "model": "last" } "#;
        let facts = Facts::of(body);
        assert_eq!((facts.model, facts.max_tokens), (Some("last"), Some(7)));
        assert_eq!(facts.prompt, br#"[{"role": "user", "content": "a \"b\" ]"}]"#);
    }

    #[test]
    fn a_body_that_is_no_object_has_no_facts() {
        for body in [&b""[..], b"[]", b"null", b"{", b"{\"model", b"{\"model\":\"m", b"\xff\xfe"] {
            assert_eq!(Facts::of(body), Facts::default(), "{}", body.escape_ascii());
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z\"\\\\{}\\[\\],: é\n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z\"\\\\]{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn whatever_may_have_side_effects_is_seen() {
        for (body, may) in [
            (&br#"{"model":"m","prompt":"store"}"#[..], false),
            (br#"{"model":"m","store":true}"#, true),
            (br#"{"tools":[{"type":"function"}]}"#, true),
            (br#"{"st\u006fre":true}"#, true),
            (br#"{"metadata":{"store":true}}"#, false),
        ] {
            assert_eq!(Facts::of(body).may_have_side_effects, may, "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_full_parse(prompt in json_value(), other in json_value(), max: u32, pretty: bool) {
            let body = json!({"a": other, "max_tokens": max, "prompt": prompt, "model": "m-1"});
            let body = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
            let body = body.unwrap();
            let facts = Facts::of(body.as_bytes());
            prop_assert_eq!((facts.model, facts.max_tokens), (Some("m-1"), Some(max)));
            let read: Value = serde_json::from_slice(facts.prompt).unwrap();
            prop_assert_eq!(read, prompt);
        }

        #[test]
        fn any_bytes_are_walked_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Facts::of(&bytes);
        }

        #[test]
        fn broken_json_is_walked_to_an_end(
            bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ model1".to_vec()), 0..200)
        ) {
            let _ = Facts::of(&[b"{\"model\":", &bytes[..]].concat());
        }
    }
}
