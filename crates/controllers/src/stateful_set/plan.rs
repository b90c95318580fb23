//! What to do about a stateful set.

use std::collections::BTreeMap;

use apimachinery::Meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{claims, identity};
use crate::action::{Action, Event, Plan, TellStyle};
use crate::fields::Fields;
use crate::history::{self, History};
use crate::resource::{PODS, STATEFUL_SETS};
use crate::{owner, pod};

/// Old revisions that are kept, unless the set says otherwise.
const HISTORY_LIMIT: i64 = 10;

/// A set with its pods by number.
struct Look<'a> {
    set: &'a Value,
    /// One at a time, in order.
    ordered: bool,
    current: Value,
    update: Value,
    replicas: BTreeMap<i64, &'a Value>,
    /// Pods beyond the set's size.
    condemned: BTreeMap<i64, &'a Value>,
    claims: &'a [&'a Value],
    now: Timestamp,
}

/// What to do about a set, given the pods, revisions and claims of its namespace.
pub(super) fn plan(
    set: &Value,
    pods: &[&Value],
    revisions: &[&Value],
    claims: &[&Value],
    now: Timestamp,
) -> Plan {
    let mut actions = Vec::new();
    let named = pods.iter().copied().filter(|one| identity::ordinal(set, one).is_some());
    let owned = owner::claim(set, set.at("spec/selector"), PODS, named, &mut actions);
    let mut history = History::of(set, revisions);
    actions.append(&mut history.actions);
    let current =
        history.named(set.text("status/currentRevision")).unwrap_or(&history.update).clone();
    let range = identity::range(set);
    let by_number = owned.iter().filter_map(|one| Some((identity::ordinal(set, one)?, *one)));
    let (replicas, condemned) = by_number.partition(|(number, _)| range.contains(number));
    let look = Look {
        set,
        ordered: set.text("spec/podManagementPolicy") != "Parallel",
        current,
        update: history.update.clone(),
        replicas,
        condemned,
        claims,
        now,
    };
    let mut steps = if set.is_terminating() { Vec::new() } else { look.steps() };
    let mut plan = Plan::default();
    let min_ready = set.count("spec/minReadySeconds");
    if let Some(left) =
        owned.iter().filter_map(|one| pod::until_available(one, min_ready, now)).min()
    {
        plan.again_in(crate::wait_of(left));
    }
    actions.extend(Action::status(STATEFUL_SETS, set, look.status(history.collisions)));
    let mut used: Vec<&str> = owned.iter().filter_map(|one| one.label(history::LABEL)).collect();
    used.push(look.current.name());
    let limit = set.int("spec/revisionHistoryLimit").unwrap_or(HISTORY_LIMIT);
    steps.extend(history.truncate(limit, &used));
    actions.append(&mut steps);
    plan.actions = actions;
    plan
}

impl Look<'_> {
    /// What to create, delete or mend now.
    fn steps(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for number in identity::range(self.set) {
            if self.replica(number, &mut actions) {
                return actions;
            }
        }
        for (number, pod) in &self.condemned {
            actions.extend(claims::retain(self.set, pod, *number, true, self.claims));
        }
        for (_, pod) in self.condemned.iter().rev() {
            if self.condemn(pod, &mut actions) {
                return actions;
            }
        }
        self.roll(&mut actions);
        actions
    }

    /// Sees to the pod of a number. True: everything after it has to wait.
    fn replica(&self, number: i64, actions: &mut Vec<Action>) -> bool {
        let Some(pod) = self.replicas.get(&number) else {
            if claims::is_stale(self.set, number, self.claims) {
                return self.ordered;
            }
            actions.extend(claims::missing(self.set, number, self.claims));
            let made = identity::make(self.set, self.revision_of(number), number);
            actions.push(Action::create_told(PODS, made, self.set, TellStyle::Stateful));
            return self.ordered;
        };
        if pod::is_finished(pod) {
            // Another takes its place once it is gone.
            if !pod.is_terminating() {
                actions.push(self.delete(pod));
            }
            return self.ordered;
        }
        if pod::phase(pod) == "Pending" {
            actions.extend(claims::missing(self.set, number, self.claims));
        }
        if self.ordered && (pod.is_terminating() || !self.is_available(pod)) {
            return true;
        }
        let labels = identity::labels(self.set, number);
        if crate::execute::changes(pod, &labels) {
            actions.push(Action::change(PODS, pod, labels));
        }
        actions.extend(claims::retain(self.set, pod, number, false, self.claims));
        false
    }

    /// Deletes a pod that is too many. True: the next has to wait.
    fn condemn(&self, pod: &Value, actions: &mut Vec<Action>) -> bool {
        if pod.is_terminating() {
            return self.ordered;
        }
        let first_unavailable = self
            .replicas
            .values()
            .chain(self.condemned.values())
            .find(|one| !self.is_available(one) || one.is_terminating());
        let is_first = first_unavailable.is_some_and(|one| one.name() == pod.name());
        if self.ordered && !self.is_available(pod) && !is_first {
            return true;
        }
        actions.push(self.delete(pod));
        self.ordered
    }

    /// Replaces pods of an old revision, the highest number first, each once those after it are available.
    fn roll(&self, actions: &mut Vec<Action>) {
        if self.set.text("spec/updateStrategy/type") == "OnDelete" {
            return;
        }
        let partition = self.set.count("spec/updateStrategy/rollingUpdate/partition");
        for number in identity::range(self.set).rev() {
            if number - identity::start(self.set) < partition {
                return;
            }
            let Some(pod) = self.replicas.get(&number) else { return };
            if pod.label(history::LABEL) != Some(self.update.name()) && !pod.is_terminating() {
                actions.push(self.delete(pod));
                return;
            }
            if pod.is_terminating() || !self.is_available(pod) {
                return;
            }
        }
    }

    /// The revision of a new pod: the old one below the partition, or while an update goes through without one.
    fn revision_of(&self, number: i64) -> &Value {
        if self.set.text("spec/updateStrategy/type") == "OnDelete" {
            return &self.update;
        }
        let index = number - identity::start(self.set);
        let old = match self.set.int("spec/updateStrategy/rollingUpdate/partition") {
            Some(partition) => index < partition,
            None => index < self.set.count("status/currentReplicas"),
        };
        if old { &self.current } else { &self.update }
    }

    fn is_available(&self, pod: &Value) -> bool {
        pod::phase(pod) == "Running"
            && pod::is_available(pod, self.set.count("spec/minReadySeconds"), self.now)
    }

    fn delete(&self, pod: &Value) -> Action {
        let message =
            format!("delete Pod {} in StatefulSet {} successful", pod.name(), self.set.name());
        Action::delete(PODS, pod).telling(Event::normal(self.set, "SuccessfulDelete", message))
    }

    fn status(&self, collisions: i64) -> Value {
        let all = || self.replicas.values().chain(self.condemned.values());
        let count = |holds: &dyn Fn(&Value) -> bool| all().filter(|one| holds(one)).count();
        let of = |revision: &Value| {
            let name = revision.name().to_owned();
            count(&|one| !one.is_terminating() && one.label(history::LABEL) == Some(name.as_str()))
        };
        let ready = count(&|one| pod::phase(one) == "Running" && pod::is_ready(one));
        let (mut current, updated) = (of(&self.current), of(&self.update));
        let mut revision = self.current.name();
        let wanted = usize::try_from(self.set.int("spec/replicas").unwrap_or(1)).unwrap_or(0);
        let rolls = self.set.text("spec/updateStrategy/type") != "OnDelete";
        if rolls && [updated, ready, all().count()].iter().all(|count| *count == wanted) {
            (current, revision) = (updated, self.update.name());
        }
        let mut status = json!({
            "observedGeneration": self.set.generation(),
            "replicas": all().count(),
            "availableReplicas": count(&|one| self.is_available(one)),
            "currentRevision": revision,
            "updateRevision": self.update.name(),
            "collisionCount": collisions,
        });
        let counts =
            [("readyReplicas", ready), ("currentReplicas", current), ("updatedReplicas", updated)];
        for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            status[field] = json!(count);
        }
        if self.set.has("status/conditions") {
            status["conditions"] = self.set.at("status/conditions").clone();
        }
        status
    }
}
