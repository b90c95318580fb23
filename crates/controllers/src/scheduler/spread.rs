//! Topology spread: like pods, evenly over zones, nodes, or whatever a label names.

use apimachinery::selector::LabelSelector;
use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::node_rules;
use super::snapshot::{NodeInfo, PodInfo, Snapshot};
use crate::fields::Fields;

/// Why a node does not do.
pub(crate) const NOT_SPREAD: &str = "node(s) didn't match pod topology spread constraints";
pub(crate) const NO_LABEL: &str =
    "node(s) didn't match pod topology spread constraints (missing required label)";

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// One constraint with what it counts.
#[derive(Debug)]
struct Constraint {
    key: String,
    max_skew: i64,
    min_domains: i64,
    /// Pods that match, in each place that counts.
    places: HashMap<String, i64>,
    /// Whether the pod itself matches.
    own: i64,
}

/// The spread of one pod's kin.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    hard: Vec<Constraint>,
    soft: Vec<Constraint>,
    /// Soft constraints that a pod did not ask for: a node without their label still has a score.
    by_default: bool,
}

impl Spread {
    pub(crate) fn of(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        let own = pod.spec.list("topologySpreadConstraints");
        let which = |hard: bool| {
            own.iter()
                .filter(move |one| (one.text("whenUnsatisfiable") != "ScheduleAnyway") == hard)
        };
        let make = |all: Vec<&Value>, lenient: bool| -> Vec<Constraint> {
            let keys: Vec<&str> = all.iter().map(|one| one.text("topologyKey")).collect();
            all.iter().map(|one| Constraint::of(one, &keys, lenient, pod, snapshot)).collect()
        };
        let hard = make(which(true).collect(), false);
        match &pod.kin {
            Some(kin) if own.is_empty() => {
                let defaults = [(HOST, 3), (ZONE, 5)]
                    .map(|(key, skew)| json!({"topologyKey": key, "maxSkew": skew, "labelSelector": kin}));
                Self { hard, soft: make(defaults.iter().collect(), true), by_default: true }
            }
            _ => Self { hard, soft: make(which(false).collect(), false), by_default: false },
        }
    }

    /// Whether a node keeps the skew within bounds. In the error: why not, and whether moving others away could help.
    pub(crate) fn allow(&self, node: &NodeInfo) -> Result<(), (&'static str, bool)> {
        for one in &self.hard {
            let Some(value) = node.labels.get(&one.key).and_then(Value::as_str) else {
                return Err((NO_LABEL, false));
            };
            let domains = i64::try_from(one.places.len()).unwrap_or(i64::MAX);
            let fewest = if domains < one.min_domains {
                0
            } else {
                one.places.values().copied().min().unwrap_or(0)
            };
            let here = one.places.get(value).copied().unwrap_or(0);
            if here + one.own - fewest > one.max_skew {
                return Err((NOT_SPREAD, true));
            }
        }
        Ok(())
    }

    /// Whether there is anything to score.
    pub(crate) fn has_preferences(&self) -> bool {
        !self.soft.is_empty()
    }

    /// How crowded each candidate is; none: it lacks a label that a constraint names.
    pub(crate) fn crowding(&self, candidates: &[&NodeInfo]) -> Vec<Option<i64>> {
        let complete = |node: &NodeInfo| {
            self.by_default || self.soft.iter().all(|one| node.labels.contains_key(&one.key))
        };
        let counted: Vec<&&NodeInfo> = candidates.iter().filter(|node| complete(node)).collect();
        let weights: Vec<f64> = self
            .soft
            .iter()
            .map(|one| {
                let places: HashSet<Option<&str>> = counted
                    .iter()
                    .map(|node| node.labels.get(&one.key).and_then(Value::as_str))
                    .collect();
                let size = if one.key == HOST { counted.len() } else { places.len() };
                (size as f64 + 2.0).ln()
            })
            .collect();
        let score = |node: &NodeInfo| {
            let each = self.soft.iter().zip(&weights).filter_map(|(one, weight)| {
                let value = node.labels.get(&one.key)?.as_str()?;
                let count = one.places.get(value).copied().unwrap_or(0);
                Some(count as f64 * weight + (one.max_skew - 1) as f64)
            });
            each.sum::<f64>().round() as i64
        };
        candidates.iter().map(|node| complete(node).then(|| score(node))).collect()
    }
}

impl Constraint {
    fn of(one: &Value, keys: &[&str], lenient: bool, pod: &PodInfo, snapshot: &Snapshot) -> Self {
        let mut wanted = one.at("labelSelector").clone();
        for key in one.list("matchLabelKeys").iter().filter_map(Value::as_str) {
            if let Some(value) = pod.labels.get(key) {
                wanted["matchLabels"][key] = value.clone();
            }
        }
        let key = one.text("topologyKey").to_owned();
        let wanted = LabelSelector::from_json(&wanted);
        let own = i64::from(wanted.matches_map(&pod.labels));
        let mut places: HashMap<String, i64> = HashMap::new();
        for node in snapshot.existing() {
            let complete = lenient || keys.iter().all(|key| node.labels.contains_key(*key));
            let Some(value) = node.labels.get(&key).and_then(Value::as_str) else { continue };
            if !complete || !counts(one, pod, node) {
                continue;
            }
            let kin = node.pods.values().filter(|other| {
                other.key.namespace == pod.key.namespace
                    && !other.terminating
                    && wanted.matches_map(&other.labels)
            });
            *places.entry(value.to_owned()).or_default() += i64::try_from(kin.count()).unwrap_or(0);
        }
        Self {
            key,
            max_skew: one.int("maxSkew").unwrap_or(1),
            min_domains: one.int("minDomains").unwrap_or(1),
            places,
            own,
        }
    }
}

/// Whether a node counts as a place: by default those that the pod's node affinity allows, whatever their taints.
fn counts(constraint: &Value, pod: &PodInfo, node: &NodeInfo) -> bool {
    (constraint.text("nodeAffinityPolicy") == "Ignore" || node_rules::selects(&pod.spec, node))
        && (constraint.text("nodeTaintsPolicy") != "Honor"
            || !node_rules::has_untolerated(&pod.spec, &node.taints))
}
