//! Pods and their templates.

use serde_json::{Value, json};

use super::{items, put, there, within};
use crate::quantity::Quantity;

/// Permissions of files in a volume: 0644.
const FILE_MODE: u32 = 0o644;

/// A pod itself: what a template leaves to the pod too.
pub(super) fn pod(object: &mut Value) {
    let Some(spec) = there(object, "spec") else { return };
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).into_iter().flat_map(items) {
            requests_from_limits(container);
        }
    }
    put(spec, "enableServiceLinks", true);
    pod_spec(spec);
}

/// What is limited and not requested is requested in full.
fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else { return };
    let requests = within(within(container, "resources"), "requests");
    for (name, amount) in limits {
        put(requests, &name, amount);
    }
}

/// A pod's spec.
pub(super) fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    put(spec, "dnsPolicy", "ClusterFirst");
    put(spec, "restartPolicy", "Always");
    put(spec, "securityContext", json!({}));
    put(spec, "terminationGracePeriodSeconds", 30);
    // Once, less than nothing meant at once.
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    put(spec, "schedulerName", "default-scheduler");
    accounts(spec);
    let host = spec["hostNetwork"] == true;
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for one in spec.get_mut(list).into_iter().flat_map(items) {
            container(one, host);
        }
    }
    for one in spec.get_mut("volumes").into_iter().flat_map(items) {
        volume(one);
    }
}

/// The old name of the service account's field has the same value.
fn accounts(spec: &mut Value) {
    let name = spec.get("serviceAccountName").or_else(|| spec.get("serviceAccount")).cloned();
    if let Some(name) = name {
        spec["serviceAccountName"] = name.clone();
        spec["serviceAccount"] = name;
    }
}

fn container(one: &mut Value, host: bool) {
    if !one.is_object() {
        return;
    }
    let image = one["image"].as_str().unwrap_or("").to_owned();
    put(one, "imagePullPolicy", if is_latest(&image) { "Always" } else { "IfNotPresent" });
    put(one, "terminationMessagePath", "/dev/termination-log");
    put(one, "terminationMessagePolicy", "File");
    for port in one.get_mut("ports").into_iter().flat_map(items) {
        put(port, "protocol", "TCP");
        if host {
            let number = port["containerPort"].clone();
            put(port, "hostPort", number);
        }
    }
    for env in one.get_mut("env").into_iter().flat_map(items) {
        if let Some(source) = there(env, "valueFrom") {
            field_ref(source);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(one) = there(one, name) {
            probe(one);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = there(one, "lifecycle")
            .and_then(|lifecycle| there(lifecycle, hook))
            .and_then(|hook| there(hook, "httpGet"))
        {
            http_get(get);
        }
    }
    for list in ["limits", "requests"] {
        if let Some(amounts) = one["resources"].get_mut(list) {
            round(amounts);
        }
    }
}

fn probe(one: &mut Value) {
    put(one, "timeoutSeconds", 1);
    put(one, "periodSeconds", 10);
    put(one, "successThreshold", 1);
    put(one, "failureThreshold", 3);
    if let Some(get) = there(one, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = there(one, "grpc") {
        put(grpc, "service", "");
    }
}

fn http_get(get: &mut Value) {
    put(get, "path", "/");
    put(get, "scheme", "HTTP");
}

fn field_ref(source: &mut Value) {
    if let Some(field) = there(source, "fieldRef") {
        put(field, "apiVersion", "v1");
    }
}

/// Amounts are whole thousandths.
fn round(amounts: &mut Value) {
    for amount in amounts.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        let read = amount.as_str().and_then(|text| text.parse::<Quantity>().ok());
        if let Some(read) = read
            && Quantity::of_milli(read.milli()) != read
        {
            *amount = json!(Quantity::of_milli(read.milli()).to_string());
        }
    }
}

/// An image without a tag, or with the tag `latest`, and without a digest.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None => true,
        Some((_, tag)) => tag == "latest",
    }
}

fn volume(one: &mut Value) {
    let Some(map) = one.as_object() else { return };
    if map.keys().all(|name| name == "name") {
        put(one, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = there(one, source) {
            put(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(path) = there(one, "hostPath") {
        put(path, "type", "");
    }
    if let Some(source) = there(one, "downwardAPI") {
        source.get_mut("items").into_iter().flat_map(items).for_each(field_ref);
    }
    if let Some(template) =
        there(one, "ephemeral").and_then(|one| there(one, "volumeClaimTemplate"))
    {
        super::claim_spec(super::within(template, "spec"));
    }
    let sources = there(one, "projected").and_then(|one| one.get_mut("sources"));
    for source in sources.into_iter().flat_map(items) {
        if let Some(token) = there(source, "serviceAccountToken") {
            put(token, "expirationSeconds", 3600);
        }
        if let Some(source) = there(source, "downwardAPI") {
            source.get_mut("items").into_iter().flat_map(items).for_each(field_ref);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pulled_always_when_their_tag_may_move() {
        for (image, latest) in [
            ("i", true),
            ("reg/i:latest", true),
            ("reg:5000/i", true),
            ("reg:5000/i:v1", false),
            ("i@sha256:aa", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
