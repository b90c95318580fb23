//! The definitions of custom resources, looked up.

use apimachinery::{Key, Kind};
use object_store::{ObjectRef, Store};
use serde_json::Value;

/// The definition of a custom resource; none for a built-in kind.
pub(crate) fn of(store: &Store, kind: &Kind) -> Option<ObjectRef> {
    if !kind.group.contains('.') {
        return None;
    }
    let definitions = store.kind("apiextensions.k8s.io", "customresourcedefinitions");
    store.get(&definitions, &Key::cluster(kind.resource())).ok()
}

/// What a definition says about one version.
pub(crate) fn version<'a>(definition: &'a Value, name: &str) -> Option<&'a Value> {
    definition["spec"]["versions"].as_array()?.iter().find(|version| version["name"] == name)
}
