//! Many objects at one revision.

use std::sync::Arc;

use serde_json::Value;

use crate::object::ObjectRef;

/// Whether an object is meant, by its content.
pub type Matches = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// Which objects of a kind are meant.
#[derive(Clone, Default)]
pub struct Selection {
    /// In this namespace; none: in all.
    pub namespace: Option<String>,
    /// With this name.
    pub name: Option<String>,
    /// For which this holds: label and field selectors, parsed by whoever asks.
    pub matches: Option<Matches>,
}

impl Selection {
    /// All of one namespace.
    #[must_use]
    pub fn in_namespace(namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::default() }
    }

    /// The same, where `matches` holds.
    #[must_use]
    pub fn matching(self, matches: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        Self { matches: Some(Arc::new(matches)), ..self }
    }

    /// Whether an object is meant.
    #[must_use]
    pub fn includes(&self, object: &Value) -> bool {
        use apimachinery::Meta;
        self.namespace.as_deref().is_none_or(|namespace| namespace == object.namespace())
            && self.name.as_deref().is_none_or(|name| name == object.name())
            && self.matches.as_ref().is_none_or(|matches| matches(object))
    }
}

impl std::fmt::Debug for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selection")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("matches", &self.matches.is_some())
            .finish()
    }
}

/// How much to list, and as of when.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// At most so many; 0: all.
    pub limit: usize,
    /// Go on after this key, at this revision: from an earlier list's [`List::next`].
    pub after: Option<(u64, apimachinery::Key)>,
    /// As of exactly this revision; none: now.
    pub at: Option<u64>,
}

/// Objects at one revision, by namespace and name.
#[derive(Clone, Debug)]
pub struct List {
    /// The revision.
    pub revision: u64,
    /// The objects.
    pub items: Vec<ObjectRef>,
    /// Where to go on, if there are more.
    pub next: Option<apimachinery::Key>,
    /// How many more there are, if nothing was selected but a namespace.
    pub remaining: Option<u64>,
}
