//! The kinds that every embedded cluster serves.
//!
//! Names, short names and categories are those of `kubectl api-resources` against Kubernetes 1.34.

use std::sync::Arc;

use crate::kind::{Kind, Kinds, Scope, Subresource, SubresourceSet};
use Subresource::{
    Attach, Binding, Eviction, Exec, Finalize, Log, PortForward, Scale, Status as StatusOf, Token,
};

/// A row: group, version, kind, plural, short names, categories, scope, subresources.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    Scope,
    &'static [Subresource],
);

const IN: Scope = Scope::Namespaced;
const TOP: Scope = Scope::Cluster;
const ALL: &[&str] = &["all"];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("", "v1", "ConfigMap", "configmaps", &["cm"], &[], IN, &[]),
    ("", "v1", "Endpoints", "endpoints", &["ep"], &[], IN, &[]),
    ("", "v1", "Event", "events", &["ev"], &[], IN, &[]),
    ("", "v1", "Namespace", "namespaces", &["ns"], &[], TOP, &[Finalize, StatusOf]),
    ("", "v1", "Node", "nodes", &["no"], &[], TOP, &[StatusOf]),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"], &[], IN, &[StatusOf]),
    ("", "v1", "PersistentVolume", "persistentvolumes", &["pv"], &[], TOP, &[StatusOf]),
    ("", "v1", "Pod", "pods", &["po"], ALL, IN, &[Attach, Binding, Eviction, Exec, Log, PortForward, StatusOf]),
    ("", "v1", "Secret", "secrets", &[], &[], IN, &[]),
    ("", "v1", "Service", "services", &["svc"], ALL, IN, &[StatusOf]),
    ("", "v1", "ServiceAccount", "serviceaccounts", &["sa"], &[], IN, &[Token]),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", &[], &[], IN, &[]),
    ("apps", "v1", "DaemonSet", "daemonsets", &["ds"], ALL, IN, &[StatusOf]),
    ("apps", "v1", "Deployment", "deployments", &["deploy"], ALL, IN, &[Scale, StatusOf]),
    ("apps", "v1", "ReplicaSet", "replicasets", &["rs"], ALL, IN, &[Scale, StatusOf]),
    ("apps", "v1", "StatefulSet", "statefulsets", &["sts"], ALL, IN, &[Scale, StatusOf]),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"], ALL, IN, &[StatusOf]),
    ("batch", "v1", "Job", "jobs", &[], ALL, IN, &[StatusOf]),
    ("coordination.k8s.io", "v1", "Lease", "leases", &[], &[], IN, &[]),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", &[], &[], IN, &[]),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], &[], IN, &[StatusOf]),
    ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", &["pc"], &[], TOP, &[]),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", &["sc"], &[], TOP, &[]),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", &["crd", "crds"], &["api-extensions"], TOP, &[StatusOf]),
];

/// Every built-in kind.
#[must_use]
pub fn kinds() -> Kinds {
    let mut kinds = Kinds::default();
    for &(group, version, kind, plural, short_names, categories, scope, subresources) in ROWS {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        kinds.insert(Arc::new(Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: owned(short_names),
            categories: owned(categories),
            scope,
            subresources: SubresourceSet::of(subresources),
        }));
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_found_by_path_and_by_what_it_calls_itself() {
        let kinds = kinds();
        let by_path = kinds.at("", "v1", "pods").unwrap();
        assert_eq!(kinds.named("v1", "Pod"), Some(by_path));
        assert!(by_path.subresources.has(Subresource::Log));
        assert!(!by_path.subresources.has(Subresource::Scale));
        assert_eq!(kinds.named("apps/v1", "Deployment").unwrap().resource(), "deployments.apps");
    }
}
