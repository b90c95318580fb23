//! EndpointSlices: at most a hundred endpoints each, and as few changes as possible.

use std::collections::{BTreeMap, HashMap};

use apimachinery::Meta;
use serde_json::{Map, Value, json};

use super::{is_candidate, ports};
use crate::action::Action;
use crate::fields::Fields;
use crate::resource::SLICES;
use crate::{owner, pod};

pub(super) const SERVICE: &str = "kubernetes.io/service-name";
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Endpoints in one slice (kube-controller-manager's default).
const MOST: usize = 100;

/// Whether a slice is one that this controller made for a service.
pub(super) fn is_ours(slice: &Value, service: &str) -> bool {
    slice.label(SERVICE) == Some(service)
        && slice.label(MANAGED_BY) == Some(MANAGER)
        && !slice.is_terminating()
}

/// Endpoints by the uid of their pod.
type Endpoints = BTreeMap<String, Value>;

/// What to change, so that the slices hold the service's pods. `zones`: by node.
pub(super) fn plan(
    service: &Value,
    pods: &[&Value],
    slices: &[&Value],
    zones: &HashMap<String, String>,
) -> Vec<Action> {
    // Pods that resolve the service's ports alike share slices.
    let mut groups: BTreeMap<String, (Vec<Value>, Endpoints)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_candidate(pod)) {
        let ports = ports::of(service, pod);
        let key = json!(ports).to_string();
        let group = groups.entry(key).or_insert_with(|| (ports, Endpoints::new()));
        group.1.insert(pod.uid().to_owned(), endpoint(service, pod, zones));
    }
    if groups.is_empty() {
        groups.insert("null".to_owned(), (Vec::new(), Endpoints::new()));
    }
    let mut actions = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    for (ports, endpoints) in groups.into_values() {
        let own: Vec<&&Value> =
            slices.iter().filter(|slice| slice.list("ports") == ports).collect();
        used.extend(own.iter().map(|slice| slice.name()));
        actions.extend(fill(service, &ports, endpoints, &own));
    }
    let stale = slices.iter().filter(|slice| !used.contains(&slice.name()));
    actions.extend(stale.map(|slice| Action::delete(SLICES, slice)));
    actions
}

/// Spreads the endpoints of one set of ports over its slices: whoever has a place keeps it.
fn fill(service: &Value, ports: &[Value], mut left: Endpoints, own: &[&&Value]) -> Vec<Action> {
    let mut kept: Vec<(&Value, Vec<Value>)> = own
        .iter()
        .map(|slice| {
            let uids = slice.list("endpoints").iter().map(|one| one.text("targetRef/uid"));
            (**slice, uids.filter_map(|uid| left.remove(uid)).collect())
        })
        .collect();
    // New ones go where there is room, the fullest slice first.
    kept.sort_by_key(|(_, endpoints)| std::cmp::Reverse(endpoints.len()));
    let mut new = left.into_values();
    for (_, endpoints) in &mut kept {
        let room = MOST.saturating_sub(endpoints.len());
        endpoints.extend(new.by_ref().take(room));
    }
    let mut rest: Vec<Value> = new.collect();
    let mut actions = Vec::new();
    let mut empty_kept = kept.iter().all(|(_, endpoints)| endpoints.is_empty()) && rest.is_empty();
    for (slice, endpoints) in kept {
        if endpoints.is_empty() && !std::mem::take(&mut empty_kept) {
            actions.push(Action::delete(SLICES, slice));
            continue;
        }
        let wanted = body(service, ports, endpoints);
        if crate::execute::changes(slice, &wanted) {
            actions.push(Action::change(SLICES, slice, wanted));
        }
    }
    if own.is_empty() && rest.is_empty() {
        actions.push(create(service, ports, Vec::new()));
    }
    while !rest.is_empty() {
        let next = rest.split_off(rest.len().min(MOST));
        actions.push(create(service, ports, rest));
        rest = next;
    }
    actions
}

fn create(service: &Value, ports: &[Value], endpoints: Vec<Value>) -> Action {
    let mut slice = body(service, ports, endpoints);
    slice["addressType"] = json!("IPv4");
    let metadata = json!({
        "generateName": format!("{}-", service.name()),
        "namespace": service.namespace(),
        "ownerReferences": [owner::reference(service)],
    });
    crate::execute::merge(&mut slice["metadata"], &metadata);
    Action::create(SLICES, slice)
}

fn body(service: &Value, ports: &[Value], endpoints: Vec<Value>) -> Value {
    let mut labels: Map<String, Value> = service.map("metadata/labels").clone();
    labels.insert(SERVICE.to_owned(), json!(service.name()));
    labels.insert(MANAGED_BY.to_owned(), json!(MANAGER));
    if service.text("spec/clusterIP") == "None" {
        labels.insert(HEADLESS.to_owned(), json!(""));
    }
    json!({"metadata": {"labels": labels}, "endpoints": endpoints, "ports": ports})
}

fn endpoint(service: &Value, pod: &Value, zones: &HashMap<String, String>) -> Value {
    let serving = pod::is_ready(pod);
    let terminating = pod.is_terminating();
    let ready = service.flag("spec/publishNotReadyAddresses") || (serving && !terminating);
    let mut endpoint = json!({
        "addresses": [pod.text("status/podIP")],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod", "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid(),
        },
    });
    let node = pod::node(pod);
    if !node.is_empty() {
        endpoint["nodeName"] = json!(node);
    }
    if let Some(zone) = zones.get(node) {
        endpoint["zone"] = json!(zone);
    }
    if let Some(name) = hostname(service, pod) {
        endpoint["hostname"] = json!(name);
    }
    endpoint
}

/// The pod's own name within the service, where it asks for one.
pub(super) fn hostname<'a>(service: &Value, pod: &'a Value) -> Option<&'a str> {
    let name = pod.text("spec/hostname");
    let here = pod.text("spec/subdomain") == service.name();
    (here && !name.is_empty()).then_some(name)
}
