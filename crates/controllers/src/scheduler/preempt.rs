//! Making room: which less important pods would have to go for a pod that fits nowhere.
//!
//! The rules of kube-scheduler's DefaultPreemption: as few and as unimportant victims as possible, disruption budgets kept
//! where that can be.

use apimachinery::selector::LabelSelector;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::{Key, Meta};
use serde_json::Value;

use super::decide::{Unfit, histogram, unavailable};
use super::filter::{Prepared, allow};
use super::snapshot::{PodInfo, Snapshot};
use crate::fields::Fields;

/// Nodes that are looked at for one pod (kube-scheduler looks at a tenth of the nodes, and at least 100).
const NODES_TRIED: usize = 100;

/// Who has to go, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Preemption {
    pub(crate) node: String,
    pub(crate) victims: Vec<Arc<PodInfo>>,
    /// Victims whose going breaks a disruption budget.
    violations: usize,
}

/// Room for a pod, or why there is none to be made.
pub(crate) fn preempt(
    pod: &PodInfo,
    snapshot: &Snapshot,
    unfit: &Unfit,
    budgets: &[&Value],
) -> Result<Preemption, String> {
    if pod.spec.text("preemptionPolicy") == "Never" {
        return Err("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    let waits = snapshot.nodes.get(&pod.nominated).is_some_and(|node| {
        node.pods.values().any(|one| one.terminating && one.priority < pod.priority)
    });
    if waits {
        return Err("not eligible due to a terminating pod on the nominated node.".to_owned());
    }
    let mut reasons: Vec<String> = Vec::new();
    let mut found: Vec<Preemption> = Vec::new();
    let mut tried = 0;
    for (name, refusal) in &unfit.refusals {
        if !refusal.others_in_the_way || tried == NODES_TRIED {
            reasons.push("Preemption is not helpful for scheduling".to_owned());
            continue;
        }
        tried += 1;
        match victims_on(pod, name, snapshot, budgets) {
            Ok(preemption) => found.push(preemption),
            Err(why) => reasons.extend(why),
        }
    }
    let importance = |one: &Preemption| {
        let priorities = || one.victims.iter().map(|victim| victim.priority);
        let earliest =
            one.victims.iter().filter(|victim| Some(victim.priority) == priorities().max());
        let youngest = earliest.map(|victim| victim.started.clone()).min().unwrap_or_default();
        (
            one.violations,
            priorities().max().unwrap_or(i64::MIN),
            priorities().map(|priority| priority + (1 << 31)).sum::<i64>(),
            one.victims.len(),
            Reverse(youngest),
        )
    };
    found
        .into_iter()
        .min_by_key(importance)
        .ok_or_else(|| format!("{} {}.", unavailable(unfit.nodes), histogram(reasons.iter())))
}

/// The fewest pods that have to leave a node.
fn victims_on(
    pod: &PodInfo,
    name: &str,
    snapshot: &Snapshot,
    budgets: &[&Value],
) -> Result<Preemption, Vec<String>> {
    let none = || vec!["No preemption victims found for incoming pod".to_owned()];
    let mut assumed = snapshot.clone();
    let Some(node) = assumed.nodes.get_mut(name) else { return Err(none()) };
    let mut lesser: Vec<Arc<PodInfo>> =
        node.pods.values().filter(|other| other.priority < pod.priority).cloned().collect();
    if lesser.is_empty() {
        return Err(none());
    }
    lesser.iter().for_each(|victim| node.remove(&victim.key));
    let fits = |assumed: &Snapshot| {
        let prepared = Prepared::of(pod, assumed);
        assumed.nodes.get(name).map_or(Ok(()), |node| allow(pod, node, &prepared))
    };
    fits(&assumed).map_err(|refusal| refusal.reasons)?;
    lesser.sort_by_key(|victim| {
        (Reverse(victim.priority), victim.started.clone(), victim.key.clone())
    });
    let (breaking, harmless) = split_by_budgets(lesser, budgets);
    let mut victims = Vec::new();
    let mut violations = 0;
    for (candidates, breaks) in [(breaking, 1), (harmless, 0)] {
        for victim in candidates {
            // Whoever may stay, stays: the important ones are asked first.
            if let Some(node) = assumed.nodes.get_mut(name) {
                node.add(Arc::clone(&victim));
            }
            if fits(&assumed).is_err() {
                if let Some(node) = assumed.nodes.get_mut(name) {
                    node.remove(&victim.key);
                }
                violations += breaks;
                victims.push(victim);
            }
        }
    }
    Ok(Preemption { node: name.to_owned(), victims, violations })
}

type Pods = Vec<Arc<PodInfo>>;

/// Those whose going would break a budget, and the rest.
fn split_by_budgets(pods: Pods, budgets: &[&Value]) -> (Pods, Pods) {
    let mut left: BTreeMap<Key, i64> =
        budgets.iter().map(|one| (Key::of(one), one.count("status/disruptionsAllowed"))).collect();
    pods.into_iter().partition(|pod| {
        let covers = |budget: &&&Value| {
            budget.namespace() == pod.key.namespace
                && !pod.labels.is_empty()
                && LabelSelector::from_json(budget.at("spec/selector")).matches_map(&pod.labels)
                && budget.at("status/disruptedPods").get(&pod.key.name).is_none()
        };
        let mut breaks = false;
        for budget in budgets.iter().filter(covers) {
            if let Some(allowed) = left.get_mut(&Key::of(budget)) {
                *allowed -= 1;
                breaks |= *allowed < 0;
            }
        }
        breaks
    })
}
