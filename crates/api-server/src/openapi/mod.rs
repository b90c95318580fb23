//! The types and paths of the API, as OpenAPI documents: what clients validate with, explain from, and read patch keys in.

mod gnostic;
mod operations;
mod types;
mod v2;
mod v3;

pub(crate) use v2::v2;
pub(crate) use v3::{document, index};

/// A resource's kind, as operations and types carry it.
fn kind_json(group: &str, version: &str, kind: &str) -> serde_json::Value {
    serde_json::json!({"group": group, "kind": kind, "version": version})
}
