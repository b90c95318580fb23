//! What the columns of each kind are called.

use serde_json::{Value, json};

/// A column: name, type, whether it is shown only when much is asked for (`-o wide`).
pub(super) type Column = (&'static str, &'static str, bool);

const S: &str = "string";
const I: &str = "integer";
const NAME: Column = ("Name", S, false);
const AGE: Column = ("Age", S, false);
const CONTAINERS: Column = ("Containers", S, true);
const IMAGES: Column = ("Images", S, true);
const SELECTOR: Column = ("Selector", S, true);

const fn all(name: &'static str) -> Column {
    (name, S, false)
}

const fn wide(name: &'static str) -> Column {
    (name, S, true)
}

const fn count(name: &'static str) -> Column {
    (name, I, false)
}

#[rustfmt::skip]
const ROWS: &[(&str, &str, &[Column])] = &[
    ("", "Pod", &[NAME, all("Ready"), all("Status"), all("Restarts"), AGE, wide("IP"), wide("Node"), wide("Nominated Node"), wide("Readiness Gates")]),
    ("", "Node", &[NAME, all("Status"), all("Roles"), AGE, all("Version"), wide("Internal-IP"), wide("External-IP"), wide("OS-Image"), wide("Kernel-Version"), wide("Container-Runtime")]),
    ("", "Namespace", &[NAME, all("Status"), AGE]),
    ("", "ConfigMap", &[NAME, all("Data"), AGE]),
    ("", "Secret", &[NAME, all("Type"), all("Data"), AGE]),
    ("", "ServiceAccount", &[NAME, all("Secrets"), AGE]),
    ("", "Service", &[NAME, all("Type"), all("Cluster-IP"), all("External-IP"), all("Port(s)"), AGE, SELECTOR]),
    ("", "Endpoints", &[NAME, all("Endpoints"), AGE]),
    ("", "Event", &[all("Last Seen"), all("Type"), all("Reason"), all("Object"), wide("Subobject"), wide("Source"), all("Message"), wide("First Seen"), wide("Count"), ("Name", S, true)]),
    ("", "PersistentVolumeClaim", &[NAME, all("Status"), all("Volume"), all("Capacity"), all("Access Modes"), all("StorageClass"), all("VolumeAttributesClass"), AGE, wide("VolumeMode")]),
    ("", "PersistentVolume", &[NAME, all("Capacity"), all("Access Modes"), all("Reclaim Policy"), all("Status"), all("Claim"), all("StorageClass"), all("VolumeAttributesClass"), all("Reason"), AGE, wide("VolumeMode")]),
    ("apps", "Deployment", &[NAME, all("Ready"), all("Up-to-date"), all("Available"), AGE, CONTAINERS, IMAGES, SELECTOR]),
    ("apps", "ReplicaSet", &[NAME, count("Desired"), count("Current"), count("Ready"), AGE, CONTAINERS, IMAGES, SELECTOR]),
    ("apps", "StatefulSet", &[NAME, all("Ready"), AGE, CONTAINERS, IMAGES]),
    ("apps", "DaemonSet", &[NAME, count("Desired"), count("Current"), count("Ready"), count("Up-to-date"), count("Available"), all("Node Selector"), AGE, CONTAINERS, IMAGES, SELECTOR]),
    ("apps", "ControllerRevision", &[NAME, all("Controller"), all("Revision"), AGE]),
    ("batch", "Job", &[NAME, all("Status"), all("Completions"), all("Duration"), AGE, CONTAINERS, IMAGES, SELECTOR]),
    ("autoscaling", "HorizontalPodAutoscaler", &[NAME, all("Reference"), all("Targets"), all("MinPods"), all("MaxPods"), all("Replicas"), AGE]),
    ("policy", "PodDisruptionBudget", &[NAME, all("Min Available"), all("Max Unavailable"), count("Allowed Disruptions"), AGE]),
    ("coordination.k8s.io", "Lease", &[NAME, all("Holder"), AGE]),
    ("discovery.k8s.io", "EndpointSlice", &[NAME, all("AddressType"), all("Ports"), all("Endpoints"), AGE]),
    ("scheduling.k8s.io", "PriorityClass", &[NAME, count("Value"), ("Global-Default", "boolean", false), AGE, all("PreemptionPolicy")]),
    ("storage.k8s.io", "StorageClass", &[NAME, all("Provisioner"), all("ReclaimPolicy"), all("VolumeBindingMode"), all("AllowVolumeExpansion"), AGE]),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &[NAME, ("Created At", "date", false)]),
];

/// The columns of a built-in kind; none for a custom resource.
pub(super) fn of(group: &str, kind: &str) -> Option<&'static [Column]> {
    ROWS.iter()
        .find(|(one, name, _)| *one == group && *name == kind)
        .map(|(_, _, columns)| *columns)
}

/// A column as clients read it.
pub(super) fn json((name, of, wide): &Column) -> Value {
    let format = if *name == "Name" { "name" } else { "" };
    json!({
        "name": name, "type": of, "format": format,
        "description": "", "priority": i32::from(*wide),
    })
}

/// The first column of every kind.
pub(super) fn name() -> Value {
    json(&NAME)
}
