//! One version of one object.

use std::any::Any;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use apimachinery::{Key, Kind, Meta, Status};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A version that many hold at once. It never changes.
pub type ObjectRef = Arc<Object>;

/// One version of one object, with its text and its typed form made once, when first asked for.
#[derive(Debug)]
pub struct Object {
    kind: Arc<Kind>,
    revision: u64,
    value: Value,
    json: OnceLock<Bytes>,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Object {
    /// A version. `value` carries the same revision in `metadata.resourceVersion`.
    pub(crate) fn new(kind: Arc<Kind>, revision: u64, value: Value) -> ObjectRef {
        Arc::new(Self { kind, revision, value, json: OnceLock::new(), typed: OnceLock::new() })
    }

    /// A version that was text for a while: what [`json`](Self::json) gave.
    pub(crate) fn of_text(kind: Arc<Kind>, revision: u64, text: Bytes) -> ObjectRef {
        // A text that we wrote is a value.
        let value = serde_json::from_slice(&text).unwrap_or_default();
        Arc::new(Self { kind, revision, value, json: text.into(), typed: OnceLock::new() })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// The cluster's revision when it was written.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Its content.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Where it stands.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::of(&self.value)
    }

    /// Its content as JSON text, shared by everybody who is sent it. Kind and version come first, as in Kubernetes' own texts.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| {
            let mut text = self.head();
            for (name, value) in self.value.as_object().into_iter().flatten() {
                if !matches!(name.as_str(), "kind" | "apiVersion") {
                    let _never_fails = write!(text, "{}:{value},", Value::from(name.as_str()));
                }
            }
            text.pop();
            text.push('}');
            Bytes::from(text)
        })
    }

    /// The same without kind and version, as an item of a list of a built-in kind is written.
    #[must_use]
    pub fn item_json(&self) -> [Bytes; 2] {
        [Bytes::from_static(b"{"), self.json().slice(self.head().len()..)]
    }

    /// How its text begins.
    fn head(&self) -> String {
        let (kind, version) = (&self.value["kind"], &self.value["apiVersion"]);
        format!("{{\"kind\":{kind},\"apiVersion\":{version},")
    }

    /// Its content as a type, like `k8s_openapi::api::core::v1::Pod`. Parsed once for the first type that asks.
    ///
    /// # Errors
    /// 500 if the content is no such type: what was stored was not validated.
    pub fn typed<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>, Status> {
        if let Some(Ok(known)) = self.typed.get().map(|any| Arc::clone(any).downcast::<T>()) {
            return Ok(known);
        }
        let parsed: Arc<T> = Arc::new(T::deserialize(&self.value).map_err(|error| {
            let name = self.value.name();
            Status::internal(format_args!("{} {name:?} as stored: {error}", self.kind))
        })?);
        let _: Result<(), _> = self.typed.set(parsed.clone());
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_begins_with_its_kind_and_an_item_has_none() {
        let kind = apimachinery::builtin::kinds().at("", "v1", "configmaps").unwrap().clone();
        let value = json!({
            "apiVersion": "v1", "data": {"a\"b": "c"}, "kind": "ConfigMap", "metadata": {"name": "x"},
        });
        let object = Object::new(kind, 1, value.clone());
        assert!(object.json().starts_with(br#"{"kind":"ConfigMap","apiVersion":"v1","data":"#));
        assert_eq!(serde_json::from_slice::<Value>(object.json()).unwrap(), value);
        let item: Value = serde_json::from_slice(&object.item_json().concat()).unwrap();
        assert_eq!(item, json!({"data": {"a\"b": "c"}, "metadata": {"name": "x"}}));
    }
}
