//! What controllers see of the store. Reads are of the newest versions, so no controller ever waits for its own writes.

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::{Key, Kind};
use jiff::Timestamp;
use object_store::{ObjectRef, Selection, Store};
use serde_json::Value;

use crate::resource::{Of, Resource};

/// The store, with the kinds of built-in resources at hand.
#[derive(Debug)]
pub(crate) struct View {
    store: Store,
    kinds: HashMap<Resource, Arc<Kind>>,
}

impl View {
    /// A view that knows the resources given.
    pub(crate) fn new(store: Store, resources: &[Resource]) -> Self {
        let kinds = resources
            .iter()
            .map(|resource| (*resource, store.kind(resource.group, resource.plural)))
            .collect();
        Self { store, kinds }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// The kind of a resource.
    pub(crate) fn kind(&self, of: &Of) -> Arc<Kind> {
        match of {
            Of::Found(kind) => Arc::clone(kind),
            Of::BuiltIn(resource) => match self.kinds.get(resource) {
                Some(kind) => Arc::clone(kind),
                None => self.store.kind(resource.group, resource.plural),
            },
        }
    }

    /// One object, if it is there.
    pub(crate) fn get(&self, of: impl Into<Of>, key: &Key) -> Option<ObjectRef> {
        self.store.get(&self.kind(&of.into()), key).ok()
    }

    /// All objects of a resource.
    pub(crate) fn all(&self, of: impl Into<Of>) -> Vec<ObjectRef> {
        self.store.select(&self.kind(&of.into()), &Selection::default())
    }

    /// All objects of a resource in a namespace.
    pub(crate) fn within(&self, of: impl Into<Of>, namespace: &str) -> Vec<ObjectRef> {
        self.store.select(&self.kind(&of.into()), &Selection::in_namespace(namespace))
    }
}

/// The contents of objects.
pub(crate) fn values(objects: &[ObjectRef]) -> Vec<&Value> {
    objects.iter().map(|object| object.value()).collect()
}
