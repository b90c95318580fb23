//! `autoscaling/v1` `HorizontalPodAutoscaler`: the older form, which `kubectl autoscale` sends. It is stored as `v2`.

use std::sync::Arc;

use apimachinery::{Kind, Kinds};
use serde_json::{Map, Value, json};

/// The group.
const GROUP: &str = "autoscaling";
/// The version that is stored.
const STORED: &str = "autoscaling/v2";
/// The older version.
const OLDER: &str = "autoscaling/v1";
/// The plural.
const PLURAL: &str = "horizontalpodautoscalers";
/// The one target that the older form knows.
const TARGET: &str = "targetCPUUtilizationPercentage";

/// The older kind, for a path that names it.
pub(crate) fn kind(kinds: &Kinds, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
    if (group, version, plural) != (GROUP, "v1", PLURAL) {
        return None;
    }
    let stored = kinds.at(GROUP, "v2", PLURAL)?;
    Some(Arc::new(Kind { version: "v1".to_owned(), ..Kind::clone(stored) }))
}

/// Whether a kind is the older one.
pub(crate) fn is(kind: &Kind) -> bool {
    kind.group == GROUP && kind.version == "v1" && kind.plural == PLURAL
}

/// An older object as the one that is stored.
pub(crate) fn to_stored(object: &mut Value) {
    object["apiVersion"] = json!(STORED);
    let Some(spec) = object["spec"].as_object_mut() else { return };
    if let Some(percent) = spec.remove(TARGET).filter(|percent| !percent.is_null()) {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        spec.insert("metrics".to_owned(), json!([metric]));
    }
    // Status is the controller's, which speaks the newer form.
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
}

/// A stored object in the older form. Other metrics than the CPU's have no place there.
pub(crate) fn from_stored(object: &Value) -> Value {
    let mut older = object.clone();
    older["apiVersion"] = json!(OLDER);
    let cpu = |metrics: &Value, path: &[&str]| -> Option<Value> {
        let found = metrics.as_array()?.iter().find(|one| one["resource"]["name"] == "cpu")?;
        let value = path.iter().fold(&found["resource"], |value, name| &value[*name]);
        Some(value.clone()).filter(|value| !value.is_null())
    };
    let mut set = |part: &str, field: &str, metrics: &str, path: &[&str]| {
        let Some(map) = part_of(&mut older, part) else { return };
        let metrics = map.remove(metrics).unwrap_or(Value::Null);
        if let Some(value) = cpu(&metrics, path) {
            map.insert(field.to_owned(), value);
        }
    };
    set("spec", TARGET, "metrics", &["target", "averageUtilization"]);
    set(
        "status",
        "currentCPUUtilizationPercentage",
        "currentMetrics",
        &["current", "averageUtilization"],
    );
    for (part, field) in [("spec", "behavior"), ("status", "conditions")] {
        if let Some(map) = part_of(&mut older, part) {
            map.remove(field);
        }
    }
    older
}

fn part_of<'a>(object: &'a mut Value, part: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(part).and_then(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_of_cpu_survives_both_ways() {
        let older = json!({
            "apiVersion": OLDER, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "minReplicas": 1, "targetCPUUtilizationPercentage": 80},
        });
        let mut stored = older.clone();
        to_stored(&mut stored);
        let target = &stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"];
        assert_eq!((target, &stored["apiVersion"]), (&json!(80), &json!(STORED)));
        assert_eq!(from_stored(&stored), older);
    }
}
