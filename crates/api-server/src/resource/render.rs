//! Objects and lists as they go over the wire.

use apimachinery::Kind;
use bytes::{BufMut, Bytes, BytesMut};
use object_store::{List, Object};
use serde_json::{Value, json};

use crate::negotiate::Form;

/// An object in a form, as text.
pub(crate) fn object(kind: &Kind, object: &Object, form: Form) -> Bytes {
    let value = object.value();
    let current = value["apiVersion"] == kind.api_version();
    match form {
        Form::Metadata => Bytes::from(metadata(value).to_string()),
        Form::Object | Form::Table if current => object.json().clone(),
        Form::Object | Form::Table => {
            // Versions of a custom resource differ in their name alone: there are no conversion webhooks.
            let mut value = value.clone();
            value["apiVersion"] = json!(kind.api_version());
            Bytes::from(value.to_string())
        }
    }
}

fn metadata(value: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": value["metadata"],
    })
}

/// A list in a form, as text. The items are the texts of the objects, which are made once for all who ask.
pub(crate) fn list(kind: &Kind, list: &List, token: Option<String>, form: Form) -> Bytes {
    let (kind_name, api_version) = match form {
        Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        Form::Object | Form::Table => (kind.list_kind(), kind.api_version()),
    };
    let meta = list_metadata(list, token);
    let head = json!({"kind": kind_name, "apiVersion": api_version, "metadata": meta}).to_string();
    let size: usize = list.items.iter().map(|item| item.json().len() + 1).sum();
    let mut text = BytesMut::with_capacity(head.len() + size + 16);
    text.put_slice(&head.as_bytes()[..head.len() - 1]);
    text.put_slice(b",\"items\":[");
    for (index, item) in list.items.iter().enumerate() {
        if index > 0 {
            text.put_u8(b',');
        }
        text.put(object(kind, item, form));
    }
    text.put_slice(b"]}\n");
    text.freeze()
}

/// The metadata of a list.
pub(crate) fn list_metadata(list: &List, token: Option<String>) -> Value {
    let mut meta = json!({"resourceVersion": list.revision.to_string()});
    if let Some(token) = token {
        meta["continue"] = json!(token);
    }
    if let Some(remaining) = list.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    meta
}
