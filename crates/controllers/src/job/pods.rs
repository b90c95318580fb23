//! A job's pods: how they are made, told apart and counted.

use apimachinery::Meta;
use jiff::Timestamp;
use object_store::Part;
use serde_json::{Value, json};

use crate::action::Action;
use crate::fields::Fields;
use crate::pod;
use crate::resource::PODS;

/// What keeps a pod until its end has been counted.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

pub(super) fn is_tracked(pod: &Value) -> bool {
    pod.finalizers().any(|one| one == TRACKING)
}

/// Lets a pod go.
pub(super) fn untrack(pod: &Value) -> Action {
    let rest: Vec<&str> = pod.finalizers().filter(|one| *one != TRACKING).collect();
    Action::change_part(PODS, pod, Part::Whole, json!({"metadata": {"finalizers": rest}}))
}

/// The index of a pod of an indexed job.
pub(super) fn index(pod: &Value) -> Option<i64> {
    pod.annotation(INDEX)?.parse().ok()
}

/// Whether a pod counts as failed: it did, or it goes before it could end, unless only failed pods are replaced.
pub(super) fn is_failed(job: &Value, pod: &Value) -> bool {
    match pod::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => {
            pod.is_terminating()
                && job.text("spec/podReplacementPolicy") != "Failed"
                && !job.has("spec/podFailurePolicy")
        }
    }
}

/// When a pod ended.
pub(super) fn finished_at(pod: &Value) -> Option<Timestamp> {
    let containers = pod.list("status/containerStatuses").iter();
    containers
        .filter_map(|one| one.time("state/terminated/finishedAt"))
        .max()
        .or_else(|| pod::condition(pod, "Ready").and_then(|one| one.time("lastTransitionTime")))
        .or_else(|| pod.time("metadata/deletionTimestamp"))
        .or_else(|| pod.time("metadata/creationTimestamp"))
}

/// A new pod; for an indexed job with its index in name, labels and environment.
pub(super) fn make(job: &Value, index: Option<i64>) -> Value {
    let mut made = pod::from_template(job.at("spec/template"), job);
    let labels = json!({
        "batch.kubernetes.io/controller-uid": job.uid(), "controller-uid": job.uid(),
        "batch.kubernetes.io/job-name": job.name(), "job-name": job.name(),
    });
    let mut patch = json!({"metadata": {"labels": labels, "finalizers": [TRACKING]}});
    if let Some(index) = index {
        patch["metadata"]["labels"][INDEX] = json!(index.to_string());
        patch["metadata"]["annotations"][INDEX] = json!(index.to_string());
        patch["metadata"]["generateName"] = json!(format!("{}-{index}-", job.name()));
        patch["spec"]["hostname"] = json!(format!("{}-{index}", job.name()));
        for list in ["containers", "initContainers"] {
            let Some(containers) = made["spec"].get_mut(list).and_then(Value::as_array_mut) else {
                continue;
            };
            containers.iter_mut().for_each(tell_index);
        }
    }
    crate::execute::merge(&mut made, &patch);
    made
}

fn tell_index(container: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    if container.list("env").iter().any(|one| one.text("name") == NAME) {
        return;
    }
    let mut env = container.list("env").to_vec();
    let path = format!("metadata.labels['{INDEX}']");
    env.push(
        json!({"name": NAME, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}),
    );
    container["env"] = json!(env);
}
