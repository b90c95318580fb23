//! What a node itself must satisfy: selectors, affinity, taints.

use apimachinery::selector::{Requirement, has_all};
use serde_json::{Map, Value, json};

use super::snapshot::{NodeInfo, PodInfo};
use crate::fields::Fields;

/// The taint that a cordoned node stands for.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// `nodeSelector` and the required terms of node affinity.
pub(crate) fn selects(spec: &Value, node: &NodeInfo) -> bool {
    if !has_all(spec.map("nodeSelector"), &node.labels) {
        return false;
    }
    let required = spec.at("affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    !required.is_object()
        || required.list("nodeSelectorTerms").iter().any(|term| matches_term(term, node))
}

/// One term: all its expressions hold. A term without any matches nothing.
pub(crate) fn matches_term(term: &Value, node: &NodeInfo) -> bool {
    let (labels, fields) = (term.list("matchExpressions"), term.list("matchFields"));
    let name: Map<String, Value> =
        [("metadata.name".to_owned(), json!(node.name))].into_iter().collect();
    (!labels.is_empty() || !fields.is_empty())
        && labels.iter().all(|one| holds(one, &node.labels))
        && fields.iter().all(|one| holds(one, &name))
}

fn holds(expression: &Value, labels: &Map<String, Value>) -> bool {
    Requirement::from_json(expression).is_some_and(|one| one.holds(labels))
}

/// Whether a pod tolerates a taint.
pub(crate) fn tolerates(tolerations: &[Value], taint: &Value) -> bool {
    tolerations.iter().any(|one| tolerates_by(one, taint))
}

/// Whether one toleration covers a taint.
pub(crate) fn tolerates_by(toleration: &Value, taint: &Value) -> bool {
    let (effect, key) = (toleration.text("effect"), toleration.text("key"));
    (effect.is_empty() || effect == taint.text("effect"))
        && (key.is_empty() || key == taint.text("key"))
        && match toleration.text("operator") {
            "Exists" => true,
            _ => !key.is_empty() && toleration.text("value") == taint.text("value"),
        }
}

/// A cordoned node takes only pods that tolerate that.
pub(crate) fn is_closed_to(pod: &PodInfo, node: &NodeInfo) -> bool {
    let taint = json!({"key": UNSCHEDULABLE, "effect": "NoSchedule"});
    node.unschedulable && !tolerates(pod.spec.list("tolerations"), &taint)
}

/// A taint that keeps a pod away.
pub(crate) fn has_untolerated(spec: &Value, taints: &[Value]) -> bool {
    let hard = |taint: &&Value| matches!(taint.text("effect"), "NoSchedule" | "NoExecute");
    taints.iter().filter(hard).any(|taint| !tolerates(spec.list("tolerations"), taint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_cover_taints_by_key_value_and_effect() {
        let taint = json!({"key": "spot", "value": "true", "effect": "NoSchedule"});
        let by = |toleration: Value| tolerates_by(&toleration, &taint);
        assert!(by(json!({"key": "spot", "operator": "Exists"})));
        assert!(by(json!({"key": "spot", "value": "true", "effect": "NoSchedule"})));
        assert!(by(json!({"operator": "Exists"})));
        assert!(!by(json!({"key": "spot", "value": "false"})));
        assert!(!by(json!({"key": "spot", "operator": "Exists", "effect": "NoExecute"})));
    }

    #[test]
    fn a_term_without_expressions_matches_nothing() {
        let node = NodeInfo { name: "a".into(), ..NodeInfo::default() };
        assert!(!matches_term(&json!({}), &node));
        let by_name =
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]});
        assert!(matches_term(&by_name, &node));
    }
}
