//! HorizontalPodAutoscaler v2.

use serde_json::{Value, json};

use super::{lacks, put, there};

pub(super) fn autoscaler(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    put(spec, "minReplicas", 1);
    if lacks(spec, "metrics") {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        spec["metrics"] =
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    }
    let Some(behavior) = there(spec, "behavior") else { return };
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    put(behavior, "scaleUp", json!({}));
    put(behavior, "scaleDown", json!({}));
    put(&mut behavior["scaleUp"], "stabilizationWindowSeconds", 0);
    for (rules, policies) in [("scaleUp", json!([pods, all])), ("scaleDown", json!([all]))] {
        let rules = &mut behavior[rules];
        put(rules, "selectPolicy", "Max");
        if lacks(rules, "policies") {
            rules["policies"] = policies;
        }
    }
}
