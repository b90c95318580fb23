//! Whether a node is alive: a heartbeat that stays away makes it Unknown; what is wrong with it becomes taints.

use std::collections::HashMap;
use std::time::Duration;

use apimachinery::{Key, Meta, Status};
use jiff::Timestamp;
use object_store::Change;
use serde_json::{Value, json};

use crate::action::{Action, Event, Plan, pointer};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::{Fields, stamp};
use crate::pod;
use crate::resource::{Item, LEASES, NODES, PODS, Resource};
use crate::view::{View, values};

/// The namespace of the nodes' leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Conditions that a silent node no longer vouches for.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taints that this controller sets and removes, without effect on pods that run.
const NO_SCHEDULE: [&str; 7] = [
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/network-unavailable",
];

/// What is known of a node.
#[derive(Debug)]
struct Seen {
    /// Its last heartbeat, and when it came. The nodes' clocks are not trusted.
    beat: String,
    at: Timestamp,
    /// Enough to speak of it once it is gone.
    node: Value,
}

/// Watches over nodes.
#[derive(Debug)]
pub(crate) struct Health {
    grace: Duration,
    /// By node: forgotten once it is gone.
    seen: HashMap<String, Seen>,
}

impl Health {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { grace, seen: HashMap::new() }
    }

    /// When the last heartbeat was seen.
    fn last_beat(&mut self, view: &View, node: &Value) -> Timestamp {
        let now = view.now();
        let lease = view.get(LEASES, &Key::namespaced(LEASE_NAMESPACE, node.name()));
        let renewed = lease.as_ref().map_or("", |lease| lease.value().text("spec/renewTime"));
        let reported = pod::condition(node, "Ready").map_or("", |ready| {
            let ours = ready.text("reason").starts_with("NodeStatus");
            if ours { "" } else { ready.text("lastHeartbeatTime") }
        });
        let beat = format!("{renewed} {reported}");
        let created = node.time("metadata/creationTimestamp").unwrap_or(now);
        let fresh = || Seen { beat: beat.clone(), at: created.max(now), node: pointer(node) };
        let known = self.seen.entry(node.name().to_owned()).or_insert_with(fresh);
        if known.beat != beat {
            (known.beat, known.at) = (beat, now);
        }
        known.at
    }
}

impl Controller for Health {
    fn identity(&self) -> Identity {
        Identity { source: "node-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![NODES, LEASES]
    }

    fn route(&mut self, _view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        if change.object.kind().plural == LEASES.plural && object.namespace() != LEASE_NAMESPACE {
            return Vec::new();
        }
        vec![Item::new(NODES, Key::cluster(object.name()))]
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let name = &item.key.name;
        let Some(node) = view.get(NODES, &item.key) else {
            let known = self.seen.remove(name).map(|seen| gone(&seen.node));
            return Ok(Plan::of(known.into_iter().collect()));
        };
        let now = view.now();
        let is_new = !self.seen.contains_key(name);
        let beat = self.last_beat(view, node.value());
        let silent_from = beat.checked_add(self.grace).unwrap_or(Timestamp::MAX);
        let silent = silent_from <= now;
        let pods = view.all(PODS);
        let mut plan = Plan::of(plan(node.value(), silent, &values(&pods), now));
        if is_new {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            plan.actions.push(Action::Tell(Event::normal(node.value(), "RegisteredNode", message)));
        }
        if !silent {
            plan.again_in(crate::wait_of(silent_from.duration_since(now)));
        }
        Ok(plan)
    }
}

/// What to do about a node, given all pods.
pub(super) fn plan(node: &Value, silent: bool, pods: &[&Value], now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut node = node.clone();
    let was_ready = pod::has_condition(&node, "Ready");
    if silent && let Some(status) = silence(&node, now) {
        actions.extend(Action::status(NODES, &node, status.clone()));
        node["status"] = status;
    }
    let taints = taints(&node, now);
    if node.list("spec/taints") != taints {
        let patch = json!({"spec": {"taints": if taints.is_empty() { Value::Null } else { json!(taints) }}});
        actions.push(Action::change(NODES, &node, patch));
    }
    if !pod::has_condition(&node, "Ready") {
        if was_ready {
            let message = format!("Node {} status is now: NodeNotReady", node.name());
            actions.push(Action::Tell(Event::normal(&node, "NodeNotReady", message)));
        }
        let on_it = pods.iter().filter(|one| pod::node(one) == node.name());
        actions.extend(on_it.filter_map(|one| not_ready(one, now)));
    }
    actions
}

fn gone(node: &Value) -> Action {
    let name = node.name();
    let message = format!("Node {name} event: Removing Node {name} from Controller");
    Action::Tell(Event::normal(node, "RemovingNode", message))
}

/// The status of a node that nobody has heard of for too long; none if it says so already.
fn silence(node: &Value, now: Timestamp) -> Option<Value> {
    let mut conditions = node.list("status/conditions").to_vec();
    let mut changed = false;
    for kind in CONDITIONS {
        match conditions.iter_mut().find(|one| one["type"] == kind) {
            Some(known) if known["status"] == "Unknown" => {}
            Some(known) => {
                changed = true;
                known["status"] = json!("Unknown");
                known["reason"] = json!("NodeStatusUnknown");
                known["message"] = json!("Kubelet stopped posting node status.");
                known["lastTransitionTime"] = json!(stamp(now));
            }
            None => {
                changed = true;
                conditions.push(json!({
                    "type": kind,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": node["metadata"]["creationTimestamp"],
                    "lastTransitionTime": stamp(now),
                }));
            }
        }
    }
    let mut status = if node["status"].is_object() { node["status"].clone() } else { json!({}) };
    status["conditions"] = json!(conditions);
    changed.then_some(status)
}

/// The taints that a node should have: others' as they are, ours as its conditions say.
fn taints(node: &Value, now: Timestamp) -> Vec<Value> {
    let is = |kind: &str, status: &str| {
        pod::condition(node, kind).is_some_and(|one| one["status"] == status)
    };
    let wanted = [
        is("Ready", "False"),
        is("Ready", "Unknown"),
        node.flag("spec/unschedulable"),
        is("MemoryPressure", "True"),
        is("DiskPressure", "True"),
        is("PIDPressure", "True"),
        is("NetworkUnavailable", "True"),
    ];
    let mut all = node.list("spec/taints").to_vec();
    let mut set = |key: &str, effect: &str, wanted: bool| {
        let same = |taint: &Value| taint["key"] == key && taint["effect"] == effect;
        if !wanted {
            all.retain(|taint| !same(taint));
        } else if !all.iter().any(same) {
            all.push(json!({"key": key, "effect": effect, "timeAdded": stamp(now)}));
        }
    };
    for (key, wanted) in NO_SCHEDULE.into_iter().zip(wanted) {
        set(key, "NoSchedule", wanted);
    }
    set(NOT_READY, "NoExecute", wanted[0]);
    set(UNREACHABLE, "NoExecute", wanted[1]);
    all
}

/// A pod of a node that is not ready serves nobody.
fn not_ready(pod: &Value, now: Timestamp) -> Option<Action> {
    if !pod::is_ready(pod) {
        return None;
    }
    let mut status = pod["status"].clone();
    let conditions = status.get_mut("conditions")?.as_array_mut()?;
    let ready = conditions.iter_mut().find(|one| one["type"] == "Ready")?;
    ready["status"] = json!("False");
    ready["lastTransitionTime"] = json!(stamp(now));
    Action::status(PODS, pod, status)
}
