//! What Kubernetes' default admission plugins fill in: accounts, priorities, tolerations of lost nodes, storage classes.

use apimachinery::{Key, Kind, Meta, Status};
use serde_json::{Value, json};

use super::{Peers, account};

/// Seconds that a pod stays on a node that is lost, unless it says otherwise.
const LOST_NODE_SECONDS: u32 = 300;

/// Fills a new object in.
pub(super) fn create(kind: &Kind, peers: &dyn Peers, object: &mut Value) -> Result<(), Status> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => {
            account::admit(kind, peers, object)?;
            priority(kind, peers, object)?;
            tolerate_lost_nodes(object);
        }
        ("", "PersistentVolumeClaim") => storage_class(peers, object),
        _ => {}
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
        let all = peers.all("scheduling.k8s.io", "priorityclasses");
        all.into_iter().find(|class| class.value()["globalDefault"] == true)
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

/// The class of a claim that names none: the default one, of several the newest. An empty name means none at all.
fn storage_class(peers: &dyn Peers, claim: &mut Value) {
    if claim["spec"].get("storageClassName").is_some_and(|name| !name.is_null()) {
        return;
    }
    let is_default = |class: &Value| {
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    };
    let all = peers.all("storage.k8s.io", "storageclasses");
    let defaults = all.iter().map(|class| class.value()).filter(|class| is_default(class));
    let age =
        |class: &&Value| class["metadata"]["creationTimestamp"].as_str().unwrap_or("").to_owned();
    if let Some(class) = defaults.max_by_key(age) {
        claim["spec"]["storageClassName"] = json!(class.name());
    }
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
