//! Objects, lists and changes as they go over the wire.

use std::borrow::Cow;
use std::sync::Arc;

use apimachinery::Kind;
use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use object_store::{Change, ChangeType, List, Object};
use serde_json::{Value, json};

use crate::autoscaling_v1;
use crate::negotiate::Form;
use crate::table::Table;

/// The annotation of the bookmark after which a client has seen what there was at first.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// How objects are shown: as which version, in which form.
#[derive(Clone)]
pub(crate) struct Show {
    pub(crate) kind: Arc<Kind>,
    pub(crate) form: Form,
    /// The kind is one that a definition brought.
    pub(crate) is_custom: bool,
    /// The table, if that is the form.
    pub(crate) table: Option<Arc<Table>>,
    /// When ages are counted from.
    pub(crate) now: Timestamp,
}

impl Show {
    /// An object as text.
    pub(crate) fn object(&self, object: &Object) -> Bytes {
        if let Some(table) = &self.table {
            return Bytes::from(self.rows(table, object, true).to_string());
        }
        match self.form {
            Form::Metadata => Bytes::from(metadata(object.value()).to_string()),
            Form::Object | Form::Table => match self.of_version(object.value()) {
                Cow::Borrowed(_) => object.json().clone(),
                Cow::Owned(value) => Bytes::from(value.to_string()),
            },
        }
    }

    /// An object as one of the version asked for. Versions of a custom resource differ in their name alone: there are no
    /// conversion webhooks.
    pub(crate) fn of_version<'a>(&self, value: &'a Value) -> Cow<'a, Value> {
        let version = self.kind.api_version();
        if value["apiVersion"] == version {
            return Cow::Borrowed(value);
        }
        if autoscaling_v1::is(&self.kind) {
            return Cow::Owned(autoscaling_v1::from_stored(value));
        }
        let mut value = value.clone();
        value["apiVersion"] = json!(version);
        Cow::Owned(value)
    }

    /// A table of one row.
    fn rows(&self, table: &Table, object: &Object, columns: bool) -> Value {
        let value = self.of_version(object.value());
        let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
        table.json(&metadata, vec![table.row(&value, self.now)], columns)
    }

    /// A list as text. The items are the texts of the objects, which are made once for all who ask.
    pub(crate) fn list(&self, list: &List, token: Option<String>) -> Bytes {
        let (kind, api_version) = match self.form {
            Form::Metadata => ("PartialObjectMetadataList".to_owned(), META.to_owned()),
            Form::Object | Form::Table => (self.kind.list_kind(), self.kind.api_version()),
        };
        let meta = list_metadata(list, token);
        if let Some(table) = &self.table {
            let rows = list.items.iter();
            let rows = rows.map(|item| table.row(&self.of_version(item.value()), self.now));
            return Bytes::from(table.json(&meta, rows.collect(), true).to_string());
        }
        let head = json!({"kind": kind, "apiVersion": api_version, "metadata": meta}).to_string();
        let size: usize = list.items.iter().map(|item| item.json().len() + 1).sum();
        let mut text = BytesMut::with_capacity(head.len() + size + 16);
        text.put_slice(&head.as_bytes()[..head.len() - 1]);
        text.put_slice(b",\"items\":[");
        for (index, item) in list.items.iter().enumerate() {
            if index > 0 {
                text.put_u8(b',');
            }
            self.item(item, &mut text);
        }
        text.put_slice(b"]}\n");
        text.freeze()
    }

    /// An item of a list. Those of built-in kinds have no kind and no version: the list has.
    fn item(&self, object: &Object, text: &mut BytesMut) {
        let is_whole = self.form != Form::Metadata && !self.is_custom;
        match self.of_version(object.value()) {
            Cow::Borrowed(_) if is_whole => {
                object.item_json().into_iter().for_each(|part| text.put(part));
            }
            Cow::Owned(mut value) if is_whole => {
                if let Some(map) = value.as_object_mut() {
                    map.retain(|name, _| !matches!(name.as_str(), "kind" | "apiVersion"));
                }
                text.put_slice(value.to_string().as_bytes());
            }
            _ => text.put(self.object(object)),
        }
    }
}

/// The group and version of forms that all kinds share.
const META: &str = "meta.k8s.io/v1";

fn metadata(value: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": value["metadata"]})
}

/// The metadata of a list.
fn list_metadata(list: &List, token: Option<String>) -> Value {
    let mut meta = json!({"resourceVersion": list.revision.to_string()});
    if let Some(token) = token {
        meta["continue"] = json!(token);
    }
    if let Some(remaining) = list.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    meta
}

/// How a watch's changes are shown.
pub(crate) struct Lines {
    show: Show,
    /// A table's columns have been named.
    named: bool,
}

impl Lines {
    pub(crate) fn new(show: Show) -> Self {
        Self { show, named: false }
    }

    /// A change.
    pub(crate) fn event(&mut self, change: &Change) -> Bytes {
        let name = match change.change {
            ChangeType::Added => "ADDED",
            ChangeType::Modified => "MODIFIED",
            ChangeType::Deleted => "DELETED",
        };
        self.line(name, &change.object)
    }

    /// An object with what happened to it.
    pub(crate) fn line(&mut self, name: &str, object: &Object) -> Bytes {
        let Some(table) = self.show.table.clone() else {
            return event_text(name, &self.show.object(object));
        };
        self.show.now = Timestamp::now();
        let columns = !std::mem::replace(&mut self.named, true);
        event_text(name, self.show.rows(&table, object, columns).to_string().as_bytes())
    }

    /// How far the watcher has seen; `initial`: and that it has seen what there was at first.
    pub(crate) fn bookmark(&mut self, revision: u64, initial: bool) -> Bytes {
        let kind = &self.show.kind;
        let (kind, api_version) = match self.show.form {
            Form::Metadata => ("PartialObjectMetadata".to_owned(), META.to_owned()),
            Form::Object | Form::Table => (kind.kind.clone(), kind.api_version()),
        };
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let mut object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        if let Some(table) = &self.show.table {
            let metadata = json!({"resourceVersion": revision.to_string()});
            let columns = !std::mem::replace(&mut self.named, true);
            let row = json!({"cells": [], "object": object});
            object = table.json(&metadata, vec![row], columns);
        }
        event_text("BOOKMARK", object.to_string().as_bytes())
    }
}

/// A line of a watch.
pub(crate) fn event_text(name: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + name.len() + 24);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(name.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}
