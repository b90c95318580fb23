//! The scheduler: a node for each pod that has none.
//!
//! The rules are those of kube-scheduler 1.34 with its default profile. It keeps what pods ask for and what nodes have left,
//! taken from the changes that it is told; the decision itself is a function of that.

mod affinity;
mod decide;
mod filter;
mod node_rules;
mod preempt;
mod queue;
mod resources;
mod score;
mod snapshot;
mod spread;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Key, Kind, Meta, Status};
use object_store::{Change, ChangeType, Part};
use serde_json::{Value, json};

use crate::action::{Action, Event, Plan};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::{Fields, stamp};
use crate::pod;
use crate::resource::{BUDGETS, CLAIMS, Item, NAMESPACES, NODES, PODS, PRIORITY_CLASSES, Resource};
use crate::view::{View, values};
use decide::Nominated;
use queue::Pending;
use snapshot::{PodInfo, Snapshot};

pub(crate) use node_rules::{has_untolerated, selects, tolerates_by};
#[cfg(test)]
pub(crate) use resources::requests;
pub(crate) use snapshot::NodeInfo;

const NAME: &str = "default-scheduler";
/// What kube-scheduler says of device claims before it speaks of preemption.
const NOTHING_TO_GIVE_BACK: &str = "no new claims to deallocate";

/// The scheduler.
#[derive(Debug)]
pub(crate) struct Scheduler {
    seed: u64,
    decisions: u64,
    snapshot: Snapshot,
    pending: Pending,
    /// Where each pod that has a node was counted.
    placed: HashMap<Key, String>,
    nominated: HashMap<Key, Arc<PodInfo>>,
}

impl Scheduler {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            decisions: 0,
            snapshot: Snapshot::default(),
            pending: Pending::default(),
            placed: HashMap::new(),
            nominated: HashMap::new(),
        }
    }

    /// Takes in a pod as it is now. Whether that may help others.
    fn note_pod(&mut self, view: &View, change: &Change) -> bool {
        let object = change.object.value();
        let key = Key::of(object);
        let gone = change.change == ChangeType::Deleted || pod::is_finished(object);
        if gone {
            self.pending.remove(&key);
            self.nominated.remove(&key);
            return self.displace(&key);
        }
        let info = Arc::new(PodInfo::of(object, priority(view, object)));
        if !info.node.is_empty() {
            self.pending.remove(&key);
            self.nominated.remove(&key);
            let came = self.placed.insert(key.clone(), info.node.clone());
            if let Some(before) = came.as_ref().filter(|before| **before != info.node) {
                self.snapshot.take(before, &key);
            }
            self.snapshot.place(info);
            if came.is_none() {
                self.pending.stir_sociable(view.now());
            }
            return false;
        }
        self.displace(&key);
        let ours = matches!(object.text("spec/schedulerName"), "" | NAME);
        if !ours || object.is_terminating() {
            self.pending.remove(&key);
            self.nominated.remove(&key);
            return false;
        }
        if info.nominated.is_empty() {
            self.nominated.remove(&key);
        } else {
            self.nominated.insert(key.clone(), Arc::clone(&info));
        }
        let own_write = self.pending.contains(&key) && change.change == ChangeType::Modified;
        let gated = !object.list("spec/schedulingGates").is_empty();
        let sociable = info.spec.has("affinity/podAffinity");
        self.pending.add(key, (info.priority, sociable), !own_write || gated, view.now());
        false
    }

    fn displace(&mut self, key: &Key) -> bool {
        match self.placed.remove(key) {
            Some(node) => {
                self.snapshot.take(&node, key);
                true
            }
            None => false,
        }
    }

    fn note_node(&mut self, change: &Change) -> bool {
        let object = change.object.value();
        if change.change == ChangeType::Deleted {
            self.snapshot.forget_node(object.name());
            return false;
        }
        self.snapshot.nodes.entry(object.name().to_owned()).or_default().set(object)
    }

    fn nominations(&self) -> Nominated {
        let mut nominated = Nominated::new();
        for pod in self.nominated.values() {
            nominated.entry(pod.nominated.clone()).or_default().push(Arc::clone(pod));
        }
        nominated
    }

    /// Finds a node for a pod, or says why there is none.
    fn place(&mut self, view: &View, object: &Value) -> Vec<Action> {
        let now = view.now();
        if !object.list("spec/schedulingGates").is_empty() {
            self.pending.failed(&Key::of(object), now);
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            return condition(view, object, "SchedulingGated", message, None).into_iter().collect();
        }
        let info = PodInfo::of(object, priority(view, object));
        if let Some(why) = missing_claim(view, object) {
            self.pending.failed(&info.key, now);
            let none = decide::unavailable(self.snapshot.existing().count());
            // The end is kube-scheduler's: no node was looked at, so none is found to make room on.
            let message = format!("{none} {why}. not found");
            return refuse(view, object, &message, None);
        }
        let dice = self.seed.wrapping_add(self.decisions);
        match decide::decide(&info, &self.snapshot, &self.nominations(), dice) {
            Ok(node) => {
                self.decisions += 1;
                bind(view, object, info.priority, &node)
            }
            Err(unfit) => {
                self.pending.failed(&info.key, now);
                let budgets = view.all(BUDGETS);
                match preempt::preempt(&info, &self.snapshot, &unfit, &values(&budgets)) {
                    Ok(preemption) => {
                        let mut actions = evict(view, object, &preemption);
                        actions.extend(refuse(
                            view,
                            object,
                            &unfit.message(),
                            Some(&preemption.node),
                        ));
                        actions
                    }
                    Err(why) => {
                        let mut message = unfit.message();
                        if unfit.nodes > 0 {
                            message =
                                format!("{message} {NOTHING_TO_GIVE_BACK}, preemption: {why}");
                        }
                        refuse(view, object, &message, None)
                    }
                }
            }
        }
    }
}

impl Controller for Scheduler {
    fn identity(&self) -> Identity {
        Identity { source: NAME, manager: "kube-scheduler" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![NODES, PODS, NAMESPACES, PRIORITY_CLASSES, CLAIMS]
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        let may_help = match change.object.kind().plural.as_str() {
            "pods" => self.note_pod(view, change),
            "nodes" => self.note_node(change),
            "namespaces" => {
                let labels = object.map("metadata/labels").clone();
                match change.change {
                    ChangeType::Deleted => self.snapshot.namespaces.remove(object.name()),
                    _ => self.snapshot.namespaces.insert(object.name().to_owned(), labels),
                };
                false
            }
            _ => true,
        };
        if may_help {
            self.pending.stir(view.now());
        }
        // All pods that wait are one item: who is first is the queue's to say.
        vec![Item::new(PODS, Key::cluster(""))]
    }

    fn reset(&mut self, kind: &Kind) {
        match kind.plural.as_str() {
            "pods" => {
                self.pending = Pending::default();
                self.placed.clear();
                self.nominated.clear();
                for node in self.snapshot.nodes.values_mut() {
                    let keys: Vec<Key> = node.pods.keys().cloned().collect();
                    keys.iter().for_each(|key| node.remove(key));
                }
                self.snapshot.nodes.retain(|_, node| node.exists);
            }
            "nodes" => {
                let names: Vec<String> = self.snapshot.nodes.keys().cloned().collect();
                names.iter().for_each(|name| self.snapshot.forget_node(name));
            }
            "namespaces" => self.snapshot.namespaces.clear(),
            _ => {}
        }
    }

    fn reconcile(&mut self, view: &View, _item: &Item) -> Result<Plan, Status> {
        let now = view.now();
        let Some(key) = self.pending.next(now) else {
            return Ok(Plan { actions: Vec::new(), again: self.pending.next_in(now) });
        };
        let Some(object) = view.get(PODS, &key) else {
            self.pending.remove(&key);
            return Ok(Plan { actions: Vec::new(), again: Some(Duration::ZERO) });
        };
        let actions = self.place(view, object.value());
        Ok(Plan { actions, again: Some(Duration::ZERO) })
    }
}

/// A pod's priority: its own, its class's, or that of the class for all others.
fn priority(view: &View, pod: &Value) -> i64 {
    if let Some(own) = pod.int("spec/priority") {
        return own;
    }
    match pod.text("spec/priorityClassName") {
        "" => {
            let classes = view.all(PRIORITY_CLASSES);
            let general = classes.iter().find(|class| class.value().flag("globalDefault"));
            general.map_or(0, |class| class.value().count("value"))
        }
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        name => view
            .get(PRIORITY_CLASSES, &Key::cluster(name))
            .map_or(0, |class| class.value().count("value")),
    }
}

/// A volume that a pod cannot have yet.
fn missing_claim(view: &View, pod: &Value) -> Option<String> {
    let claims = pod
        .list("spec/volumes")
        .iter()
        .map(|volume| volume.text("persistentVolumeClaim/claimName"));
    for name in claims.filter(|name| !name.is_empty()) {
        match view.get(CLAIMS, &Key::namespaced(pod.namespace(), name)) {
            None => return Some(format!("persistentvolumeclaim {name:?} not found")),
            Some(claim) if claim.value().is_terminating() => {
                return Some(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            Some(claim) if claim.value().text("status/phase") != "Bound" => {
                return Some("pod has unbound immediate PersistentVolumeClaims".to_owned());
            }
            Some(_) => {}
        }
    }
    None
}

/// Gives a pod its node.
fn bind(view: &View, pod: &Value, priority: i64, node: &str) -> Vec<Action> {
    let scheduled = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": stamp(view.now()),
    });
    let mut patch = json!({
        "spec": {"nodeName": node},
        "status": {"conditions": with_condition(pod, scheduled), "nominatedNodeName": null},
    });
    if !pod.has("spec/priority") && priority != 0 {
        patch["spec"]["priority"] = json!(priority);
    }
    let message = format!("Successfully assigned {} to {node}", Key::of(pod));
    let event = Event::normal(pod, "Scheduled", message);
    vec![Action::change_part(PODS, pod, Part::Whole, patch).telling(event)]
}

/// Says why a pod has no node, in its status and as an event. `nominated`: the node that is being cleared for it.
fn refuse(view: &View, pod: &Value, message: &str, nominated: Option<&str>) -> Vec<Action> {
    let mut actions: Vec<Action> =
        condition(view, pod, "Unschedulable", message, nominated).into_iter().collect();
    actions.push(Action::Tell(Event::warning(pod, "FailedScheduling", message)));
    actions
}

fn condition(
    view: &View,
    pod: &Value,
    reason: &str,
    message: &str,
    nominated: Option<&str>,
) -> Option<Action> {
    let known = pod::condition(pod, "PodScheduled");
    let same = known.is_some_and(|one| {
        one.text("status") == "False"
            && one.text("reason") == reason
            && one.text("message") == message
    });
    let nominates = nominated.is_some_and(|node| node != pod.text("status/nominatedNodeName"));
    if same && !nominates {
        return None;
    }
    let since = known
        .filter(|one| one.text("status") == "False")
        .map(|one| one["lastTransitionTime"].clone());
    let mut waiting = json!({
        "type": "PodScheduled",
        "status": "False",
        "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| json!(stamp(view.now()))),
        "reason": reason,
        "message": message,
    });
    if pod.generation() > 0 && reason == "Unschedulable" {
        waiting["observedGeneration"] = json!(pod.generation());
    }
    let mut status = pod["status"].clone();
    status["conditions"] = json!(with_condition(pod, waiting));
    if let Some(node) = nominated {
        status["nominatedNodeName"] = json!(node);
    }
    Action::status(PODS, pod, status)
}

/// A pod's conditions with one replaced or added.
fn with_condition(pod: &Value, new: Value) -> Vec<Value> {
    let mut all: Vec<Value> = pod.list("status/conditions").to_vec();
    match all.iter_mut().find(|one| one["type"] == new["type"]) {
        Some(old) => *old = new,
        None => all.push(new),
    }
    all
}

/// Asks the victims of a preemption to go.
fn evict(view: &View, pod: &Value, preemption: &preempt::Preemption) -> Vec<Action> {
    let mut actions = Vec::new();
    for victim in &preemption.victims {
        let Some(object) = view.get(PODS, &victim.key) else { continue };
        let object = object.value();
        if object.is_terminating() {
            continue;
        }
        let disrupted = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "lastProbeTime": null,
            "lastTransitionTime": stamp(view.now()),
            "reason": "PreemptionByScheduler",
            "message": format!("{NAME}: preempting to accommodate a higher priority pod"),
        });
        let mut status = object["status"].clone();
        status["conditions"] = json!(with_condition(object, disrupted));
        actions.extend(Action::status(PODS, object, status));
        let message = format!("Preempted by pod {} on node {}", pod.uid(), preemption.node);
        actions.push(Action::delete(PODS, object).telling(Event::normal(
            object,
            "Preempted",
            message,
        )));
    }
    actions
}
