//! Deployments, replica sets, stateful sets, daemon sets, jobs.

use serde_json::{Value, json};

use super::{items, pod, put, there, within};

fn template(spec: &mut Value) {
    if let Some(spec) = there(spec, "template").and_then(|template| template.get_mut("spec")) {
        pod::pod_spec(spec);
    }
}

pub(super) fn deployment(spec: &mut Value) {
    put(spec, "replicas", 1);
    put(spec, "revisionHistoryLimit", 10);
    put(spec, "progressDeadlineSeconds", 600);
    let strategy = within(spec, "strategy");
    put(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = within(strategy, "rollingUpdate");
        put(rolling, "maxUnavailable", "25%");
        put(rolling, "maxSurge", "25%");
    }
    template(spec);
}

pub(super) fn replica_set(spec: &mut Value) {
    put(spec, "replicas", 1);
    template(spec);
}

pub(super) fn stateful_set(spec: &mut Value) {
    put(spec, "replicas", 1);
    put(spec, "revisionHistoryLimit", 10);
    put(spec, "podManagementPolicy", "OrderedReady");
    let strategy = within(spec, "updateStrategy");
    put(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        put(within(strategy, "rollingUpdate"), "partition", 0);
    }
    let policy = within(spec, "persistentVolumeClaimRetentionPolicy");
    put(policy, "whenDeleted", "Retain");
    put(policy, "whenScaled", "Retain");
    for claim in spec.get_mut("volumeClaimTemplates").into_iter().flat_map(items) {
        put(claim, "apiVersion", "v1");
        put(claim, "kind", "PersistentVolumeClaim");
        super::claim(claim);
    }
    template(spec);
}

pub(super) fn daemon_set(object: &mut Value) {
    let annotations = within(within(object, "metadata"), "annotations");
    put(annotations, "deprecated.daemonset.template.generation", "1");
    let Some(spec) = there(object, "spec") else { return };
    put(spec, "revisionHistoryLimit", 10);
    let strategy = within(spec, "updateStrategy");
    put(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = within(strategy, "rollingUpdate");
        put(rolling, "maxUnavailable", 1);
        put(rolling, "maxSurge", 0);
    }
    template(spec);
}

pub(super) fn job(object: &mut Value) {
    let Some(spec) = there(object, "spec") else { return };
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        put(spec, "completions", 1);
    }
    put(spec, "parallelism", 1);
    let each = spec.get("backoffLimitPerIndex").is_some();
    put(spec, "backoffLimit", if each { i32::MAX } else { 6 });
    put(spec, "completionMode", "NonIndexed");
    put(spec, "suspend", false);
    put(spec, "manualSelector", false);
    let policy = spec.get("podFailurePolicy").is_some();
    put(spec, "podReplacementPolicy", if policy { "Failed" } else { "TerminatingOrFailed" });
    let rules = there(spec, "podFailurePolicy").and_then(|policy| policy.get_mut("rules"));
    for rule in rules.into_iter().flat_map(items) {
        for pattern in rule.get_mut("onPodConditions").into_iter().flat_map(items) {
            if pattern["status"].as_str().is_none_or(str::is_empty) {
                pattern["status"] = json!("True");
            }
        }
    }
    template(spec);
    let labels = spec["template"]["metadata"]["labels"].clone();
    let unlabelled =
        object["metadata"]["labels"].as_object().is_none_or(|labels| labels.is_empty());
    if unlabelled && labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        within(object, "metadata")["labels"] = json!(labels);
    }
}
