//! Merge patch (RFC 7386).

use serde_json::Value;

/// Applies a patch: null deletes, objects merge, all else replaces.
pub(super) fn apply(object: &mut Value, patch: &Value) {
    json_patch::merge(object, patch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_deletes_and_lists_are_replaced() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        apply(&mut object, &json!({"a": {"b": null}, "l": [3], "n": {"x": null}}));
        assert_eq!(object, json!({"a": {"c": 2}, "l": [3], "n": {}}));
    }
}
