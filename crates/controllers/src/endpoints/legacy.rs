//! Endpoints: one object a service, without what slices say beyond ready or not.

use std::collections::BTreeMap;

use apimachinery::Meta;
use serde_json::{Map, Value, json};

use super::{is_candidate, ports, slices};
use crate::action::Action;
use crate::fields::Fields;
use crate::pod;
use crate::resource::ENDPOINTS;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
/// Addresses in one object; the real one truncates there, too.
const MOST: usize = 1000;

pub(super) fn is_ours(endpoints: &Value) -> bool {
    endpoints.label(MANAGED_BY) == Some(MANAGER)
}

/// What to change, so that the object holds the service's pods.
pub(super) fn plan(service: &Value, pods: &[&Value], known: Option<&Value>) -> Option<Action> {
    let mut labels: Map<String, Value> = service.map("metadata/labels").clone();
    labels.insert(MANAGED_BY.to_owned(), json!(MANAGER));
    if service.text("spec/clusterIP") == "None" {
        labels.insert("service.kubernetes.io/headless".to_owned(), json!(""));
    }
    let subsets = subsets(service, pods);
    let Some(known) = known else {
        let object = json!({
            "metadata": {"name": service.name(), "namespace": service.namespace(), "labels": labels},
            "subsets": subsets,
        });
        return Some(Action::create(ENDPOINTS, object));
    };
    let same = known.map("metadata/labels") == &labels && known.list("subsets") == subsets;
    let subsets = if subsets.is_empty() { Value::Null } else { json!(subsets) };
    (!same).then(|| {
        Action::change(
            ENDPOINTS,
            known,
            json!({"metadata": {"labels": labels}, "subsets": subsets}),
        )
    })
}

/// Ports, addresses that are ready, and addresses that are not.
type Group = (Vec<Value>, Vec<Value>, Vec<Value>);

fn subsets(service: &Value, pods: &[&Value]) -> Vec<Value> {
    let all = service.flag("spec/publishNotReadyAddresses");
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let stays = |pod: &&&Value| is_candidate(pod) && (all || !pod.is_terminating());
    for pod in pods.iter().filter(stays).take(MOST) {
        let ports: Vec<Value> = ports::of(service, pod).into_iter().map(unnamed).collect();
        let key = json!(ports).to_string();
        let group = groups.entry(key).or_insert_with(|| (ports, Vec::new(), Vec::new()));
        let place = if all || pod::is_ready(pod) { &mut group.1 } else { &mut group.2 };
        place.push(address(service, pod));
    }
    let subset = |(ports, mut ready, mut not_ready): Group| {
        let mut subset = json!({});
        for (field, list) in [("addresses", &mut ready), ("notReadyAddresses", &mut not_ready)] {
            list.sort_by(|a, b| a.text("ip").cmp(b.text("ip")));
            if !list.is_empty() {
                subset[field] = json!(list);
            }
        }
        if !ports.is_empty() {
            subset["ports"] = json!(ports);
        }
        subset
    };
    groups.into_values().map(subset).collect()
}

/// Endpoints leave out the name of a service's only port.
fn unnamed(mut port: Value) -> Value {
    if port["name"] == ""
        && let Some(map) = port.as_object_mut()
    {
        map.remove("name");
    }
    port
}

fn address(service: &Value, pod: &Value) -> Value {
    let mut address = json!({
        "ip": pod.text("status/podIP"),
        "targetRef": {"kind": "Pod", "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()},
    });
    if !pod::node(pod).is_empty() {
        address["nodeName"] = json!(pod::node(pod));
    }
    if let Some(name) = slices::hostname(service, pod) {
        address["hostname"] = json!(name);
    }
    address
}
