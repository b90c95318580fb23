//! A body as JSON, and where it stops being that.
//!
//! The place of the first mistake is part of vLLM's error (`param: "body.15"`). It is the one that Python's
//! `json` module reports, in characters, which is not always where serde gives up.

use serde_json::{Map, Value};

use super::RequestError;
use super::fields::wrong_type;

/// Reads a body that must be a JSON object.
pub(super) fn parse_object(body: &[u8]) -> Result<Map<String, Value>, RequestError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.is_empty() {
        return Err(RequestError::NoBody);
    }
    let text = std::str::from_utf8(body).map_err(|_| RequestError::NotText)?;
    let value = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Err(RequestError::NoBody),
        other => Err(wrong_type(
            "model_attributes_type",
            "body".to_owned(),
            "Input should be a valid dictionary or object to extract fields from",
            &other,
        )),
    }
}

fn not_json(text: &str, error: &serde_json::Error) -> RequestError {
    let (offset, reason) = first_mistake(text).unwrap_or_else(|| {
        // What Python takes and we do not: NaN, lone surrogates, very deep nesting.
        let before: usize = text.split_inclusive('\n').take(error.line() - 1).map(str::len).sum();
        let offset = (before + error.column()).min(text.len());
        let reason = error.to_string();
        (offset, reason.split(" at line ").next().unwrap_or_default().to_owned())
    });
    RequestError::NotJson { offset, reason }
}

/// Where Python's `json.loads` (CPython 3.12, `Modules/_json.c`) finds its first mistake, in characters, and
/// its words for it. `None` where it finds none.
fn first_mistake(text: &str) -> Option<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let scanner = Scanner { chars: &chars };
    let found = scanner.value(scanner.blank(0), 0).and_then(|end| match scanner.blank(end) {
        end if end == chars.len() => Ok(end),
        end => Err((end, "Extra data")),
    });
    found.err().map(|(at, reason)| (at, reason.to_owned()))
}

struct Scanner<'a> {
    chars: &'a [char],
}

/// One past the end of what was read, or where and why it cannot be.
type Scanned = Result<usize, (usize, &'static str)>;

impl Scanner<'_> {
    fn at(&self, i: usize) -> Option<char> {
        self.chars.get(i).copied()
    }

    fn blank(&self, mut i: usize) -> usize {
        while matches!(self.at(i), Some(' ' | '\t' | '\n' | '\r')) {
            i += 1;
        }
        i
    }

    fn value(&self, i: usize, depth: usize) -> Scanned {
        if depth > super::MAX_NESTING {
            return Err((i, "nested too deeply"));
        }
        match self.at(i) {
            Some('"') => self.string(i),
            Some('{') => self.object(i, depth),
            Some('[') => self.array(i, depth),
            Some('-' | '0'..='9') => self.number(i),
            _ => self.word(i),
        }
    }

    fn word(&self, i: usize) -> Scanned {
        for word in ["null", "true", "false", "NaN", "Infinity", "-Infinity"] {
            if word.chars().enumerate().all(|(at, c)| self.at(i + at) == Some(c)) {
                return Ok(i + word.len());
            }
        }
        Err((i, "Expecting value"))
    }

    fn digits(&self, mut i: usize) -> usize {
        while self.at(i).is_some_and(|c| c.is_ascii_digit()) {
            i += 1;
        }
        i
    }

    /// The longest start of what follows that is a number; the rest is somebody else's mistake.
    fn number(&self, start: usize) -> Scanned {
        let i = start + usize::from(self.at(start) == Some('-'));
        let mut end = match self.at(i) {
            Some('0') => i + 1,
            Some('1'..='9') => self.digits(i),
            _ => return self.word(start),
        };
        if self.at(end) == Some('.') && self.digits(end + 1) > end + 1 {
            end = self.digits(end + 1);
        }
        if matches!(self.at(end), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.at(end + 1), Some('+' | '-')));
            let power = end + 1 + sign;
            if self.digits(power) > power {
                end = self.digits(power);
            }
        }
        Ok(end)
    }

    fn string(&self, start: usize) -> Scanned {
        let mut i = start + 1;
        loop {
            match self.at(i) {
                None => return Err((start, "Unterminated string starting at")),
                Some('"') => return Ok(i + 1),
                Some(c) if c < ' ' => return Err((i, "Invalid control character at")),
                Some('\\') => match self.at(i + 1) {
                    None => return Err((start, "Unterminated string starting at")),
                    Some('u') => {
                        let hex = (i + 2..i + 6)
                            .all(|at| self.at(at).is_some_and(|c| c.is_ascii_hexdigit()));
                        if !hex {
                            return Err((i + 1, "Invalid \\uXXXX escape"));
                        }
                        i += 6;
                    }
                    Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => i += 2,
                    Some(_) => return Err((i, "Invalid \\escape")),
                },
                Some(_) => i += 1,
            }
        }
    }

    fn array(&self, start: usize, depth: usize) -> Scanned {
        let mut i = self.blank(start + 1);
        if self.at(i) == Some(']') {
            return Ok(i + 1);
        }
        loop {
            i = self.blank(self.value(i, depth + 1)?);
            match self.at(i) {
                Some(']') => return Ok(i + 1),
                Some(',') => i = self.blank(i + 1),
                _ => return Err((i, "Expecting ',' delimiter")),
            }
        }
    }

    fn object(&self, start: usize, depth: usize) -> Scanned {
        let mut i = self.blank(start + 1);
        if self.at(i) == Some('}') {
            return Ok(i + 1);
        }
        loop {
            if self.at(i) != Some('"') {
                return Err((i, "Expecting property name enclosed in double quotes"));
            }
            i = self.blank(self.string(i)?);
            if self.at(i) != Some(':') {
                return Err((i, "Expecting ':' delimiter"));
            }
            i = self.blank(self.value(self.blank(i + 1), depth + 1)?);
            match self.at(i) {
                Some('}') => return Ok(i + 1),
                Some(',') => i = self.blank(i + 1),
                _ => return Err((i, "Expecting ',' delimiter")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mistake_is_where_pythons_json_finds_it() {
        // Each pair was printed by CPython 3.12's `json.loads`.
        let found = [
            ("{", 1),
            ("{\"a\"", 4),
            ("{\"a\":}", 5),
            ("{\"a\":1,}", 7),
            ("[1,]", 3),
            ("nul", 0),
            ("{\"a\":1} x", 8),
            ("{'a':1}", 1),
            ("{\"model\": \"x\", ", 15),
            ("\"abc", 0),
            ("{\"a\":\"\\x\"}", 6),
            ("{\"a\":1e}", 6),
            ("{\"a\":01}", 6),
            ("{,}", 1),
            ("[", 1),
            ("[1 2]", 3),
            ("{\"a\" 1}", 5),
            ("{\"a\":1 \"b\":2}", 7),
            ("{1:2}", 1),
            ("   ", 3),
            ("{\"a\":\"b\nc\"}", 7),
            ("{\"é\":\"ü\",", 9),
        ];
        for (text, offset) in found {
            assert_eq!(first_mistake(text).map(|(at, _)| at), Some(offset), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_json_has_no_mistake(text in any_json()) {
            prop_assert_eq!(first_mistake(&text), None);
        }

        #[test]
        fn what_is_no_json_is_refused_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..40)) {
            if serde_json::from_slice::<Map<String, Value>>(&body).is_err() {
                prop_assert!(parse_object(&body).is_err() || body.starts_with(b"\xef\xbb\xbf"));
            }
        }

        #[test]
        fn a_cut_document_is_refused_within_its_length(text in any_json(), cut in any::<prop::sample::Index>()) {
            let chars: Vec<char> = text.chars().collect();
            let cut: String = chars[..cut.index(chars.len())].iter().collect();
            if let Some((at, _)) = first_mistake(&cut) {
                prop_assert!(at <= cut.chars().count());
            }
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e30..1e30).prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("\\PC{0,4}", inner), 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
        .prop_map(|value| value.to_string())
    }
}
