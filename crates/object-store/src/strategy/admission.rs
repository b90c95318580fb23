//! What Kubernetes' default admission plugins fill in: priorities, tolerations of lost nodes.

use apimachinery::{Key, Kind, Meta, Status};
use serde_json::{Value, json};

use super::Peers;

/// Seconds that a pod stays on a node that is lost, unless it says otherwise.
const LOST_NODE_SECONDS: u32 = 300;

/// Fills a new object in.
pub(super) fn create(kind: &Kind, peers: &dyn Peers, object: &mut Value) -> Result<(), Status> {
    if kind.group.is_empty() && kind.kind == "Pod" {
        priority(kind, peers, object)?;
        tolerate_lost_nodes(object);
    }
    Ok(())
}

/// Fills a changed object in.
pub(super) fn update(kind: &Kind, _peers: &dyn Peers, old: &Value, new: &mut Value) {
    if kind.group.is_empty() && kind.kind == "Pod" {
        for field in ["priority", "preemptionPolicy"] {
            if new["spec"].get(field).is_none()
                && let Some(value) = old["spec"].get(field)
            {
                new["spec"][field] = value.clone();
            }
        }
    }
}

fn priority(kind: &Kind, peers: &dyn Peers, pod: &mut Value) -> Result<(), Status> {
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or("").to_owned();
    let class = if name.is_empty() {
        peers.default_priority()
    } else {
        let found = peers.find("scheduling.k8s.io", "priorityclasses", &Key::cluster(&name));
        if found.is_none() {
            let why = format!("no PriorityClass with name {name} was found");
            return Err(Status::forbidden(kind, pod.name(), &why));
        }
        found
    };
    let class = class.as_ref().map(|class| class.value());
    let value = class.map_or(json!(0), |class| class["value"].clone());
    let preemption = class.and_then(|class| class["preemptionPolicy"].as_str());
    if name.is_empty()
        && let Some(class) = class
    {
        pod["spec"]["priorityClassName"] = json!(class.name());
    }
    pod["spec"]["priority"] = value;
    if pod["spec"].get("preemptionPolicy").is_none() {
        pod["spec"]["preemptionPolicy"] = json!(preemption.unwrap_or("PreemptLowerPriority"));
    }
    Ok(())
}

fn tolerate_lost_nodes(pod: &mut Value) {
    let Some(spec) = pod["spec"].as_object_mut() else { return };
    let list = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list.iter().any(|one| {
            let keys = one["key"].as_str().unwrap_or("");
            let effect = one["effect"].as_str().unwrap_or("");
            (keys == key || keys.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            list.push(json!({
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": LOST_NODE_SECONDS,
            }));
        }
    }
}
