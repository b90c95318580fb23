//! Small changes of JSON objects.

use serde_json::Value;

/// Makes a field what it is elsewhere: absent if it is absent there.
pub(super) fn copy(from: &Value, to: &mut Value, field: &str) {
    match from.get(field) {
        Some(value) => to[field] = value.clone(),
        None => remove(to, field),
    }
}

/// Takes a field out.
pub(super) fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}

/// Whether two versions differ by nothing but the times of their managed fields and their resource version.
pub(super) fn same_but_times(old: &Value, new: &Value) -> bool {
    let (Some(olds), Some(news)) = (old.as_object(), new.as_object()) else { return false };
    let same = |one: &serde_json::Map<String, Value>,
                two: &serde_json::Map<String, Value>,
                but: &[&str]| {
        one.keys()
            .chain(two.keys())
            .all(|name| but.contains(&name.as_str()) || one.get(name) == two.get(name))
    };
    let metadata = |object: &Value| object["metadata"].as_object().cloned().unwrap_or_default();
    let timeless = |list: &Value| -> Vec<Value> {
        let mut list = list.as_array().cloned().unwrap_or_default();
        for entry in &mut list {
            remove(entry, "time");
        }
        list.sort_by_key(Value::to_string);
        list
    };
    if !same(olds, news, &["metadata"]) {
        return false;
    }
    let (old, new) = (metadata(old), metadata(new));
    let fields = |map: &serde_json::Map<String, Value>| {
        timeless(map.get("managedFields").unwrap_or(&Value::Null))
    };
    same(&old, &new, &["managedFields", "resourceVersion"]) && fields(&old) == fields(&new)
}
