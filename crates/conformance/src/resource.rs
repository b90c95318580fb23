//! The collections that behaviours ask for: where they live in the API and what their objects are called.

/// A collection of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Group and version: `v1`, `apps/v1`.
    pub group_version: &'static str,
    /// The name in a path: `configmaps`.
    pub plural: &'static str,
    /// The kind of its objects: `ConfigMap`.
    pub kind: &'static str,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
}

impl Resource {
    const fn within(group_version: &'static str, plural: &'static str, kind: &'static str) -> Self {
        Self { group_version, plural, kind, namespaced: true }
    }

    const fn wide(group_version: &'static str, plural: &'static str, kind: &'static str) -> Self {
        Self { group_version, plural, kind, namespaced: false }
    }

    /// The path of the group and version: `/api/v1`, `/apis/apps/v1`.
    #[must_use]
    pub fn root(&self) -> String {
        let base = if self.group_version.contains('/') { "apis" } else { "api" };
        format!("/{base}/{}", self.group_version)
    }

    /// The path of the collection, in `namespace` where its objects have one.
    #[must_use]
    pub fn collection(&self, namespace: &str) -> String {
        if self.namespaced {
            format!("{}/namespaces/{namespace}/{}", self.root(), self.plural)
        } else {
            format!("{}/{}", self.root(), self.plural)
        }
    }
}

/// `ConfigMap`
pub const CONFIG_MAPS: Resource = Resource::within("v1", "configmaps", "ConfigMap");
/// `Secret`
pub const SECRETS: Resource = Resource::within("v1", "secrets", "Secret");
/// `Pod`
pub const PODS: Resource = Resource::within("v1", "pods", "Pod");
/// `Service`
pub const SERVICES: Resource = Resource::within("v1", "services", "Service");
/// `ServiceAccount`
pub const SERVICE_ACCOUNTS: Resource = Resource::within("v1", "serviceaccounts", "ServiceAccount");
/// `PersistentVolumeClaim`
pub const CLAIMS: Resource =
    Resource::within("v1", "persistentvolumeclaims", "PersistentVolumeClaim");
/// `Event` of the core group
pub const EVENTS: Resource = Resource::within("v1", "events", "Event");
/// `Namespace`
pub const NAMESPACES: Resource = Resource::wide("v1", "namespaces", "Namespace");
/// `Node`
pub const NODES: Resource = Resource::wide("v1", "nodes", "Node");
/// `Deployment`
pub const DEPLOYMENTS: Resource = Resource::within("apps/v1", "deployments", "Deployment");
/// `ReplicaSet`
pub const REPLICA_SETS: Resource = Resource::within("apps/v1", "replicasets", "ReplicaSet");
/// `StatefulSet`
pub const STATEFUL_SETS: Resource = Resource::within("apps/v1", "statefulsets", "StatefulSet");
/// `DaemonSet`
pub const DAEMON_SETS: Resource = Resource::within("apps/v1", "daemonsets", "DaemonSet");
/// `Job`
pub const JOBS: Resource = Resource::within("batch/v1", "jobs", "Job");
/// `Lease`
pub const LEASES: Resource = Resource::within("coordination.k8s.io/v1", "leases", "Lease");
/// `EndpointSlice`
pub const ENDPOINT_SLICES: Resource =
    Resource::within("discovery.k8s.io/v1", "endpointslices", "EndpointSlice");
/// `PodDisruptionBudget`
pub const DISRUPTION_BUDGETS: Resource =
    Resource::within("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget");
/// `HorizontalPodAutoscaler`
pub const AUTOSCALERS: Resource =
    Resource::within("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler");
/// `PriorityClass`
pub const PRIORITY_CLASSES: Resource =
    Resource::wide("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass");
/// `CustomResourceDefinition`
pub const DEFINITIONS: Resource = Resource::wide(
    "apiextensions.k8s.io/v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_group_lives_under_api_and_others_under_apis() {
        assert_eq!(PODS.collection("a"), "/api/v1/namespaces/a/pods");
        assert_eq!(JOBS.collection("a"), "/apis/batch/v1/namespaces/a/jobs");
        assert_eq!(NODES.collection("a"), "/api/v1/nodes");
    }
}
