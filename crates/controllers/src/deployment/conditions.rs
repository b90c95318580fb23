//! A deployment's status: its counts, and whether it is available and progresses.

use apimachinery::Meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::sets::{Wanted, sum, total};
use crate::fields::{Fields, after, stamp};

/// A deadline that means none.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// Seconds within which something must move; none: no matter.
pub(super) fn deadline(deployment: &Value) -> Option<i64> {
    deployment.int("spec/progressDeadlineSeconds").filter(|seconds| *seconds != NO_DEADLINE)
}

/// A condition of a status, by type.
pub(super) fn find<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status.list("conditions").iter().find(|one| one.text("type") == kind)
}

/// Why a deployment progresses, or not; empty when it says nothing.
pub(super) fn progress_reason(status: &Value) -> &str {
    find(status, "Progressing").map_or("", |one| one.text("reason"))
}

pub(super) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Value {
    json!({
        "type": kind,
        "status": status,
        "lastUpdateTime": stamp(now),
        "lastTransitionTime": stamp(now),
        "reason": reason,
        "message": message,
    })
}

/// Sets a condition, unless the same status and reason stand there already. The transition's time stays while the status does.
pub(super) fn set(status: &mut Value, mut new: Value) {
    let kind = new.text("type").to_owned();
    if let Some(old) = find(status, &kind) {
        if old["status"] == new["status"] && old["reason"] == new["reason"] {
            return;
        }
        if old["status"] == new["status"] {
            new["lastTransitionTime"] = old["lastTransitionTime"].clone();
        }
    }
    remove(status, &kind);
    let mut all = status.list("conditions").to_vec();
    all.push(new);
    status["conditions"] = Value::Array(all);
}

pub(super) fn remove(status: &mut Value, kind: &str) {
    if let Some(all) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        all.retain(|one| one["type"] != kind);
    }
}

/// The status that follows from the sets. `before`: what stood there, with conditions that this plan already set.
pub(super) fn counts(
    deployment: &Value,
    before: &Value,
    old: &[Value],
    new: Option<&Value>,
    now: Timestamp,
) -> Value {
    let all = || old.iter().chain(new);
    let wanted = Wanted::of(deployment);
    let available = sum(all(), "status/availableReplicas");
    let mut status = json!({"observedGeneration": deployment.generation()});
    let counts = [
        ("replicas", sum(all(), "status/replicas")),
        ("updatedReplicas", sum(new, "status/replicas")),
        ("readyReplicas", sum(all(), "status/readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (total(all()) - available).max(0)),
    ];
    for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        status[field] = json!(count);
    }
    for field in ["collisionCount", "conditions"] {
        if before.has(field) {
            status[field] = before[field].clone();
        }
    }
    let minimum = if available >= wanted.replicas - wanted.max_unavailable {
        condition(
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now,
        )
    } else {
        let why = "Deployment does not have minimum availability.";
        condition("Available", "False", "MinimumReplicasUnavailable", why, now)
    };
    set(&mut status, minimum);
    status
}

/// Everything is of the new template, is available, and nothing of the old is left.
pub(super) fn is_complete(deployment: &Value, status: &Value) -> bool {
    let wanted = deployment.int("spec/replicas").unwrap_or(1);
    status.count("updatedReplicas") == wanted
        && status.count("replicas") == wanted
        && status.count("availableReplicas") == wanted
        && status.count("observedGeneration") >= deployment.generation()
}

/// Judges the progress of a rollout. `before`: the status that is stored.
pub(super) fn judge(
    deployment: &Value,
    before: &Value,
    status: &mut Value,
    new: Option<&Value>,
    now: Timestamp,
) {
    let Some(deadline) = deadline(deployment) else {
        remove(status, "Progressing");
        return;
    };
    let done = status.count("replicas") == status.count("updatedReplicas")
        && progress_reason(before) == "NewReplicaSetAvailable";
    if done {
        return;
    }
    let who = match new {
        Some(set) => format!("ReplicaSet {:?}", set.name()),
        None => format!("Deployment {:?}", deployment.name()),
    };
    if is_complete(deployment, status) {
        let message = format!("{who} has successfully progressed.");
        set(status, condition("Progressing", "True", "NewReplicaSetAvailable", &message, now));
    } else if progresses(before, status) {
        let message = format!("{who} is progressing.");
        let mut moving = condition("Progressing", "True", "ReplicaSetUpdated", &message, now);
        if let Some(old) = find(before, "Progressing").filter(|old| old["status"] == "True") {
            moving["lastTransitionTime"] = old["lastTransitionTime"].clone();
        }
        // Even with the same reason: the time of the last progress is what the deadline counts from.
        remove(status, "Progressing");
        set(status, moving);
    } else if timed_out(status, deadline, now) {
        let message = format!("{who} has timed out progressing.");
        set(status, condition("Progressing", "False", "ProgressDeadlineExceeded", &message, now));
    }
}

/// More pods are new, ready or available than before, or fewer are old.
fn progresses(before: &Value, now: &Value) -> bool {
    let old = |status: &Value| status.count("replicas") - status.count("updatedReplicas");
    now.count("updatedReplicas") > before.count("updatedReplicas")
        || old(now) < old(before)
        || now.count("readyReplicas") > before.count("readyReplicas")
        || now.count("availableReplicas") > before.count("availableReplicas")
}

fn timed_out(status: &Value, deadline: i64, now: Timestamp) -> bool {
    let Some(known) = find(status, "Progressing") else { return false };
    match known.text("reason") {
        "NewReplicaSetAvailable" => false,
        "ProgressDeadlineExceeded" => true,
        _ => known.time("lastUpdateTime").is_some_and(|since| after(since, deadline) < now),
    }
}

/// When a rollout that stands still must be judged again.
pub(super) fn next_judgement(deployment: &Value, status: &Value) -> Option<Timestamp> {
    let known = find(status, "Progressing")?;
    if is_complete(deployment, status)
        || matches!(known.text("reason"), "ProgressDeadlineExceeded" | "NewReplicaSetAvailable")
    {
        return None;
    }
    Some(after(known.time("lastUpdateTime")?, deadline(deployment)? + 1))
}
