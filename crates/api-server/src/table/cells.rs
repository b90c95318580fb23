//! Rows of the built-in kinds.

use apimachinery::Meta;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{age, pod, workloads};

/// Ports and addresses that are shown of many.
const SHOWN: usize = 3;
/// What is there, but not told.
const NONE: &str = "<none>";

/// The items of a list.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A text; empty when it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// A text, or another when it is empty.
pub(super) fn text_or<'a>(value: &'a Value, other: &'a str) -> &'a str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(other)
}

/// Labels as `a=b,c=d`.
pub(super) fn labels(value: &Value) -> String {
    let all = value.as_object().into_iter().flatten();
    let all: Vec<String> = all.map(|(name, value)| format!("{name}={}", text(value))).collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(",") }
}

/// The cells of an object of a built-in kind.
pub(super) fn of(group: &str, kind: &str, object: &Value, now: Timestamp) -> Vec<Value> {
    let created = json!(age::since(&object["metadata"]["creationTimestamp"], now));
    let name = json!(object.name());
    let (spec, status) = (&object["spec"], &object["status"]);
    match (group, kind) {
        ("", "Pod") => pod::cells(object, now),
        ("", "Node") => node(object, created),
        ("", "Namespace") => vec![name, status["phase"].clone(), created],
        ("", "ConfigMap") => vec![name, json!(count(object, &["data", "binaryData"])), created],
        ("", "Secret") => {
            vec![name, object["type"].clone(), json!(count(object, &["data"])), created]
        }
        ("", "ServiceAccount") => vec![name, json!(list(&object["secrets"]).count()), created],
        ("", "Service") => service(object, created),
        ("", "Endpoints") => vec![name, json!(endpoints(object)), created],
        ("", "Event") => event(object, now),
        ("", "PersistentVolumeClaim") => claim(object, created),
        ("", "PersistentVolume") => volume(object, created),
        ("apps", "Deployment") => workloads::deployment(object, created),
        ("apps", "ReplicaSet") => workloads::replica_set(object, created),
        ("apps", "StatefulSet") => workloads::stateful_set(object, created),
        ("apps", "DaemonSet") => workloads::daemon_set(object, created),
        ("apps", "ControllerRevision") => {
            vec![name, json!(controller(object)), object["revision"].clone(), created]
        }
        ("batch", "Job") => workloads::job(object, created, now),
        ("autoscaling", "HorizontalPodAutoscaler") => workloads::autoscaler(object, created),
        ("policy", "PodDisruptionBudget") => workloads::budget(object, created),
        ("coordination.k8s.io", "Lease") => {
            vec![name, json!(text(&spec["holderIdentity"])), created]
        }
        ("discovery.k8s.io", "EndpointSlice") => slice(object, created),
        ("scheduling.k8s.io", "PriorityClass") => vec![
            name,
            object["value"].clone(),
            json!(object["globalDefault"] == true),
            created,
            json!(text(&object["preemptionPolicy"])),
        ],
        ("storage.k8s.io", "StorageClass") => storage_class(object, created),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            vec![name, object["metadata"]["creationTimestamp"].clone()]
        }
        _ => vec![name, created],
    }
}

fn count(object: &Value, fields: &[&str]) -> usize {
    fields.iter().map(|field| object[*field].as_object().map_or(0, Map::len)).sum()
}

/// The first few, and how many more there are.
fn some(all: &[String]) -> String {
    if all.is_empty() {
        return NONE.to_owned();
    }
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    match all.len() - all.len().min(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn node(object: &Value, created: Value) -> Vec<Value> {
    let (status, info) = (&object["status"], &object["status"]["nodeInfo"]);
    let ready = list(&status["conditions"]).find(|one| one["type"] == "Ready");
    let mut word = match ready {
        Some(one) if one["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object["spec"]["unschedulable"] == true {
        word.push_str(",SchedulingDisabled");
    }
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(name, value)| match name.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None => (name == "kubernetes.io/role").then(|| text(value)),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    let address = |kind: &str| {
        let found = list(&status["addresses"]).find(|one| one["type"] == kind);
        json!(found.map_or(NONE, |one| text(&one["address"])))
    };
    vec![
        json!(object.name()),
        json!(word),
        json!(if roles.is_empty() { NONE.to_owned() } else { roles.join(",") }),
        created,
        json!(text(&info["kubeletVersion"])),
        address("InternalIP"),
        address("ExternalIP"),
        json!(text_or(&info["osImage"], "<unknown>")),
        json!(text_or(&info["kernelVersion"], "<unknown>")),
        json!(text_or(&info["containerRuntimeVersion"], "<unknown>")),
    ]
}

fn service(object: &Value, created: Value) -> Vec<Value> {
    let spec = &object["spec"];
    let kind = text_or(&spec["type"], "ClusterIP");
    let ports: Vec<String> = list(&spec["ports"])
        .map(|port| {
            let protocol = text_or(&port["protocol"], "TCP");
            match port["nodePort"].as_i64() {
                Some(node) if node > 0 => format!("{}:{node}/{protocol}", port["port"]),
                _ => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    let addresses: Vec<&str> = list(&spec["externalIPs"]).map(text).collect();
    let balancers: Vec<&str> = list(&object["status"]["loadBalancer"]["ingress"])
        .map(|one| text_or(&one["ip"], text(&one["hostname"])))
        .collect();
    let external = match kind {
        "ExternalName" => text(&spec["externalName"]).to_owned(),
        "LoadBalancer" if balancers.is_empty() && addresses.is_empty() => "<pending>".to_owned(),
        "LoadBalancer" => [balancers, addresses].concat().join(","),
        _ if addresses.is_empty() => NONE.to_owned(),
        _ => addresses.join(","),
    };
    vec![
        json!(object.name()),
        json!(kind),
        json!(text_or(&spec["clusterIP"], NONE)),
        json!(external),
        json!(if ports.is_empty() { NONE.to_owned() } else { ports.join(",") }),
        created,
        json!(labels(&spec["selector"])),
    ]
}

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(&object["subsets"]) {
        let addresses = || list(&subset["addresses"]).map(|one| text(&one["ip"]));
        let ports: Vec<&Value> = list(&subset["ports"]).map(|one| &one["port"]).collect();
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            all.extend(addresses().map(|address| format!("{address}:{port}")));
        }
    }
    some(&all)
}

fn slice(object: &Value, created: Value) -> Vec<Value> {
    let ports: Vec<String> = list(&object["ports"])
        .map(|port| port["port"].as_i64().map_or("*".to_owned(), |port| port.to_string()))
        .collect();
    let addresses: Vec<String> = list(&object["endpoints"])
        .flat_map(|one| list(&one["addresses"]))
        .map(|one| text(one).to_owned())
        .collect();
    let unset = |all: &[String]| if all.is_empty() { "<unset>".to_owned() } else { some(all) };
    vec![
        json!(object.name()),
        object["addressType"].clone(),
        json!(unset(&ports)),
        json!(unset(&addresses)),
        created,
    ]
}

fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let (about, source) = (&object["involvedObject"], &object["source"]);
    let first_of = |values: &[&Value]| -> Value {
        values.iter().find(|value| value.is_string()).map_or(Value::Null, |value| (*value).clone())
    };
    let created = &object["metadata"]["creationTimestamp"];
    let first = first_of(&[&object["firstTimestamp"], &object["eventTime"], created]);
    let last = first_of(&[&object["series"]["lastObservedTime"], &object["lastTimestamp"]]);
    let last = if last.is_null() { first.clone() } else { last };
    let times = object["series"]["count"].as_i64().or(object["count"].as_i64()).unwrap_or(1);
    let component = text_or(&source["component"], text(&object["reportingComponent"]));
    let instance = text_or(&source["host"], text(&object["reportingInstance"]));
    let from =
        if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") };
    let kind = text(&about["kind"]).to_lowercase();
    let target = match text(&about["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        json!(age::since(&last, now)),
        object["type"].clone(),
        object["reason"].clone(),
        json!(target),
        json!(text(&about["fieldPath"])),
        json!(from),
        json!(text(&object["message"]).trim()),
        json!(age::since(&first, now)),
        json!(times.max(1)),
        json!(object.name()),
    ]
}

/// Access modes, short.
fn modes(value: &Value) -> String {
    let short = |mode: &Value| match text(mode) {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    list(value).map(short).filter(|mode| !mode.is_empty()).collect::<Vec<_>>().join(",")
}

fn claim(object: &Value, created: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let word = if object.is_terminating() { "Terminating" } else { text(&status["phase"]) };
    let bound = !text(&spec["volumeName"]).is_empty();
    let (capacity, access) = if bound {
        (text(&status["capacity"]["storage"]).to_owned(), modes(&status["accessModes"]))
    } else {
        (String::new(), String::new())
    };
    vec![
        json!(object.name()),
        json!(word),
        json!(text(&spec["volumeName"])),
        json!(capacity),
        json!(access),
        json!(text(&spec["storageClassName"])),
        json!(text_or(&spec["volumeAttributesClassName"], "<unset>")),
        created,
        json!(text_or(&spec["volumeMode"], "<unset>")),
    ]
}

fn volume(object: &Value, created: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let word = if object.is_terminating() { "Terminating" } else { text(&status["phase"]) };
    let claim = &spec["claimRef"];
    let claim = match text(&claim["name"]) {
        "" => String::new(),
        name => format!("{}/{name}", text(&claim["namespace"])),
    };
    vec![
        json!(object.name()),
        json!(text(&spec["capacity"]["storage"])),
        json!(modes(&spec["accessModes"])),
        json!(text(&spec["persistentVolumeReclaimPolicy"])),
        json!(word),
        json!(claim),
        json!(text(&spec["storageClassName"])),
        json!(text_or(&spec["volumeAttributesClassName"], "<unset>")),
        json!(text(&status["reason"])),
        created,
        json!(text_or(&spec["volumeMode"], "<unset>")),
    ]
}

fn storage_class(object: &Value, created: Value) -> Vec<Value> {
    let mut name = object.name().to_owned();
    if object.annotation("storageclass.kubernetes.io/is-default-class") == Some("true") {
        name.push_str(" (default)");
    }
    vec![
        json!(name),
        object["provisioner"].clone(),
        json!(text_or(&object["reclaimPolicy"], "Delete")),
        json!(text_or(&object["volumeBindingMode"], "Immediate")),
        json!(object["allowVolumeExpansion"] == true),
        created,
    ]
}

/// Who made an object: `daemonset.apps/name`.
fn controller(object: &Value) -> String {
    let mut owners = list(&object["metadata"]["ownerReferences"]);
    let Some(owner) = owners.find(|owner| owner["controller"] == true) else {
        return NONE.to_owned();
    };
    let group = text(&owner["apiVersion"]).rsplit_once('/').map_or("", |(group, _)| group);
    let kind = text(&owner["kind"]).to_lowercase();
    match group {
        "" => format!("{kind}/{}", text(&owner["name"])),
        group => format!("{kind}.{group}/{}", text(&owner["name"])),
    }
}
