//! What to do about a daemon set.

use apimachinery::selector::LabelSelector;
use std::collections::BTreeMap;

use apimachinery::Meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::nodes;
use crate::action::{Action, Event, Plan, TellStyle};
use crate::fields::{Fields, share};
use crate::history::{self, History};
use crate::resource::{DAEMON_SETS, PODS};
use crate::{owner, pod};

/// Old revisions that are kept, unless the set says otherwise.
const HISTORY_LIMIT: i64 = 10;

/// A set with the nodes and its pods on them.
struct Look<'a> {
    set: &'a Value,
    update: Value,
    /// By name: the node, and whether a pod should start and go on there.
    nodes: BTreeMap<&'a str, (bool, bool)>,
    pods: BTreeMap<&'a str, Vec<&'a Value>>,
    now: Timestamp,
}

/// What to do about a set, given all nodes, and the pods and revisions of its namespace.
pub(super) fn plan(
    set: &Value,
    all_nodes: &[&Value],
    pods: &[&Value],
    revisions: &[&Value],
    now: Timestamp,
) -> Plan {
    if LabelSelector::from_json(set.at("spec/selector")).is_everything() {
        let message = "This daemon set is selecting all pods. A non-empty selector is required.";
        return Plan::of(vec![Action::Tell(Event::warning(set, "SelectingAll", message))]);
    }
    let mut actions = Vec::new();
    let owned =
        owner::claim(set, set.at("spec/selector"), PODS, pods.iter().copied(), &mut actions);
    let mut history = History::of(set, revisions);
    actions.append(&mut history.actions);
    let mut on: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for one in &owned {
        on.entry(nodes::target(one)).or_default().push(one);
    }
    on.values_mut().for_each(|pods| pods.sort_by_key(|one| one.text("metadata/creationTimestamp")));
    let wanted = all_nodes.iter().map(|node| (node.name(), nodes::wants(set, node))).collect();
    let look = Look { set, update: history.update.clone(), nodes: wanted, pods: on, now };
    if !set.is_terminating() {
        let mut steps = look.steps();
        if steps.is_empty() && set.text("spec/updateStrategy/type") != "OnDelete" {
            steps = look.roll();
        }
        actions.append(&mut steps);
    }
    let of_pods: Vec<&str> = owned.iter().filter_map(|one| one.label(history::LABEL)).collect();
    let used: Vec<&str> = history
        .revisions
        .iter()
        .filter(|one| of_pods.contains(&history::hash(one)))
        .map(|one| one.name())
        .collect();
    let limit = set.int("spec/revisionHistoryLimit").unwrap_or(HISTORY_LIMIT);
    actions.extend(history.truncate(limit, &used));
    let status = Action::status(DAEMON_SETS, set, look.status(history.collisions));
    let mut plan = Plan::of(status.into_iter().chain(actions).collect());
    let min_ready = set.count("spec/minReadySeconds");
    if let Some(left) =
        owned.iter().filter_map(|one| pod::until_available(one, min_ready, now)).min()
    {
        plan.again_in(crate::wait_of(left));
    }
    plan
}

impl Look<'_> {
    fn on(&self, node: &str) -> &[&Value] {
        self.pods.get(node).map_or(&[], Vec::as_slice)
    }

    /// One pod where one should be, none where none should.
    fn steps(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (name, (start, go_on)) in &self.nodes {
            let mut running: Vec<&Value> = Vec::new();
            for pod in self.on(name).iter().filter(|pod| !pod.is_terminating()) {
                if pod::is_finished(pod) {
                    actions.push(self.replace_ended(pod, name));
                } else {
                    running.push(pod);
                }
            }
            let leaving = self.on(name).iter().any(|pod| pod.is_terminating());
            if !go_on {
                actions.extend(running.iter().map(|pod| self.delete(pod)));
            } else if running.is_empty() && *start && !leaving && self.on(name).is_empty() {
                actions.push(self.create(name));
            } else if self.surge() == 0 {
                // More than one: the oldest stays.
                actions.extend(running.iter().skip(1).map(|pod| self.delete(pod)));
            }
        }
        let lost = self.pods.iter().filter(|(node, _)| !self.nodes.contains_key(**node));
        let waiting = lost
            .flat_map(|(_, pods)| pods)
            .filter(|pod| pod::node(pod).is_empty() && !pod.is_terminating());
        actions.extend(waiting.map(|pod| self.delete(pod)));
        actions
    }

    fn replace_ended(&self, pod: &Value, node: &str) -> Action {
        let event = if pod::phase(pod) == "Failed" {
            let message = format!(
                "Found failed daemon pod {}/{} on node {node}, will try to kill it",
                pod.namespace(),
                pod.name()
            );
            Event::warning(self.set, "FailedDaemonPod", message)
        } else {
            let message = format!(
                "Found succeeded daemon pod {}/{} on node {node}, will try to delete it",
                pod.namespace(),
                pod.name()
            );
            Event::normal(self.set, "SucceededDaemonPod", message)
        };
        Action::delete(PODS, pod).telling(event)
    }

    fn create(&self, node: &str) -> Action {
        let made = nodes::make(self.set, &self.update, node);
        Action::create_told(PODS, made, self.set, TellStyle::Pod)
    }

    fn delete(&self, pod: &Value) -> Action {
        let message = format!("Deleted pod: {}", pod.name());
        Action::delete(PODS, pod).telling(Event::normal(self.set, "SuccessfulDelete", message))
    }

    fn is_new(&self, pod: &Value) -> bool {
        pod.label(history::LABEL) == Some(history::hash(&self.update))
    }

    fn is_available(&self, pod: &Value) -> bool {
        pod::is_available(pod, self.set.count("spec/minReadySeconds"), self.now)
    }

    fn limit(&self, field: &str, default: i64) -> i64 {
        let desired = self.nodes.values().filter(|(start, _)| *start).count();
        let desired = i64::try_from(desired).unwrap_or(i64::MAX);
        let path = format!("spec/updateStrategy/rollingUpdate/{field}");
        let given = self.set.at(&path);
        if given.is_null() {
            default
        } else {
            share(given, desired, true).unwrap_or(default).max(0)
        }
    }

    fn surge(&self) -> i64 {
        self.limit("maxSurge", 0)
    }

    /// Replaces pods of an old revision, as many at once as may be missing, or doubled.
    fn roll(&self) -> Vec<Action> {
        let surge = self.surge();
        let unavailable_allowed =
            if surge == 0 { self.limit("maxUnavailable", 1).max(1) } else { 0 };
        let mut actions = Vec::new();
        let (mut unavailable, mut doubled) = (0, 0);
        let mut candidates: Vec<(&str, &Value)> = Vec::new();
        for (name, _) in self.nodes.iter().filter(|(_, (start, _))| *start) {
            let alive: Vec<&&Value> =
                self.on(name).iter().filter(|pod| !pod.is_terminating()).collect();
            let new = alive.iter().find(|pod| self.is_new(pod));
            let old = alive.iter().find(|pod| !self.is_new(pod));
            match (old, new) {
                (Some(old), Some(new)) => {
                    doubled += 1;
                    if self.is_available(new) {
                        actions.push(self.delete(old));
                    }
                }
                (Some(old), None) if !self.is_available(old) => {
                    // It serves nobody: replacing it costs nothing.
                    unavailable += 1;
                    actions.push(if surge == 0 { self.delete(old) } else { self.create(name) });
                }
                (Some(old), None) => candidates.push((name, old)),
                (None, Some(new)) if self.is_available(new) => {}
                (None, _) => unavailable += 1,
            }
        }
        let room = if surge == 0 { unavailable_allowed - unavailable } else { surge - doubled };
        let room = usize::try_from(room).unwrap_or(0);
        actions.extend(
            candidates
                .into_iter()
                .take(room)
                .map(|(name, old)| if surge == 0 { self.delete(old) } else { self.create(name) }),
        );
        actions
    }

    fn status(&self, collisions: i64) -> Value {
        let mut counts = [0_i64; 6];
        let [desired, scheduled, misplaced, ready, available, updated] = &mut counts;
        for (name, (start, _)) in &self.nodes {
            let pods = self.on(name);
            if !start {
                *misplaced += i64::from(!pods.is_empty());
                continue;
            }
            *desired += 1;
            *scheduled += i64::from(!pods.is_empty());
            // Of two, the newest revision counts.
            let Some(pod) = pods.iter().find(|pod| self.is_new(pod)).or(pods.first()) else {
                continue;
            };
            let serves = pods.iter().any(|pod| pod::is_ready(pod));
            *ready += i64::from(serves);
            *available += i64::from(pods.iter().any(|pod| self.is_available(pod)));
            *updated += i64::from(self.is_new(pod));
        }
        let [desired, scheduled, misplaced, ready, available, updated] = counts;
        let mut status = json!({
            "currentNumberScheduled": scheduled,
            "numberMisscheduled": misplaced,
            "desiredNumberScheduled": desired,
            "numberReady": ready,
            "observedGeneration": self.set.generation(),
        });
        let more = [
            ("updatedNumberScheduled", updated),
            ("numberAvailable", available),
            ("numberUnavailable", desired - available),
            ("collisionCount", collisions),
        ];
        for (field, count) in more.into_iter().filter(|(_, count)| *count > 0) {
            status[field] = json!(count);
        }
        status
    }
}
