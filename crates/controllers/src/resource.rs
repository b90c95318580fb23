//! The resources that controllers name.

use std::sync::Arc;

use apimachinery::{Key, Kind};

/// A built-in resource, by group and plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Resource {
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
}

const fn core(plural: &'static str) -> Resource {
    Resource { group: "", plural }
}

const fn of(group: &'static str, plural: &'static str) -> Resource {
    Resource { group, plural }
}

pub(crate) const CONFIG_MAPS: Resource = core("configmaps");
pub(crate) const ENDPOINTS: Resource = core("endpoints");
pub(crate) const EVENTS: Resource = core("events");
pub(crate) const NAMESPACES: Resource = core("namespaces");
pub(crate) const NODES: Resource = core("nodes");
pub(crate) const CLAIMS: Resource = core("persistentvolumeclaims");
pub(crate) const VOLUMES: Resource = core("persistentvolumes");
pub(crate) const PODS: Resource = core("pods");
pub(crate) const SERVICES: Resource = core("services");
pub(crate) const SERVICE_ACCOUNTS: Resource = core("serviceaccounts");
pub(crate) const REVISIONS: Resource = of("apps", "controllerrevisions");
pub(crate) const DAEMON_SETS: Resource = of("apps", "daemonsets");
pub(crate) const DEPLOYMENTS: Resource = of("apps", "deployments");
pub(crate) const REPLICA_SETS: Resource = of("apps", "replicasets");
pub(crate) const STATEFUL_SETS: Resource = of("apps", "statefulsets");
pub(crate) const AUTOSCALERS: Resource = of("autoscaling", "horizontalpodautoscalers");
pub(crate) const JOBS: Resource = of("batch", "jobs");
pub(crate) const LEASES: Resource = of("coordination.k8s.io", "leases");
pub(crate) const SLICES: Resource = of("discovery.k8s.io", "endpointslices");
pub(crate) const BUDGETS: Resource = of("policy", "poddisruptionbudgets");
pub(crate) const PRIORITY_CLASSES: Resource = of("scheduling.k8s.io", "priorityclasses");
pub(crate) const STORAGE_CLASSES: Resource = of("storage.k8s.io", "storageclasses");
pub(crate) const DEFINITIONS: Resource = of("apiextensions.k8s.io", "customresourcedefinitions");

/// A resource of a write: built in, or found at run time.
#[derive(Clone, Debug)]
pub(crate) enum Of {
    BuiltIn(Resource),
    Found(Arc<Kind>),
}

impl From<Resource> for Of {
    fn from(resource: Resource) -> Self {
        Self::BuiltIn(resource)
    }
}

impl From<&Arc<Kind>> for Of {
    fn from(kind: &Arc<Kind>) -> Self {
        Self::Found(Arc::clone(kind))
    }
}

impl Of {
    pub(crate) fn group(&self) -> &str {
        match self {
            Self::BuiltIn(resource) => resource.group,
            Self::Found(kind) => &kind.group,
        }
    }

    pub(crate) fn plural(&self) -> &str {
        match self {
            Self::BuiltIn(resource) => resource.plural,
            Self::Found(kind) => &kind.plural,
        }
    }
}

/// One object to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Item {
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) key: Key,
}

impl Item {
    pub(crate) fn new(of: impl Into<Of>, key: Key) -> Self {
        let of = of.into();
        Self { group: of.group().to_owned(), plural: of.plural().to_owned(), key }
    }
}
