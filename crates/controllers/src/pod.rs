//! What controllers ask of a pod.

use apimachinery::Meta;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::fields::{Fields, after};
use crate::owner;

/// A condition of a status, by type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.list("status/conditions").iter().find(|one| one.text("type") == kind)
}

/// Whether a condition is there and true.
pub(crate) fn has_condition(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|one| one.text("status") == "True")
}

/// It is ready to serve.
pub(crate) fn is_ready(pod: &Value) -> bool {
    has_condition(pod, "Ready")
}

/// Since when it is ready.
pub(crate) fn ready_since(pod: &Value) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|one| one.text("status") == "True")?.time("lastTransitionTime")
}

/// It has been ready for so many seconds.
pub(crate) fn is_available(pod: &Value, min_ready_seconds: i64, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds == 0
            || ready_since(pod).is_some_and(|since| after(since, min_ready_seconds) <= now))
}

/// How long until it is available, if it stays ready. None: it is, or is not ready.
pub(crate) fn until_available(
    pod: &Value,
    min_ready_seconds: i64,
    now: Timestamp,
) -> Option<SignedDuration> {
    let since = ready_since(pod).filter(|_| min_ready_seconds > 0)?;
    Some(after(since, min_ready_seconds).duration_since(now)).filter(|left| left.is_positive())
}

/// It has ended, well or badly.
pub(crate) fn is_finished(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// It runs or will, and nobody has asked it to go.
pub(crate) fn is_active(pod: &Value) -> bool {
    !is_finished(pod) && !pod.is_terminating()
}

/// `status.phase`; a pod that nobody has looked at is pending.
pub(crate) fn phase(pod: &Value) -> &str {
    match pod.text("status/phase") {
        "" => "Pending",
        phase => phase,
    }
}

/// The node that it is bound to; empty: none yet.
pub(crate) fn node(pod: &Value) -> &str {
    pod.text("spec/nodeName")
}

/// The most restarts of one of its containers.
pub(crate) fn restarts(pod: &Value) -> i64 {
    let all = pod.list("status/containerStatuses").iter();
    all.map(|one| one.count("restartCount")).max().unwrap_or(0)
}

/// A pod from a template, owned by `owner`, named after it.
pub(crate) fn from_template(template: &Value, owner: &Value) -> Value {
    let mut pod = json!({
        "metadata": {
            "generateName": format!("{}-", owner.name()),
            "namespace": owner.namespace(),
            "ownerReferences": [owner::reference(owner)],
        },
        "spec": template["spec"],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field).filter(|value| !value.is_null()) {
            pod["metadata"][field] = value.clone();
        }
    }
    pod
}
