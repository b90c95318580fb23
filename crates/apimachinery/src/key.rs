//! Where an object stands among those of its kind.

use std::fmt;

use serde_json::Value;

use crate::Meta;

/// Namespace and name: unique among the objects of one kind. Ordered as lists are: by namespace, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace; empty for objects of the whole cluster.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// A key in a namespace.
    #[must_use]
    pub fn namespaced(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// A key of the whole cluster.
    #[must_use]
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::namespaced("", name)
    }

    /// The key that an object's metadata names.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        Self::namespaced(object.namespace(), object.name())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}
