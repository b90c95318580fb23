//! What each kind does on a write: what is set, what is kept, what is refused.

use apimachinery::{Cause, Kind, Meta};
use serde_json::{Value, json};

use crate::options::Part;

/// Brings a new object into shape before it is stored.
pub(crate) fn prepare_create(kind: &Kind, part: Part, object: &mut Value) {
    if kind.has_status() && part == Part::Main {
        remove(object, "status");
    }
    if has_generation(kind) {
        object.metadata_mut().insert("generation".to_owned(), json!(1));
    }
}

/// Brings a changed object into shape: keeps what this write may not touch, and counts generations.
pub(crate) fn prepare_update(kind: &Kind, part: Part, old: &Value, new: &mut Value) {
    match part {
        Part::Main if kind.has_status() => copy(old, new, "status"),
        Part::Status => {
            let status = new.get("status").cloned();
            let metadata = new["metadata"].clone();
            *new = old.clone();
            match status {
                Some(status) => new["status"] = status,
                None => remove(new, "status"),
            }
            for field in ["managedFields", "resourceVersion"] {
                match metadata.get(field) {
                    Some(value) => new["metadata"][field] = value.clone(),
                    None => remove(&mut new["metadata"], field),
                }
            }
        }
        Part::Main | Part::Whole => {}
    }
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        copy(&old["metadata"], &mut new["metadata"], field);
    }
    if has_generation(kind) && differs(old, new) {
        new.metadata_mut().insert("generation".to_owned(), json!(old.generation() + 1));
    }
}

/// What is wrong with an object; nothing when it may be stored.
pub(crate) fn validate(_kind: &Kind, _new: &Value, _old: Option<&Value>) -> Vec<Cause> {
    Vec::new()
}

/// Kinds whose `metadata.generation` counts changes of what is asked for.
fn has_generation(kind: &Kind) -> bool {
    !matches!(
        kind.kind.as_str(),
        "ConfigMap"
            | "Secret"
            | "Event"
            | "Namespace"
            | "Node"
            | "ServiceAccount"
            | "Endpoints"
            | "Lease"
    )
}

/// Whether anything but metadata and status differs.
fn differs(old: &Value, new: &Value) -> bool {
    let relevant = |value: &Value| {
        let mut rest = value.as_object().cloned().unwrap_or_default();
        rest.remove("metadata");
        rest.remove("status");
        rest
    };
    relevant(old) != relevant(new)
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    match from.get(field) {
        Some(value) => to[field] = value.clone(),
        None => remove(to, field),
    }
}

fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}
