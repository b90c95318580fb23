//! PodDisruptionBudgets: how many pods may be asked to go now.
//!
//! The rules are those of kube-controller-manager 1.34, `pkg/controller/disruption`.

use apimachinery::selector::LabelSelector;
use std::collections::BTreeSet;

use apimachinery::{Key, Meta, Status};
use jiff::Timestamp;
use object_store::Change;
use serde_json::{Map, Value, json};

use crate::action::{Action, Event, Plan};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::{Fields, after, share, stamp};
use crate::resource::{
    BUDGETS, DEPLOYMENTS, Item, Of, PODS, REPLICA_SETS, Resource, STATEFUL_SETS,
};
use crate::view::{View, values};
use crate::{owner, pod};

/// Seconds after which an eviction that was allowed but not carried out no longer counts.
const EVICTION_SECONDS: i64 = 120;

/// The controller of PodDisruptionBudgets.
#[derive(Debug)]
pub(crate) struct Budgets;

impl Controller for Budgets {
    fn identity(&self) -> Identity {
        Identity { source: "controllermanager", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![BUDGETS, PODS, REPLICA_SETS, DEPLOYMENTS, STATEFUL_SETS]
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        let of = change.object.kind().plural.as_str();
        if of == BUDGETS.plural {
            return vec![Item::new(BUDGETS, Key::of(object))];
        }
        let budgets = view.within(BUDGETS, object.namespace());
        // How many pods there should be is said by their owners: any of the namespace may be one.
        let concerns = |budget: &Value| of != PODS.plural || covers(budget, object);
        budgets
            .iter()
            .filter(|one| concerns(one.value()))
            .map(|one| Item::new(BUDGETS, one.key()))
            .collect()
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let Some(budget) = view.get(BUDGETS, &item.key) else { return Ok(Plan::default()) };
        let budget = budget.value();
        let pods = view.within(PODS, &item.key.namespace);
        let mut pods = values(&pods);
        pods.retain(|pod| covers(budget, pod));
        let expected = scales(view, &pods);
        Ok(plan(budget, &pods, expected, view.now()))
    }
}

fn covers(budget: &Value, pod: &Value) -> bool {
    LabelSelector::from_json(budget.at("spec/selector")).matches(pod)
}

/// How many pods the controllers of these pods ask for. In the error: who cannot be asked.
fn scales(view: &View, pods: &[&Value]) -> Result<i64, String> {
    let mut seen = BTreeSet::new();
    let mut total = 0;
    for pod in pods {
        let Some(reference) = owner::controller(pod) else {
            return Err(format!("found no controller ref for pod {:?}", pod.name()));
        };
        let key = Key::namespaced(pod.namespace(), reference.text("name"));
        let group = reference.text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        let kind = view.store().kinds().in_group(group, reference.text("kind")).cloned();
        let found = kind.and_then(|kind| view.get(Of::from(&kind), &key));
        let Some(direct) = found.filter(|one| one.value().uid() == reference.text("uid")) else {
            continue;
        };
        let deployment = owner::controller_named(direct.value(), "Deployment")
            .and_then(|name| view.get(DEPLOYMENTS, &Key::namespaced(pod.namespace(), name)));
        let scaled = deployment.unwrap_or(direct);
        if !seen.insert(scaled.value().uid().to_owned()) {
            continue;
        }
        match scaled.value().int("spec/replicas") {
            Some(replicas) => total += replicas,
            None => {
                return Err(format!(
                    "{} does not implement the scale subresource",
                    scaled.kind().resource()
                ));
            }
        }
    }
    Ok(total)
}

/// The status of a budget, given its pods and how many their controllers ask for.
fn plan(budget: &Value, pods: &[&Value], scales: Result<i64, String>, now: Timestamp) -> Plan {
    let alive =
        i64::try_from(pods.iter().filter(|one| !pod::is_finished(one)).count()).unwrap_or(i64::MAX);
    let minimum = budget.at("spec/minAvailable");
    let (expected, desired) = if budget.has("spec/maxUnavailable") || minimum.is_string() {
        let expected = match scales {
            Ok(expected) => expected,
            Err(why) => return fail(budget, &why, now),
        };
        let desired = if budget.has("spec/maxUnavailable") {
            let unavailable = share(budget.at("spec/maxUnavailable"), expected, true).unwrap_or(0);
            (expected - unavailable).max(0)
        } else {
            share(minimum, expected, true).unwrap_or(expected)
        };
        (expected, desired)
    } else {
        (alive, minimum.as_i64().unwrap_or(0))
    };
    let mut plan = Plan::default();
    let disrupted = disrupted(budget, pods, now, &mut plan);
    let healthy = pods.iter().filter(|one| {
        pod::is_ready(one) && !one.is_terminating() && !disrupted.contains_key(one.name())
    });
    let healthy = i64::try_from(healthy.count()).unwrap_or(i64::MAX);
    let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
    let mut status = json!({
        "observedGeneration": budget.generation(),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
    });
    if !disrupted.is_empty() {
        status["disruptedPods"] = Value::Object(disrupted);
    }
    let (is, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    status["conditions"] = conditions(budget, is, reason, "", now);
    plan.actions.extend(Action::status(BUDGETS, budget, status));
    let news =
        budget.int("status/expectedPods") != Some(expected) || !budget.has("status/conditions");
    if pods.is_empty() && news {
        plan.actions.push(Action::Tell(Event::normal(budget, "NoPods", "No matching pods found")));
    }
    plan
}

fn fail(budget: &Value, why: &str, now: Timestamp) -> Plan {
    let mut status =
        if budget["status"].is_object() { budget["status"].clone() } else { json!({}) };
    status["disruptionsAllowed"] = json!(0);
    status["observedGeneration"] = json!(budget.generation());
    for field in ["currentHealthy", "desiredHealthy", "expectedPods"] {
        status[field] = json!(status.count(field));
    }
    status["conditions"] = conditions(budget, "False", "SyncFailed", why, now);
    let message = format!("Failed to calculate the number of expected pods: {why}");
    let mut actions: Vec<Action> = Action::status(BUDGETS, budget, status).into_iter().collect();
    if !actions.is_empty() {
        actions.push(Action::Tell(Event::warning(
            budget,
            "CalculateExpectedPodCountFailed",
            message,
        )));
    }
    Plan::of(actions)
}

fn conditions(budget: &Value, is: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let known = pod::condition(budget, "DisruptionAllowed").filter(|one| one.text("status") == is);
    let since = known.map_or_else(|| json!(stamp(now)), |one| one["lastTransitionTime"].clone());
    json!([{
        "type": "DisruptionAllowed", "status": is, "reason": reason, "message": message,
        "observedGeneration": budget.generation(), "lastTransitionTime": since,
    }])
}

/// Evictions that were allowed and are still to be carried out.
fn disrupted(
    budget: &Value,
    pods: &[&Value],
    now: Timestamp,
    plan: &mut Plan,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, at) in budget.map("status/disruptedPods") {
        let waiting = pods.iter().any(|one| one.name() == name && !one.is_terminating());
        let Some(since) = at.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
            continue;
        };
        let left = after(since, EVICTION_SECONDS).duration_since(now);
        if waiting && left.is_positive() {
            plan.again_in(crate::wait_of(left));
            kept.insert(name.clone(), at.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(ready: usize, unready: usize) -> Vec<Value> {
        let pod = |i: usize| {
            let status = if i < ready { "True" } else { "False" };
            json!({
                "metadata": {"name": format!("p{i}"), "labels": {"app": "web"}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
            })
        };
        (0..ready + unready).map(pod).collect()
    }

    fn allowed(spec: Value, pods: &[Value], scale: i64) -> (i64, i64) {
        let budget = json!({"metadata": {"name": "b", "generation": 1}, "spec": spec});
        let plan =
            plan(&budget, &pods.iter().collect::<Vec<_>>(), Ok(scale), Timestamp::UNIX_EPOCH);
        let Action::Status { status, .. } = &plan.actions[0] else { panic!("no status") };
        (status.count("disruptionsAllowed"), status.count("desiredHealthy"))
    }

    #[test]
    fn numbers_and_percentages_are_of_what_the_owners_ask_for() {
        let five = pods(5, 0);
        assert_eq!(allowed(json!({"minAvailable": 3}), &five, 5), (2, 3));
        assert_eq!(allowed(json!({"minAvailable": "50%"}), &five, 5), (2, 3));
        assert_eq!(allowed(json!({"maxUnavailable": 1}), &five, 5), (1, 4));
        assert_eq!(allowed(json!({"maxUnavailable": "30%"}), &five, 5), (2, 3));
        assert_eq!(allowed(json!({"maxUnavailable": 1}), &pods(4, 1), 5), (0, 4));
        assert_eq!(allowed(json!({"minAvailable": 0}), &[], 0), (0, 0));
    }
}
