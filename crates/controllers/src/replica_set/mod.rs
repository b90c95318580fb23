//! ReplicaSets: as many pods of one template as asked for.
//!
//! The rules are those of kube-controller-manager 1.34, `pkg/controller/replicaset`.

mod rank;
pub(crate) use rank::first_to_go;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use apimachinery::selector::{LabelSelector, has_all};
use apimachinery::{Key, Meta, Status};
use jiff::Timestamp;
use object_store::Change;
use serde_json::{Value, json};

use crate::action::{Action, Event, Plan, TellStyle};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::Fields;
use crate::resource::{Item, PODS, REPLICA_SETS, Resource};
use crate::view::{View, values};
use crate::{owner, pod};

/// Pods created or deleted in one go, as in Kubernetes.
const BURST: usize = 500;

/// The controller of ReplicaSets.
#[derive(Debug)]
pub(crate) struct ReplicaSets;

impl Controller for ReplicaSets {
    fn identity(&self) -> Identity {
        Identity { source: "replicaset-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![REPLICA_SETS, PODS]
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        if change.object.kind().plural == REPLICA_SETS.plural {
            return vec![Item::new(REPLICA_SETS, Key::of(object))];
        }
        if let Some(name) = owner::controller_named(object, "ReplicaSet") {
            return vec![Item::new(REPLICA_SETS, Key::namespaced(object.namespace(), name))];
        }
        if owner::controller(object).is_some() {
            return Vec::new();
        }
        // An orphan: whoever selects it may adopt it.
        let labels = object.map("metadata/labels");
        view.within(REPLICA_SETS, object.namespace())
            .iter()
            .filter(|set| {
                LabelSelector::from_json(set.value().at("spec/selector")).matches_map(labels)
            })
            .map(|set| Item::new(REPLICA_SETS, set.key()))
            .collect()
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let Some(set) = view.get(REPLICA_SETS, &item.key) else { return Ok(Plan::default()) };
        let pods = view.within(PODS, &item.key.namespace);
        let siblings = match owner::controller(set.value()) {
            Some(reference) => siblings(view, set.value(), reference.text("uid")),
            None => Vec::new(),
        };
        Ok(plan(set.value(), &values(&pods), &siblings, view.now()))
    }
}

/// The uids of the sets that one deployment manages.
fn siblings(view: &View, set: &Value, owner: &str) -> Vec<String> {
    view.within(REPLICA_SETS, set.namespace())
        .iter()
        .filter(|other| owner::is_controlled_by(other.value(), owner))
        .map(|other| other.value().uid().to_owned())
        .collect()
}

/// What to do about a set, given the pods of its namespace and the uids of the sets of the same deployment.
pub(crate) fn plan(set: &Value, pods: &[&Value], siblings: &[String], now: Timestamp) -> Plan {
    let mut actions = Vec::new();
    let claimable = pods.iter().copied().filter(|one| pod::is_active(one));
    let selector = set.at("spec/selector");
    let active = owner::claim(set, selector, PODS, claimable, &mut actions);
    let mut plan = Plan::default();
    if !set.is_terminating() {
        manage(set, pods, &active, siblings, now, &mut actions);
    }
    let min_ready = set.count("spec/minReadySeconds");
    let soonest = active.iter().filter_map(|one| pod::until_available(one, min_ready, now)).min();
    if let Some(left) = soonest {
        plan.again_in(crate::wait_of(left));
    }
    // Status first: a creation that is refused must not hide what is known.
    let status = Action::status(REPLICA_SETS, set, status(set, &active, now));
    plan.actions = status.into_iter().chain(actions).collect();
    plan
}

/// Creates the pods that lack, or deletes those too many.
fn manage(
    set: &Value,
    pods: &[&Value],
    active: &[&Value],
    siblings: &[String],
    now: Timestamp,
    actions: &mut Vec<Action>,
) {
    let wanted = usize::try_from(set.int("spec/replicas").unwrap_or(1)).unwrap_or(0);
    if active.len() < wanted {
        // In-process writes fail all alike, and the first refusal ends the plan: that is what slow start is for.
        let lacking = (wanted - active.len()).min(BURST);
        let create = || {
            let made = pod::from_template(set.at("spec/template"), set);
            Action::create_told(PODS, made, set, TellStyle::Pod)
        };
        actions.extend(std::iter::repeat_with(create).take(lacking));
    } else if active.len() > wanted {
        let many = (active.len() - wanted).min(BURST);
        let mut neighbours: HashMap<&str, usize> = HashMap::new();
        for other in pods.iter().filter(|one| pod::is_active(one)) {
            let owner = owner::controller(other).map_or("", |one| one.text("uid"));
            if owner == set.uid() || siblings.iter().any(|uid| uid == owner) {
                *neighbours.entry(pod::node(other)).or_default() += 1;
            }
        }
        let mut order = active.to_vec();
        order.sort_by(|a, b| rank::first_to_go(a, b, &neighbours, now));
        actions.extend(order.into_iter().take(many).map(|one| {
            let message = format!("Deleted pod: {}", one.name());
            Action::delete(PODS, one).telling(Event::normal(set, "SuccessfulDelete", message))
        }));
    }
}

/// The status, counted from the pods that are there.
fn status(set: &Value, active: &[&Value], now: Timestamp) -> Value {
    let min_ready = set.count("spec/minReadySeconds");
    let template = set.map("spec/template/metadata/labels");
    let count = |holds: &dyn Fn(&Value) -> bool| active.iter().filter(|one| holds(one)).count();
    let mut status = json!({
        "replicas": active.len(),
        "observedGeneration": set.generation(),
    });
    let counts = [
        ("fullyLabeledReplicas", count(&|one| has_all(template, one.map("metadata/labels")))),
        ("readyReplicas", count(&|one| pod::is_ready(one))),
        ("availableReplicas", count(&|one| pod::is_available(one, min_ready, now))),
    ];
    for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        status[field] = json!(count);
    }
    if set.has("status/conditions") {
        status["conditions"] = set.at("status/conditions").clone();
    }
    status
}
