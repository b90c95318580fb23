//! What to do about a deployment.

use apimachinery::selector::LabelSelector;
use apimachinery::{Key, Meta};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::conditions::{self, condition};
use super::sets::{self, DESIRED, MAX, REVISION, Wanted, size};
use crate::action::{Action, Event, Plan};
use crate::fields::Fields;
use crate::resource::{DEPLOYMENTS, REPLICA_SETS};
use crate::template::{self, HASH};
use crate::{owner, pod};

/// A deployment with its sets, as they are and as this plan makes them.
pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Value,
    pub(super) wanted: Wanted,
    /// Sets of other templates.
    pub(super) old: Vec<Value>,
    /// The set of the deployment's template.
    pub(super) new: Option<Value>,
    /// The status so far: what is stored, with conditions set on the way.
    pub(super) status: Value,
    /// Replicas as of the stored status.
    pub(super) status_replicas: i64,
    /// Names of sets in the namespace.
    taken: Vec<String>,
    /// The deployment's revision, once known.
    revision: Option<String>,
    pub(super) actions: Vec<Action>,
    pub(super) now: Timestamp,
}

/// What to do about a deployment, given the sets and pods of its namespace.
pub(crate) fn plan(deployment: &Value, all: &[&Value], pods: &[&Value], now: Timestamp) -> Plan {
    let wanted_pods = deployment.at("spec/selector");
    if LabelSelector::from_json(wanted_pods).is_everything() {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        return Plan::of(vec![Action::Tell(Event::warning(deployment, "SelectingAll", message))]);
    }
    let mut actions = Vec::new();
    let claimed =
        owner::claim(deployment, wanted_pods, REPLICA_SETS, all.iter().copied(), &mut actions);
    let mut rollout = Rollout::new(deployment, all, &claimed, actions, now);
    if deployment.is_terminating() {
        return rollout.finish(false);
    }
    rollout.note_pause();
    rollout.follow_new();
    if deployment.flag("spec/paused") {
        rollout.scale();
        rollout.clean_up();
        return rollout.finish(false);
    }
    if rollout.size_changed() {
        rollout.scale();
        return rollout.finish(false);
    }
    if rollout.wanted.rolling {
        rollout.ensure_new();
        let moved = rollout.roll();
        if !moved && conditions::is_complete(deployment, &rollout.status) {
            rollout.clean_up();
        }
    } else {
        let new = rollout.new.as_ref().map_or("", |set| set.uid()).to_owned();
        rollout.recreate(old_pods_run(&claimed, &new, pods));
        if conditions::is_complete(deployment, &rollout.status) {
            rollout.clean_up();
        }
    }
    rollout.finish(true)
}

/// Pods of old sets that have not ended, also those that are asked to go.
fn old_pods_run(sets: &[&Value], new: &str, pods: &[&Value]) -> bool {
    pods.iter().filter(|one| !pod::is_finished(one)).any(|one| {
        let owner = owner::controller(one).map_or("", |one| one.text("uid"));
        owner != new && sets.iter().any(|set| set.uid() == owner)
    })
}

impl<'a> Rollout<'a> {
    fn new(
        deployment: &'a Value,
        all: &[&Value],
        claimed: &[&Value],
        actions: Vec<Action>,
        now: Timestamp,
    ) -> Self {
        let new = sets::newest_of(deployment, claimed);
        let is_new = |set: &Value| new.is_some_and(|new| new.uid() == set.uid());
        let old = claimed.iter().filter(|set| !is_new(set)).map(|set| (*set).clone()).collect();
        Self {
            deployment,
            wanted: Wanted::of(deployment),
            old,
            new: new.cloned(),
            status: deployment["status"].clone(),
            status_replicas: deployment.count("status/replicas"),
            taken: all.iter().map(|set| set.name().to_owned()).collect(),
            revision: None,
            actions,
            now,
        }
    }

    /// One of the sets: an old one by its index, or the new one.
    pub(super) fn set(&self, index: Option<usize>) -> &Value {
        match (index, &self.new) {
            (Some(index), _) => &self.old[index],
            (None, Some(new)) => new,
            (None, None) => &Value::Null,
        }
    }

    /// Gives a set another size, and says so. Whether it had another before.
    pub(super) fn resize(&mut self, index: Option<usize>, to: i64) -> bool {
        let set = self.set(index);
        if !set.is_object() || size(set) == to {
            return false;
        }
        let (from, name) = (size(set), set.name());
        let direction = if from < to { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        let event = Event::normal(self.deployment, "ScalingReplicaSet", message);
        self.write_size(index, to, Some(event));
        true
    }

    /// Gives a set another size, or only notes for what size of the deployment it was made.
    pub(super) fn resize_quietly(&mut self, index: Option<usize>, to: i64) {
        if !self.resize(index, to) {
            self.write_size(index, to, None);
        }
    }

    fn write_size(&mut self, index: Option<usize>, to: i64, event: Option<Event>) {
        let patch =
            json!({"metadata": {"annotations": self.size_notes()}, "spec": {"replicas": to}});
        if !crate::execute::changes(self.set(index), &patch) {
            return;
        }
        let mut action = Action::change(REPLICA_SETS, self.set(index), patch.clone());
        if let Some(event) = event {
            action = action.telling(event);
        }
        self.actions.push(action);
        let set = match index {
            Some(index) => Some(&mut self.old[index]),
            None => self.new.as_mut(),
        };
        if let Some(set) = set {
            crate::execute::merge(set, &patch);
        }
    }

    fn size_notes(&self) -> Value {
        json!({DESIRED: self.wanted.replicas.to_string(), MAX: self.wanted.most().to_string()})
    }

    /// Pausing and resuming restarts the clock of the progress deadline.
    fn note_pause(&mut self) {
        let reason = conditions::progress_reason(&self.status);
        if conditions::deadline(self.deployment).is_none() || reason == "ProgressDeadlineExceeded" {
            return;
        }
        let known = reason == "DeploymentPaused";
        let note = match (self.deployment.flag("spec/paused"), known) {
            (true, false) => ("DeploymentPaused", "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return,
        };
        self.note_progress("Unknown", note.0, note.1);
    }

    fn note_progress(&mut self, status: &str, reason: &str, message: &str) {
        if conditions::deadline(self.deployment).is_some() {
            let note = condition("Progressing", status, reason, message, self.now);
            if !self.status.is_object() {
                self.status = json!({});
            }
            conditions::set(&mut self.status, note);
        }
    }

    /// Keeps the new set's annotations and the deployment's revision in step.
    fn follow_new(&mut self) {
        let next = self.old.iter().map(sets::revision).max().unwrap_or(0) + 1;
        let Some(new) = &self.new else { return };
        let mut annotations = super::history::inherited(self.deployment);
        super::history::promote(new, next, &mut annotations);
        let known = sets::revision(new).max(next);
        let patch = json!({
            "metadata": {"annotations": annotations},
            "spec": {"minReadySeconds": self.deployment.at("spec/minReadySeconds")},
        });
        let name = new.name().to_owned();
        if crate::execute::changes(new, &patch) {
            self.actions.push(Action::change(REPLICA_SETS, new, patch.clone()));
            if let Some(new) = &mut self.new {
                crate::execute::merge(new, &patch);
            }
        }
        self.revision = Some(known.to_string());
        if conditions::find(&self.status, "Progressing").is_none() {
            let message = format!("Found new replica set {name:?}");
            self.note_progress("True", "FoundNewReplicaSet", &message);
        }
    }

    /// Makes the new set, if there is none.
    pub(super) fn ensure_new(&mut self) {
        if self.new.is_some() {
            return;
        }
        let collisions = self.status.int("collisionCount");
        let hash = template::hash(self.deployment.at("spec/template"), collisions);
        let name = format!("{}-{hash}", self.deployment.name());
        if self.taken.contains(&name) {
            // Another template with the same hash, or somebody else's set: take another name next time.
            self.status["collisionCount"] = json!(collisions.unwrap_or(0) + 1);
            return;
        }
        let set = self.make(&name, &hash);
        if size(&set) > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {}", size(&set));
            let event = Event::normal(self.deployment, "ScalingReplicaSet", message);
            self.actions.push(Action::create(REPLICA_SETS, set.clone()));
            self.actions.push(Action::Tell(event));
        } else {
            self.actions.push(Action::create(REPLICA_SETS, set.clone()));
        }
        self.revision = set.annotation(REVISION).map(str::to_owned);
        self.note_progress(
            "True",
            "NewReplicaSetCreated",
            &format!("Created new replica set {name:?}"),
        );
        self.new = Some(set);
    }

    fn make(&self, name: &str, hash: &str) -> Value {
        let mut template = self.deployment.at("spec/template").clone();
        template["metadata"]["labels"][HASH] = json!(hash);
        let mut selector = self.deployment.at("spec/selector").clone();
        selector["matchLabels"][HASH] = json!(hash);
        let next = self.old.iter().map(sets::revision).max().unwrap_or(0) + 1;
        let mut annotations = super::history::inherited(self.deployment);
        annotations.insert(REVISION.to_owned(), json!(next.to_string()));
        annotations.extend(self.size_notes().as_object().cloned().unwrap_or_default());
        let mut spec = Map::new();
        spec.insert("replicas".to_owned(), json!(self.new_size(0)));
        spec.insert("selector".to_owned(), selector);
        spec.insert("template".to_owned(), template.clone());
        if self.deployment.has("spec/minReadySeconds") {
            spec.insert(
                "minReadySeconds".to_owned(),
                self.deployment.at("spec/minReadySeconds").clone(),
            );
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": self.deployment.namespace(),
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [owner::reference(self.deployment)],
            },
            "spec": spec,
        })
    }

    /// The status that follows; and when to look again, if nothing moves. `judge`: whether progress is expected.
    fn finish(mut self, judge: bool) -> Plan {
        let (deployment, now) = (self.deployment, self.now);
        let mut status =
            conditions::counts(deployment, &self.status, &self.old, self.new.as_ref(), now);
        let mut plan = Plan::default();
        if judge {
            conditions::judge(deployment, &self.status, &mut status, self.new.as_ref(), now);
        }
        if judge && let Some(at) = conditions::next_judgement(deployment, &status) {
            // At least a moment later: a judgement that is due but does not fall must not be asked for without end.
            let wait = crate::wait_of(at.duration_since(now));
            plan.again_in(wait.max(std::time::Duration::from_secs(1)));
        }
        let revision = self.revision.filter(|known| deployment.annotation(REVISION) != Some(known));
        if status != deployment["status"] || revision.is_some() {
            let metadata = revision.map(|known| json!({"annotations": {REVISION: known}}));
            let seen = deployment.resource_version().to_owned();
            let key = Key::of(deployment);
            self.actions.push(Action::Status {
                of: DEPLOYMENTS.into(),
                key,
                seen,
                status,
                metadata,
            });
        }
        plan.actions = self.actions;
        plan
    }
}
