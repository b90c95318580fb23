//! The ports of a service as a pod has them: numbers stay, names are looked up in its containers.

use serde_json::{Value, json};

use crate::fields::Fields;

/// The ports that a pod serves a service on. A port that it does not have is left out.
pub(super) fn of(service: &Value, pod: &Value) -> Vec<Value> {
    let each = service.list("spec/ports").iter().filter_map(|port| {
        let protocol = match port.text("protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        let number = resolve(port, pod, protocol)?;
        let mut resolved = json!({"name": port.text("name"), "port": number, "protocol": protocol});
        if port.has("appProtocol") {
            resolved["appProtocol"] = port["appProtocol"].clone();
        }
        Some(resolved)
    });
    each.collect()
}

fn resolve(port: &Value, pod: &Value, protocol: &str) -> Option<i64> {
    let target = port.at("targetPort");
    if let Some(name) = target.as_str() {
        let containers = pod.list("spec/containers").iter();
        let sidecars = pod
            .list("spec/initContainers")
            .iter()
            .filter(|one| one.text("restartPolicy") == "Always");
        return containers
            .chain(sidecars)
            .flat_map(|container| container.list("ports"))
            .find(|one| one.text("name") == name && matches!(one.text("protocol"), other if other.is_empty() || other == protocol))
            .and_then(|one| one.int("containerPort"));
    }
    target.as_i64().filter(|number| *number > 0).or_else(|| port.int("port"))
}
