//! What a resource is called, where it lives, and what hangs below it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In one.
    Namespaced,
    /// In none.
    Cluster,
}

/// What can be read or written below an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Subresource {
    Status,
    Scale,
    Eviction,
    Binding,
    Log,
    Exec,
    Attach,
    PortForward,
    Finalize,
    /// Tokens of a service account.
    Token,
}

impl Subresource {
    /// All of them, in the order of discovery.
    pub const ALL: [Self; 10] = [
        Self::Attach,
        Self::Binding,
        Self::Eviction,
        Self::Exec,
        Self::Finalize,
        Self::Log,
        Self::PortForward,
        Self::Scale,
        Self::Status,
        Self::Token,
    ];

    /// The last part of its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Eviction => "eviction",
            Self::Binding => "binding",
            Self::Log => "log",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
            Self::Finalize => "finalize",
            Self::Token => "token",
        }
    }
}

/// A set of subresources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubresourceSet(u16);

impl SubresourceSet {
    /// The set of those given.
    #[must_use]
    pub const fn of(all: &[Subresource]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < all.len() {
            bits |= 1 << all[i] as u16;
            i += 1;
        }
        Self(bits)
    }

    /// Whether it holds one.
    #[must_use]
    pub const fn has(self, one: Subresource) -> bool {
        self.0 & (1 << one as u16) != 0
    }

    /// Those in it.
    pub fn iter(self) -> impl Iterator<Item = Subresource> {
        Subresource::ALL.into_iter().filter(move |one| self.has(*one))
    }
}

/// A resource: its group, version, kind, and names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version, like `v1`.
    pub version: String,
    /// The kind, like `Pod`.
    pub kind: String,
    /// The plural of its path, like `pods`.
    pub plural: String,
    /// The singular, like `pod`.
    pub singular: String,
    /// Short names, like `po`.
    pub short_names: Vec<String>,
    /// Categories, like `all`.
    pub categories: Vec<String>,
    /// Whether its objects live in namespaces.
    pub scope: Scope,
    /// What hangs below its objects.
    pub subresources: SubresourceSet,
}

impl Kind {
    /// `v1` or `apps/v1`, as objects carry it.
    #[must_use]
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `pods` or `deployments.apps`, as errors say it.
    #[must_use]
    pub fn resource(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The kind of its lists.
    #[must_use]
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// Whether its objects live in namespaces.
    #[must_use]
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether its `status` is written apart from the rest.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.subresources.has(Subresource::Status)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.kind)
    }
}

/// The kinds that a cluster knows: the built-in ones, and those of custom resources as they come and go.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    /// By group, version and plural.
    by_path: BTreeMap<(String, String, String), Arc<Kind>>,
}

impl Kinds {
    /// Adds a kind, or replaces the one of its path.
    pub fn insert(&mut self, kind: Arc<Kind>) {
        let path = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        self.by_path.insert(path, kind);
    }

    /// Forgets a kind.
    pub fn remove(&mut self, kind: &Kind) {
        let path = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        self.by_path.remove(&path);
    }

    /// The kind at a path.
    #[must_use]
    pub fn at(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// The kind that an object names by `apiVersion` and `kind`.
    #[must_use]
    pub fn named(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.by_path.values().find(|one| one.kind == kind && one.api_version() == api_version)
    }

    /// A kind by group and kind alone, whatever its version: as owner references and scale targets need it.
    #[must_use]
    pub fn in_group(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.by_path.values().find(|one| one.kind == kind && one.group == group)
    }

    /// All of them, by group, version and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_path.values()
    }
}
