//! Reading fields of objects by path. Absent fields read as empty, as in the API's own types.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

static NOTHING: Value = Value::Null;
static NO_FIELDS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// Reads fields below a value. A path is field names between slashes: `spec/replicas`.
pub(crate) trait Fields {
    /// The value at a path; null when absent.
    fn at(&self, path: &str) -> &Value;
    /// A whole number.
    fn int(&self, path: &str) -> Option<i64> {
        self.at(path).as_i64()
    }
    /// A whole number, 0 when absent.
    fn count(&self, path: &str) -> i64 {
        self.int(path).unwrap_or(0)
    }
    /// A text, empty when absent.
    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or("")
    }
    /// A truth value, false when absent.
    fn flag(&self, path: &str) -> bool {
        self.at(path).as_bool().unwrap_or(false)
    }
    /// A list, empty when absent.
    fn list(&self, path: &str) -> &[Value] {
        self.at(path).as_array().map_or(&[], Vec::as_slice)
    }
    /// An object's fields, none when absent.
    fn map(&self, path: &str) -> &Map<String, Value> {
        self.at(path).as_object().unwrap_or(&NO_FIELDS)
    }
    /// A time.
    fn time(&self, path: &str) -> Option<Timestamp> {
        self.text(path).parse().ok()
    }
    /// Whether anything but null is there.
    fn has(&self, path: &str) -> bool {
        !self.at(path).is_null()
    }
}

impl Fields for Value {
    fn at(&self, path: &str) -> &Value {
        path.split('/').try_fold(self, |value, name| value.get(name)).unwrap_or(&NOTHING)
    }
}

/// A time as objects carry it: whole seconds, in UTC.
pub(crate) fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time with microseconds, as newer events carry it.
pub(crate) fn micro_stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// The time so many seconds later.
pub(crate) fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// A number or a percentage of `total`; a percentage that is no whole number goes up or down as told. Text that is
/// neither counts as nothing.
pub(crate) fn share(value: &Value, total: i64, up: bool) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let hundredths = percent.saturating_mul(total);
    Some(if up {
        hundredths.saturating_add(99).div_euclid(100)
    } else {
        hundredths.div_euclid(100)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_fields_read_as_empty() {
        let object = json!({"spec": {"replicas": 3}});
        assert_eq!(object.int("spec/replicas"), Some(3));
        assert_eq!(object.text("spec/nodeName"), "");
        assert!(object.list("status/conditions").is_empty());
        assert!(!object.has("spec/none/at/all"));
    }

    #[test]
    fn percentages_round_as_told() {
        assert_eq!(share(&json!("25%"), 10, true), Some(3));
        assert_eq!(share(&json!("25%"), 10, false), Some(2));
        assert_eq!(share(&json!(4), 10, false), Some(4));
        assert_eq!(share(&json!("four"), 10, false), None);
    }
}
