//! Pods that want to be near other pods, or far from them: counted once per pod to place, by topology.

use apimachinery::selector::LabelSelector;
use std::collections::HashMap;

use apimachinery::Key;
use serde_json::{Map, Value};

use super::snapshot::{NodeInfo, PodInfo, Snapshot};
use crate::fields::Fields;

/// How many pods a term of a pod matches in each place: topology key and value.
type Places = HashMap<(String, String), i64>;

/// The weight of another pod's required affinity, in scores (kube-scheduler's default).
const HARD_WEIGHT: i64 = 1;

/// What the pods that are there mean for one pod that is to be placed.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// For each required affinity term: pods that match all of them, by place.
    wanted: Vec<(String, Places)>,
    /// For each required anti-affinity term: pods that match it, by place.
    shunned: Vec<(String, Places)>,
    /// Places where somebody is who wants this pod far away.
    forbidden: Places,
    /// The first of its kind may go anywhere.
    first_of_kind: bool,
    /// Preferences of both sides, by place.
    preferred: Places,
}

/// Why a node does not do.
pub(crate) const NO_AFFINITY: &str = "node(s) didn't match pod affinity rules";
pub(crate) const ANTI_AFFINITY: &str = "node(s) didn't match pod anti-affinity rules";
pub(crate) const EXISTING_ANTI_AFFINITY: &str =
    "node(s) didn't satisfy existing pods anti-affinity rules";

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn required<'a>(pod: &'a PodInfo, which: &str) -> &'a [Value] {
    pod.spec.list(&format!("affinity/{which}/{REQUIRED}"))
}

fn preferred<'a>(pod: &'a PodInfo, which: &str) -> &'a [Value] {
    pod.spec.list(&format!("affinity/{which}/{PREFERRED}"))
}

impl Neighbours {
    /// Looks at every pod that is there.
    pub(crate) fn of(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        let wanted = required(pod, "podAffinity");
        let shunned = required(pod, "podAntiAffinity");
        let count = |terms: &[Value]| -> Vec<(String, Places)> {
            terms.iter().map(|term| (term.text("topologyKey").to_owned(), Places::new())).collect()
        };
        let mut found = Self { wanted: count(wanted), shunned: count(shunned), ..Self::default() };
        let mut any_wanted = false;
        for node in snapshot.existing() {
            for other in node.pods.values() {
                if !wanted.is_empty()
                    && wanted.iter().all(|term| matches(term, pod, other, snapshot))
                {
                    any_wanted = true;
                    found.wanted.iter_mut().for_each(|(key, places)| note(places, key, node, 1));
                }
                for (term, (key, places)) in shunned.iter().zip(&mut found.shunned) {
                    if matches(term, pod, other, snapshot) {
                        note(places, key, node, 1);
                    }
                }
                found.look_back(pod, other, node, snapshot);
            }
        }
        let matches_itself = wanted.iter().all(|term| matches(term, pod, pod, snapshot));
        found.first_of_kind = !any_wanted && matches_itself;
        found
    }

    /// What another pod wants of this one, and what this one prefers of it.
    fn look_back(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) {
        for term in required(other, "podAntiAffinity") {
            if matches(term, other, pod, snapshot) {
                note(&mut self.forbidden, term.text("topologyKey"), node, 1);
            }
        }
        for term in required(other, "podAffinity") {
            if matches(term, other, pod, snapshot) {
                note(&mut self.preferred, term.text("topologyKey"), node, HARD_WEIGHT);
            }
        }
        for (which, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            for (who, whom) in [(pod, other), (other, pod)] {
                for weighted in preferred(who, which) {
                    let term = weighted.at("podAffinityTerm");
                    if matches(term, who, whom, snapshot) {
                        let weight = sign * weighted.count("weight");
                        note(&mut self.preferred, term.text("topologyKey"), node, weight);
                    }
                }
            }
        }
    }

    /// Whether a pod may go to a node. In the error: why not, and whether moving others away could help.
    pub(crate) fn allow(&self, node: &NodeInfo) -> Result<(), (&'static str, bool)> {
        let affinity = self.wanted.iter().all(|(key, places)| {
            node.labels.contains_key(key) && (self.first_of_kind || here(places, key, node) > 0)
        });
        if !affinity {
            return Err((NO_AFFINITY, false));
        }
        if self.shunned.iter().any(|(key, places)| here(places, key, node) > 0) {
            return Err((ANTI_AFFINITY, true));
        }
        if self.forbidden.iter().any(|((key, value), _)| is(node, key, value)) {
            return Err((EXISTING_ANTI_AFFINITY, true));
        }
        Ok(())
    }

    /// How much both sides prefer this node.
    pub(crate) fn score(&self, node: &NodeInfo) -> i64 {
        let here = self.preferred.iter().filter(|((key, value), _)| is(node, key, value));
        here.map(|(_, weight)| weight).sum()
    }

    /// Whether anybody prefers anything.
    pub(crate) fn has_preferences(&self) -> bool {
        !self.preferred.is_empty()
    }
}

fn is(node: &NodeInfo, key: &str, value: &str) -> bool {
    node.labels.get(key).is_some_and(|is| is == value)
}

fn here(places: &Places, key: &str, node: &NodeInfo) -> i64 {
    let value = node.labels.get(key).and_then(Value::as_str).unwrap_or("");
    places.get(&(key.to_owned(), value.to_owned())).copied().unwrap_or(0)
}

fn note(places: &mut Places, key: &str, node: &NodeInfo, weight: i64) {
    if let Some(value) = node.labels.get(key).and_then(Value::as_str) {
        *places.entry((key.to_owned(), value.to_owned())).or_default() += weight;
    }
}

/// Whether a term of `who` means `whom`.
fn matches(term: &Value, who: &PodInfo, whom: &PodInfo, snapshot: &Snapshot) -> bool {
    in_namespaces(term, &who.key, &whom.key, snapshot)
        && LabelSelector::from_json(term.at("labelSelector")).matches_map(&whom.labels)
        && same_labels(term.list("matchLabelKeys"), &who.labels, &whom.labels, true)
        && same_labels(term.list("mismatchLabelKeys"), &who.labels, &whom.labels, false)
}

fn in_namespaces(term: &Value, who: &Key, whom: &Key, snapshot: &Snapshot) -> bool {
    let listed = term.list("namespaces");
    let chosen = term.at("namespaceSelector");
    if listed.is_empty() && chosen.is_null() {
        return who.namespace == whom.namespace;
    }
    let labels = snapshot.namespaces.get(&whom.namespace);
    listed.iter().any(|one| *one == whom.namespace.as_str())
        || labels.is_some_and(|labels| LabelSelector::from_json(chosen).matches_map(labels))
}

/// Keys whose values are taken from the pod itself.
fn same_labels(
    keys: &[Value],
    who: &Map<String, Value>,
    whom: &Map<String, Value>,
    same: bool,
) -> bool {
    keys.iter()
        .filter_map(Value::as_str)
        .filter(|key| who.contains_key(*key))
        .all(|key| (who.get(key) == whom.get(key)) == same)
}
