//! Everything that is served, group by group: stored kinds, and resources that are computed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::{Kind, Kinds, Subresource};

use crate::autoscaling_v1;

/// Verbs of a stored kind.
const STORED: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// A resource as discovery names it.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: &'static [&'static str],
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) below: Vec<Below>,
}

/// What is below a resource's objects.
#[derive(Clone, Debug)]
pub(crate) struct Below {
    pub(crate) path: &'static str,
    /// The kind that is read or written there, if it is not the resource's own: group, version, kind.
    pub(crate) kind: Option<(&'static str, &'static str, &'static str)>,
    pub(crate) verbs: &'static [&'static str],
}

/// A group's versions, the preferred one first, each with its resources by name.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) versions: Vec<(String, Vec<Resource>)>,
}

/// A resource that is not stored: group, version, plural, singular, kind, namespaced, verbs.
type Computed = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    &'static [&'static str],
);

const CREATE: &[&str] = &["create"];
const READ: &[&str] = &["get", "list"];

#[rustfmt::skip]
const COMPUTED: &[Computed] = &[
    ("authentication.k8s.io", "v1", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview", false, CREATE),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview", false, CREATE),
    ("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview", false, CREATE),
    ("metrics.k8s.io", "v1beta1", "nodes", "", "NodeMetrics", false, READ),
    ("metrics.k8s.io", "v1beta1", "pods", "", "PodMetrics", true, READ),
];

/// Groups that have no resource until something is measured.
const METRICS: [(&str, &str); 2] =
    [("custom.metrics.k8s.io", "v1beta2"), ("external.metrics.k8s.io", "v1beta1")];

/// Everything that is served, in the order in which clients look a name up: the core group, then the built-in ones, then
/// custom resources; what is computed comes last, because `nodes` and `pods` of the metrics API are not the ones meant.
pub(crate) fn groups(kinds: &Kinds) -> Vec<Group> {
    let mut versions: BTreeMap<(String, String), Vec<Resource>> = BTreeMap::new();
    for kind in kinds.iter() {
        let version = (kind.group.clone(), kind.version.clone());
        versions.entry(version).or_default().push(stored(kind));
    }
    for (group, version, plural, singular, kind, namespaced, verbs) in COMPUTED {
        let version = ((*group).to_owned(), (*version).to_owned());
        versions.entry(version).or_default().push(Resource {
            plural: (*plural).to_owned(),
            singular: (*singular).to_owned(),
            kind: (*kind).to_owned(),
            namespaced: *namespaced,
            verbs,
            short_names: Vec::new(),
            categories: Vec::new(),
            below: Vec::new(),
        });
    }
    if let Some(older) =
        autoscaling_v1::kind(kinds, "autoscaling", "v1", "horizontalpodautoscalers")
    {
        let version = (older.group.clone(), older.version.clone());
        versions.entry(version).or_default().push(stored(&older));
    }
    for (group, version) in METRICS {
        versions.entry((group.to_owned(), version.to_owned())).or_default();
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for ((name, version), mut resources) in versions {
        resources.sort_by(|a, b| a.plural.cmp(&b.plural));
        let group =
            groups.entry(name.clone()).or_insert_with(|| Group { name, versions: Vec::new() });
        group.versions.push((version, resources));
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    for group in &mut groups {
        group.versions.sort_by_cached_key(|(version, _)| Reverse(priority(version)));
    }
    groups.sort_by_key(|group| rank(&group.name));
    groups
}

fn rank(group: &str) -> u8 {
    let computed = METRICS.iter().map(|(group, _)| *group).chain(["metrics.k8s.io"]);
    match group {
        "" => 0,
        _ if computed.into_iter().any(|one| one == group) => 3,
        _ if group.contains('.') && !group.ends_with(".k8s.io") => 2,
        _ => 1,
    }
}

/// Orders versions as Kubernetes does: `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1`, then others by name.
fn priority(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let parsed = version.strip_prefix('v').and_then(|rest| {
        let end = rest.find(|one: char| !one.is_ascii_digit()).unwrap_or(rest.len());
        let (major, rest) = (rest[..end].parse().ok()?, &rest[end..]);
        let (stage, minor) = match rest {
            "" => (3, 0),
            _ => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
                (Some(minor), _) => (2, minor.parse().ok()?),
                (_, Some(minor)) => (1, minor.parse().ok()?),
                _ => return None,
            },
        };
        Some((stage, major, minor))
    });
    let (stage, major, minor) = parsed.unwrap_or((0, 0, 0));
    (stage, major, minor, Reverse(version.to_owned()))
}

fn stored(kind: &Arc<Kind>) -> Resource {
    Resource {
        plural: kind.plural.clone(),
        singular: kind.singular.clone(),
        kind: kind.kind.clone(),
        namespaced: kind.is_namespaced(),
        verbs: verbs(kind),
        short_names: kind.short_names.clone(),
        categories: kind.categories.clone(),
        below: kind.subresources.iter().map(below).collect(),
    }
}

/// Verbs of a stored kind. A namespace takes all it holds with it, so nobody deletes them all at once.
pub(crate) fn verbs(kind: &Kind) -> &'static [&'static str] {
    if kind.group.is_empty() && kind.plural == "namespaces" {
        return &["create", "delete", "get", "list", "patch", "update", "watch"];
    }
    STORED
}

fn below(one: Subresource) -> Below {
    let options = |kind| Some(("", "v1", kind));
    let (kind, verbs): (_, &'static [&'static str]) = match one {
        Subresource::Status => (None, &["get", "patch", "update"]),
        Subresource::Scale => (Some(("autoscaling", "v1", "Scale")), &["get", "patch", "update"]),
        Subresource::Eviction => (Some(("policy", "v1", "Eviction")), CREATE),
        Subresource::Binding => (options("Binding"), CREATE),
        Subresource::Log => (None, &["get"]),
        Subresource::Exec => (options("PodExecOptions"), &["create", "get"]),
        Subresource::Attach => (options("PodAttachOptions"), &["create", "get"]),
        Subresource::PortForward => (options("PodPortForwardOptions"), &["create", "get"]),
        Subresource::Finalize => (None, &["update"]),
        Subresource::Token => (Some(("authentication.k8s.io", "v1", "TokenRequest")), CREATE),
    };
    Below { path: one.path(), kind, verbs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_stable_and_newest_version_is_preferred() {
        let mut versions = ["v1alpha1", "v1beta1", "foo", "v2", "v1", "v1beta2", "v10"];
        versions.sort_by_cached_key(|version| Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }

    #[test]
    fn pods_are_looked_up_among_objects_before_metrics() {
        let groups = groups(&apimachinery::builtin::kinds());
        let at = |name: &str| groups.iter().position(|group| group.name == name).unwrap();
        assert_eq!(at(""), 0);
        assert!(at("metrics.k8s.io") > at("storage.k8s.io"));
    }
}
