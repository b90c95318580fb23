//! Values of fields that a request leaves out, where they depend on more than the field's type.
//!
//! Source: kube-apiserver 1.34, by recorded answers. What other fields a schema always fills (`protocol: TCP`, empty objects)
//! is [`crate::decode::settle`]'s part; what a creation sets (status, generated selectors, addresses) is the store's.

mod autoscaler;
mod pod;
mod workload;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::{Kind, Meta};

/// Fills an object of a built-in kind. Twice is as good as once.
pub fn fill(kind: &Kind, object: &mut Value) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => pod::pod(object),
        ("", "Service") => service(&mut object["spec"]),
        ("", "Namespace") => namespace(object),
        ("", "Secret") => secret(object),
        ("", "Node") => node(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "PersistentVolume") => volume(&mut object["spec"]),
        ("apps", "Deployment") => workload::deployment(&mut object["spec"]),
        ("apps", "ReplicaSet") => workload::replica_set(&mut object["spec"]),
        ("apps", "StatefulSet") => workload::stateful_set(&mut object["spec"]),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("batch", "Job") => workload::job(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::autoscaler(&mut object["spec"]),
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in object.get_mut("ports").into_iter().flat_map(items) {
                put(port, "name", "");
                put(port, "protocol", "TCP");
            }
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            put(object, "preemptionPolicy", "PreemptLowerPriority")
        }
        ("storage.k8s.io", "StorageClass") => {
            put(object, "reclaimPolicy", "Delete");
            put(object, "volumeBindingMode", "Immediate");
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(&mut object["spec"]),
        _ => {}
    }
}

/// Sets a field that is absent. Nothing happens to what is no object.
fn put(at: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = at.as_object_mut() {
        map.entry(field).or_insert_with(|| value.into());
    }
}

/// A field's object, made if it is absent.
fn within<'a>(at: &'a mut Value, field: &str) -> &'a mut Value {
    put(at, field, Map::new());
    &mut at[field]
}

/// A list's items; none if it is no list.
fn items(at: &mut Value) -> impl Iterator<Item = &mut Value> {
    at.as_array_mut().into_iter().flatten()
}

/// A field's object if it is there.
fn there<'a>(at: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    at.get_mut(field).filter(|value| value.is_object())
}

/// A field is absent, or as good as absent.
fn lacks(at: &Value, field: &str) -> bool {
    match at.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

fn service(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    put(spec, "sessionAffinity", "None");
    put(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "ClientIP" {
        let client = within(within(spec, "sessionAffinityConfig"), "clientIP");
        put(client, "timeoutSeconds", 10_800);
    }
    for port in spec.get_mut("ports").into_iter().flat_map(items) {
        put(port, "protocol", "TCP");
        let unset = matches!(port.get("targetPort"), None | Some(Value::Null))
            || port["targetPort"] == 0
            || port["targetPort"] == "";
        if unset {
            port["targetPort"] = port["port"].clone();
        }
    }
    let kind = spec["type"].as_str().unwrap_or("").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        put(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        put(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        put(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn namespace(object: &mut Value) {
    let name = object.name().to_owned();
    if !name.is_empty() {
        let labels = object.metadata_mut().entry("labels").or_insert_with(|| json!({}));
        put(labels, "kubernetes.io/metadata.name", name);
    }
}

/// Text of a secret is kept as data alone.
fn secret(object: &mut Value) {
    put(object, "type", "Opaque");
    let texts = object.as_object_mut().and_then(|map| map.remove("stringData"));
    for (key, text) in texts.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let encoded = STANDARD.encode(text.as_str().unwrap_or(""));
        within(object, "data")[key.as_str()] = json!(encoded);
    }
}

fn node(object: &mut Value) {
    let Some(status) = there(object, "status") else { return };
    if lacks(status, "allocatable")
        && let Some(capacity) = status.get("capacity").cloned()
    {
        status["allocatable"] = capacity;
    }
}

fn claim(object: &mut Value) {
    claim_spec(&mut object["spec"]);
    let status = within(object, "status");
    put(status, "phase", "Pending");
}

fn claim_spec(spec: &mut Value) {
    put(spec, "volumeMode", "Filesystem");
}

fn volume(spec: &mut Value) {
    put(spec, "persistentVolumeReclaimPolicy", "Retain");
    put(spec, "volumeMode", "Filesystem");
    if let Some(path) = there(spec, "hostPath") {
        put(path, "type", "");
    }
}

fn definition(spec: &mut Value) {
    let kind = spec["names"]["kind"].as_str().unwrap_or("").to_owned();
    if let Some(names) = there(spec, "names") {
        put(names, "singular", kind.to_lowercase());
        put(names, "listKind", format!("{kind}List"));
    }
    put(within(spec, "conversion"), "strategy", "None");
}
