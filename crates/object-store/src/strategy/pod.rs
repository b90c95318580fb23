//! Pods.

use apimachinery::quantity::Quantity;
use serde_json::{Value, json};

use super::within;

/// Sets the status of a new pod.
pub(super) fn create(pod: &mut Value) {
    let class = quality(&pod["spec"]);
    let status = within(pod, "status");
    if status.get("phase").is_none() {
        status["phase"] = json!("Pending");
    }
    status["qosClass"] = json!(class);
}

/// The class of service follows from the spec, whatever a write of the status says.
pub(super) fn update(old: &Value, new: &mut Value) {
    if let Some(class) = old["status"].get("qosClass")
        && new["status"].is_object()
        && new["status"].get("qosClass").is_none()
    {
        new["status"]["qosClass"] = class.clone();
    }
}

/// The class of service: by CPU and memory of all containers.
fn quality(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers = lists.iter().filter_map(|list| spec[list].as_array()).flatten();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let amount = |list: &str, name: &str| {
            let text = container["resources"][list].get(name)?.as_str()?;
            text.parse::<Quantity>().ok().filter(|amount| !amount.is_zero())
        };
        for name in ["cpu", "memory"] {
            let (limit, request) = (amount("limits", name), amount("requests", name));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
