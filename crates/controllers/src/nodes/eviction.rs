//! Pods leave nodes with a `NoExecute` taint that they do not tolerate, at once or after the time that they are given.

use std::time::Duration;

use apimachinery::{Key, Meta, Status};
use jiff::Timestamp;
use object_store::{Change, ChangeType};
use serde_json::{Value, json};

use super::health::{NOT_READY, UNREACHABLE};
use crate::action::{Action, Event, Plan};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::{Fields, after, stamp};
use crate::pod;
use crate::resource::{Item, NODES, PODS, Resource};
use crate::scheduler::tolerates_by;
use crate::view::View;

/// Seconds that every pod is given on a node that is not ready or not reachable (the default of the admission plugin
/// DefaultTolerationSeconds, for pods that came past it).
const DEFAULT_SECONDS: i64 = 300;

/// Makes pods leave tainted nodes.
#[derive(Debug)]
pub(crate) struct Eviction;

impl Controller for Eviction {
    fn identity(&self) -> Identity {
        Identity { source: "taint-eviction-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![NODES, PODS]
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        if change.change == ChangeType::Deleted {
            return Vec::new();
        }
        if change.object.kind().plural == PODS.plural {
            let node = pod::node(object);
            let tainted = !node.is_empty()
                && view
                    .get(NODES, &Key::cluster(node))
                    .is_some_and(|node| no_execute(node.value()).next().is_some());
            return if tainted { vec![Item::new(PODS, Key::of(object))] } else { Vec::new() };
        }
        if no_execute(object).next().is_none() {
            return Vec::new();
        }
        let pods = view.all(PODS);
        let on_it = pods.iter().filter(|one| pod::node(one.value()) == object.name());
        on_it.map(|one| Item::new(PODS, one.key())).collect()
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let Some(pod) = view.get(PODS, &item.key) else { return Ok(Plan::default()) };
        let pod = pod.value();
        let node = view.get(NODES, &Key::cluster(pod::node(pod)));
        let Some(node) = node.filter(|_| !pod.is_terminating()) else { return Ok(Plan::default()) };
        Ok(plan(pod, node.value(), view.now()))
    }
}

fn no_execute(node: &Value) -> impl Iterator<Item = &Value> {
    node.list("spec/taints").iter().filter(|taint| taint.text("effect") == "NoExecute")
}

/// Whether a pod has to leave its node, now or later.
pub(super) fn plan(pod: &Value, node: &Value, now: Timestamp) -> Plan {
    let mut leave_at: Option<Timestamp> = None;
    for taint in no_execute(node) {
        let Some(seconds) = tolerated_for(pod, taint) else { continue };
        let since = taint.time("timeAdded").unwrap_or(now);
        let at = after(since, seconds);
        leave_at = Some(leave_at.map_or(at, |known| known.min(at)));
    }
    match leave_at {
        None => Plan::default(),
        Some(at) if at > now => Plan {
            actions: Vec::new(),
            again: Some(crate::wait_of(at.duration_since(now)).max(Duration::from_millis(1))),
        },
        Some(_) => Plan::of(evict(pod, now)),
    }
}

/// For how many seconds a pod stands a taint; none: for ever.
fn tolerated_for(pod: &Value, taint: &Value) -> Option<i64> {
    let covering: Vec<&Value> =
        pod.list("spec/tolerations").iter().filter(|one| tolerates_by(one, taint)).collect();
    if covering.is_empty() {
        let lenient = matches!(taint.text("key"), NOT_READY | UNREACHABLE);
        return Some(if lenient { DEFAULT_SECONDS } else { 0 });
    }
    covering
        .iter()
        .filter_map(|one| one.int("tolerationSeconds"))
        .map(|seconds| seconds.max(0))
        .min()
}

fn evict(pod: &Value, now: Timestamp) -> Vec<Action> {
    let disrupted = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": stamp(now),
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
    });
    let mut status = pod["status"].clone();
    let mut conditions = pod.list("status/conditions").to_vec();
    conditions.retain(|one| one["type"] != "DisruptionTarget");
    conditions.push(disrupted);
    status["conditions"] = json!(conditions);
    let message = format!("Marking for deletion Pod {}", Key::of(pod));
    let event = Event::normal(pod, "TaintManagerEviction", message);
    let mut actions = vec![Action::Tell(event)];
    actions.extend(Action::status(PODS, pod, status));
    actions.push(Action::delete(PODS, pod));
    actions
}
