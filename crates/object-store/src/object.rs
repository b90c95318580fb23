//! One version of one object.

use std::any::Any;
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

    /// Its content as JSON text, shared by everybody who is sent it.
    ///
    /// # Panics
    /// Never: a JSON value is always text.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| Bytes::from(self.value.to_string()))
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
