//! Why a behaviour did not hold: what was expected, what was seen, or why nobody could look.
//!
//! It knows JSON and sentences, not HTTP.

use serde_json::Value;

/// At most this much of an answer is shown to a reader, in characters.
const EXCERPT: usize = 600;

/// The end of a behaviour that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// The cluster answered otherwise.
    #[error("expected {expected}; saw {seen}")]
    Fail {
        /// What a real cluster does.
        expected: String,
        /// What this one did.
        seen: String,
    },
    /// This cluster cannot be asked, for a reason that is no fault of it.
    #[error("skipped: {0}")]
    Skip(String),
    /// The run was stopped.
    #[error("interrupted")]
    Interrupted,
}

impl Unmet {
    /// A failure in words.
    pub fn fail(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::Fail { expected: expected.into(), seen: excerpt(&seen.into()) }
    }
}

impl From<kube::Error> for Unmet {
    fn from(error: kube::Error) -> Self {
        Self::fail("an answer", format!("{error:?}"))
    }
}

impl From<http::Error> for Unmet {
    fn from(error: http::Error) -> Self {
        Self::fail("a request that can be written", error.to_string())
    }
}

/// What a behaviour returns, and each of its steps.
pub type Met<T = ()> = Result<T, Unmet>;

/// Shortens `text` for a report.
#[must_use]
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Holds `condition`, or fails with both sides of the story.
///
/// # Errors
/// [`Unmet::Fail`] when the condition does not hold.
pub fn ensure(condition: bool, expected: impl Into<String>, seen: impl ToString) -> Met {
    if condition { Ok(()) } else { Err(Unmet::fail(expected, seen.to_string())) }
}

/// Holds that the value at JSON pointer `pointer` of `object` is `expected`. A missing value is null.
///
/// # Errors
/// [`Unmet::Fail`] with the value that was there.
pub fn same(object: &Value, pointer: &str, expected: impl Into<Value>) -> Met {
    let expected = expected.into();
    let seen = object.pointer(pointer).unwrap_or(&Value::Null);
    ensure(*seen == expected, format!("{pointer} = {expected}"), seen)
}

/// Holds that the text at `pointer` of `object` contains `part`.
///
/// # Errors
/// [`Unmet::Fail`] with the text that was there.
pub fn mentions(object: &Value, pointer: &str, part: &str) -> Met {
    let seen = object.pointer(pointer).unwrap_or(&Value::Null);
    let holds = seen.as_str().is_some_and(|text| text.contains(part));
    ensure(holds, format!("{pointer} to contain {part:?}"), seen)
}

/// The text at `pointer` of `object`.
///
/// # Errors
/// [`Unmet::Fail`] when it is missing, empty or no text.
pub fn text<'a>(object: &'a Value, pointer: &str) -> Met<&'a str> {
    let seen = object.pointer(pointer).unwrap_or(&Value::Null);
    match seen.as_str() {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(Unmet::fail(format!("a text at {pointer}"), seen.to_string())),
    }
}

/// The whole number at `pointer` of `object`.
///
/// # Errors
/// [`Unmet::Fail`] when it is missing or no whole number.
pub fn number(object: &Value, pointer: &str) -> Met<i64> {
    let seen = object.pointer(pointer).unwrap_or(&Value::Null);
    seen.as_i64().ok_or_else(|| Unmet::fail(format!("a number at {pointer}"), seen.to_string()))
}

/// The items of the list at `pointer` of `object`; none when it is missing.
#[must_use]
pub fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The names of the objects in a list's `items`.
#[must_use]
pub fn names(list: &Value) -> Vec<String> {
    items(list, "/items")
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str().map(ToOwned::to_owned))
        .collect()
}

/// The `resourceVersion` of an object or a list, as the number that every known server uses.
///
/// # Errors
/// [`Unmet::Fail`] when it is missing or no number.
pub fn version(object: &Value) -> Met<u64> {
    let seen = text(object, "/metadata/resourceVersion")?;
    seen.parse().map_err(|_| Unmet::fail("a decimal resourceVersion", seen))
}

/// The condition `kind` of an object's status; null when there is none.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    items(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == kind)
        .unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_names_both_sides() {
        let unmet = same(&json!({"spec": {"replicas": 2}}), "/spec/replicas", 3);
        assert_eq!(unmet.unwrap_err().to_string(), "expected /spec/replicas = 3; saw 2");
    }

    #[test]
    fn a_missing_value_is_null() {
        assert!(same(&json!({}), "/spec", Value::Null).is_ok());
        assert!(text(&json!({}), "/spec").is_err());
        assert!(items(&json!({}), "/items").is_empty());
    }

    #[test]
    fn a_long_answer_is_cut_at_a_character() {
        let shown = excerpt(&"ä".repeat(EXCERPT + 1));
        assert_eq!(shown.chars().count(), EXCERPT + 1);
        assert!(shown.ends_with('…'));
    }
}
