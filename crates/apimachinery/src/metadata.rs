//! The fields of `metadata` that everybody reads.

use serde_json::{Map, Value};

/// Reads and writes `metadata` of an object. Absent fields read as empty.
pub trait Meta {
    /// `metadata.name`.
    fn name(&self) -> &str;
    /// `metadata.namespace`; empty when absent.
    fn namespace(&self) -> &str;
    /// `metadata.uid`.
    fn uid(&self) -> &str;
    /// `metadata.generation`; 0 when absent.
    fn generation(&self) -> i64;
    /// `metadata.resourceVersion` as text; empty when absent.
    fn resource_version(&self) -> &str;
    /// `metadata.deletionTimestamp` is set: the object is on its way out.
    fn is_terminating(&self) -> bool;
    /// A label's value.
    fn label(&self, key: &str) -> Option<&str>;
    /// An annotation's value.
    fn annotation(&self, key: &str) -> Option<&str>;
    /// `metadata.finalizers`.
    fn finalizers(&self) -> impl Iterator<Item = &str>;
    /// `metadata`, made if absent.
    fn metadata_mut(&mut self) -> &mut Map<String, Value>;
}

impl Meta for Value {
    fn name(&self) -> &str {
        text(self, "name")
    }

    fn namespace(&self) -> &str {
        text(self, "namespace")
    }

    fn uid(&self) -> &str {
        text(self, "uid")
    }

    fn generation(&self) -> i64 {
        self["metadata"]["generation"].as_i64().unwrap_or(0)
    }

    fn resource_version(&self) -> &str {
        text(self, "resourceVersion")
    }

    fn is_terminating(&self) -> bool {
        self["metadata"]["deletionTimestamp"].is_string()
    }

    fn label(&self, key: &str) -> Option<&str> {
        self["metadata"]["labels"].get(key)?.as_str()
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self["metadata"]["annotations"].get(key)?.as_str()
    }

    fn finalizers(&self) -> impl Iterator<Item = &str> {
        self["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        object(object(self).entry("metadata").or_insert(Value::Null))
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value["metadata"][field].as_str().unwrap_or("")
}

/// The map in `value`, made if it is something else.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was just made an object"),
    }
}
