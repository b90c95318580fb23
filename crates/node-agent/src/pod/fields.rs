//! The downward API: a pod's own fields and resources, as text.

use apimachinery::Meta;
use apimachinery::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, ResourceFieldSelector};
use serde_json::Value;

/// What a pod cannot read of itself from its object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// The address that its programs bind.
    pub(crate) bind: String,
    /// Its node's address.
    pub(crate) host_ip: String,
    /// CPUs and bytes that the node has: the limit of a container without one.
    pub(crate) cpu_milli: i64,
    /// Bytes.
    pub(crate) memory: i64,
}

/// `fieldRef`. `None`: no such field.
pub(crate) fn field(path: &str, pod: &Value, place: &Place) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    Some(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => map(&pod["metadata"]["labels"]),
        "metadata.annotations" => map(&pod["metadata"]["annotations"]),
        "spec.nodeName" => text(&pod["spec"]["nodeName"]),
        "spec.serviceAccountName" => text(&pod["spec"]["serviceAccountName"]),
        // Inside the pod its address is the one to bind; the relay in front has the advertised one.
        "status.podIP" | "status.podIPs" => place.bind.clone(),
        "status.hostIP" | "status.hostIPs" => place.host_ip.clone(),
        _ => {
            let entry =
                |start: &str| path.strip_prefix(start)?.strip_prefix("['")?.strip_suffix("']");
            if let Some(key) = entry("metadata.labels") {
                pod.label(key).unwrap_or("").to_owned()
            } else {
                let key = entry("metadata.annotations")?;
                pod.annotation(key).unwrap_or("").to_owned()
            }
        }
    })
}

/// Labels as a downward API volume shows them: `key="value"`, a line each.
fn map(value: &Value) -> String {
    let lines = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={:?}", value.as_str().unwrap_or("")));
    lines.collect::<Vec<_>>().join("\n")
}

/// `resourceFieldRef` of a container. `None`: no such resource.
pub(crate) fn resource(
    selector: &ResourceFieldSelector,
    container: &Container,
    place: &Place,
) -> Option<String> {
    let (which, name) = selector.resource.split_once('.')?;
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|all| all.limits.as_ref());
    let requests = resources.and_then(|all| all.requests.as_ref());
    let limit = limits.and_then(|all| all.get(name));
    let given = match which {
        "limits" => limit,
        "requests" => requests.and_then(|all| all.get(name)).or(limit),
        _ => return None,
    };
    let given = match (given, which, name) {
        (Some(quantity), ..) => milli(&quantity.0)?,
        (None, "limits", "cpu") => place.cpu_milli,
        (None, "limits", "memory") => place.memory.saturating_mul(1000),
        (None, _, "cpu" | "memory" | "ephemeral-storage") => 0,
        _ => return None,
    };
    let divisor = selector.divisor.as_ref().map(|quantity| quantity.0.as_str());
    let divisor = divisor.and_then(milli).filter(|milli| *milli > 0).unwrap_or(1000);
    Some((given.div_euclid(divisor) + i64::from(given.rem_euclid(divisor) != 0)).to_string())
}

fn milli(text: &str) -> Option<i64> {
    text.parse().ok().map(Quantity::milli)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_reads_its_own_fields() {
        let pod = json!({
            "metadata": {"name": "a", "labels": {"app": "x", "tier": "1"}},
            "spec": {"nodeName": "n"},
        });
        let place = Place { bind: "127.65.0.2".into(), ..Place::default() };
        let read = |path| field(path, &pod, &place);
        assert_eq!(read("metadata.labels['app']").as_deref(), Some("x"));
        assert_eq!(read("metadata.labels").as_deref(), Some("app=\"x\"\ntier=\"1\""));
        assert_eq!(read("status.podIP").as_deref(), Some("127.65.0.2"));
        assert_eq!(read("spec.nodeName").as_deref(), Some("n"));
        assert_eq!(read("spec.containers"), None);
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let container: Container = serde_json::from_value(json!({
            "name": "main",
            "resources": {"limits": {"cpu": "1500m", "memory": "100Mi"}},
        }))
        .unwrap();
        let place = Place { memory: 1 << 30, ..Place::default() };
        let read = |resource: &str, divisor: &str| {
            let selector =
                serde_json::from_value(json!({"resource": resource, "divisor": divisor}));
            super::resource(&selector.unwrap(), &container, &place)
        };
        assert_eq!(read("limits.cpu", "0").as_deref(), Some("2"));
        assert_eq!(read("limits.cpu", "1m").as_deref(), Some("1500"));
        assert_eq!(read("requests.memory", "1Mi").as_deref(), Some("100"));
        assert_eq!(read("limits.nvidia.com/gpu", "1"), None);
    }
}
