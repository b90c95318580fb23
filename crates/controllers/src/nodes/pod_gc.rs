//! Pods that nobody will ever end: those of nodes that are gone, and too many that have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apimachinery::{Key, Meta, Status};
use jiff::Timestamp;
use object_store::{Change, ChangeType, Part};
use serde_json::{Value, json};

use crate::action::{Action, Plan};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::{Fields, stamp};
use crate::pod;
use crate::resource::{Item, NODES, PODS, Resource};
use crate::view::{View, values};

/// How long a node must be gone before its pods are.
const QUARANTINE: Duration = Duration::from_secs(40);
/// How often to look for pods that have ended.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// Pods that have ended and are kept (kube-controller-manager's default).
const ENDED_KEPT: usize = 12_500;

/// Deletes pods that nobody will ever end.
#[derive(Debug, Default)]
pub(crate) struct PodGc {
    /// Nodes that pods name and that are not there, and since when.
    missing: BTreeMap<String, Timestamp>,
}

impl Controller for PodGc {
    fn identity(&self) -> Identity {
        Identity { source: "pod-garbage-collector", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![NODES]
    }

    fn route(&mut self, _view: &View, change: &Change) -> Vec<Item> {
        let all = Item::new(PODS, Key::cluster(""));
        if change.change == ChangeType::Modified { Vec::new() } else { vec![all] }
    }

    fn reconcile(&mut self, view: &View, _item: &Item) -> Result<Plan, Status> {
        let now = view.now();
        let pods = view.all(PODS);
        let named: BTreeSet<&str> =
            pods.iter().map(|one| pod::node(one.value())).filter(|name| !name.is_empty()).collect();
        let missing =
            named.into_iter().filter(|name| view.get(NODES, &Key::cluster(*name)).is_none());
        let known = std::mem::take(&mut self.missing);
        self.missing = missing
            .map(|name| (name.to_owned(), known.get(name).copied().unwrap_or(now)))
            .collect();
        let given_up =
            |since: &Timestamp| since.checked_add(QUARANTINE).is_ok_and(|end| end <= now);
        let gone: BTreeSet<&str> = self
            .missing
            .iter()
            .filter(|(_, since)| given_up(since))
            .map(|(name, _)| name.as_str())
            .collect();
        Ok(Plan { actions: plan(&values(&pods), &gone, now), again: Some(LOOK_AGAIN) })
    }
}

/// The pods of nodes that are gone, and the oldest of too many that have ended.
pub(super) fn plan(pods: &[&Value], gone: &BTreeSet<&str>, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    for pod in pods.iter().filter(|one| gone.contains(pod::node(one))) {
        if !pod::is_finished(pod) {
            actions.push(fail(pod, now));
        }
        actions.push(force(pod));
    }
    let mut ended: Vec<&&Value> =
        pods.iter().filter(|one| pod::is_finished(one) && !gone.contains(pod::node(one))).collect();
    ended.sort_by_key(|one| one.text("metadata/creationTimestamp"));
    let excess = ended.len().saturating_sub(ENDED_KEPT);
    actions.extend(ended.into_iter().take(excess).map(|one| force(one)));
    actions
}

fn fail(pod: &Value, now: Timestamp) -> Action {
    let mut conditions = pod.list("status/conditions").to_vec();
    conditions.retain(|one| one["type"] != "DisruptionTarget");
    conditions.push(json!({
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": stamp(now),
        "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
    }));
    let patch = json!({"status": {"phase": "Failed", "conditions": conditions}});
    Action::change_part(PODS, pod, Part::Status, patch)
}

/// Without waiting for an agent that is not there.
fn force(pod: &Value) -> Action {
    let (key, uid) = (Key::of(pod), pod.uid().to_owned());
    Action::Delete { of: PODS.into(), key, uid, grace: Some(0), propagation: None, tell: None }
}
