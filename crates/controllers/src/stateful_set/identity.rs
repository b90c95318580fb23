//! The names and numbers of a set's pods.

use apimachinery::Meta;
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::{history, pod};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// A pod's number, if its name is one of this set's.
pub(super) fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    let digits = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    digits.parse().ok().filter(|number: &i64| *number >= 0 && digits == number.to_string())
}

/// The first number.
pub(super) fn start(set: &Value) -> i64 {
    set.count("spec/ordinals/start")
}

/// The pods' numbers.
pub(super) fn range(set: &Value) -> std::ops::Range<i64> {
    start(set)..start(set) + set.int("spec/replicas").unwrap_or(1)
}

/// The name of the pod with a number.
pub(super) fn pod_name(set: &Value, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.name())
}

/// The name of a pod's claim.
pub(super) fn claim_name(set: &Value, template: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", template.name(), set.name())
}

/// A new pod of a revision.
pub(super) fn make(set: &Value, revision: &Value, ordinal: i64) -> Value {
    let mut made = pod::from_template(&history::template(revision), set);
    let name = pod_name(set, ordinal);
    if let Some(metadata) = made["metadata"].as_object_mut() {
        metadata.remove("generateName");
    }
    made["metadata"]["name"] = json!(name);
    made["metadata"]["labels"][history::LABEL] = json!(revision.name());
    made["spec"]["hostname"] = json!(name);
    if !set.text("spec/serviceName").is_empty() {
        made["spec"]["subdomain"] = set["spec"]["serviceName"].clone();
    }
    let claims = set.list("spec/volumeClaimTemplates");
    let mut volumes: Vec<Value> = claims
        .iter()
        .map(|template| {
            let claim = claim_name(set, template, ordinal);
            json!({"name": template.name(), "persistentVolumeClaim": {"claimName": claim}})
        })
        .collect();
    let own =
        |volume: &&Value| !claims.iter().any(|template| template.name() == volume.text("name"));
    volumes.extend(made.list("spec/volumes").iter().filter(own).cloned());
    if !volumes.is_empty() {
        made["spec"]["volumes"] = json!(volumes);
    }
    crate::execute::merge(&mut made, &labels(set, ordinal));
    made
}

/// The labels by which a pod is known: a patch.
pub(super) fn labels(set: &Value, ordinal: i64) -> Value {
    let name = pod_name(set, ordinal);
    json!({"metadata": {"labels": {POD_NAME: name, POD_INDEX: ordinal.to_string()}}})
}
