//! Label selectors as objects carry them: `matchLabels` and `matchExpressions`.

use serde_json::{Map, Value};

use crate::fields::Fields;

/// Whether labels satisfy a `LabelSelector`. A missing selector matches nothing, an empty one everything.
pub(crate) fn matches(selector: &Value, labels: &Map<String, Value>) -> bool {
    selector.is_object()
        && has_all(selector.map("matchLabels"), labels)
        && selector.list("matchExpressions").iter().all(|one| expression(one, labels))
}

/// Whether a selector says nothing, and so would match everything.
pub(crate) fn is_empty(selector: &Value) -> bool {
    selector.map("matchLabels").is_empty() && selector.list("matchExpressions").is_empty()
}

/// Whether labels hold each of the pairs wanted.
pub(crate) fn has_all(wanted: &Map<String, Value>, labels: &Map<String, Value>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// One requirement: of a label selector, or of a node selector, which also compares numbers.
pub(crate) fn expression(requirement: &Value, labels: &Map<String, Value>) -> bool {
    let value = labels.get(requirement.text("key")).and_then(Value::as_str);
    let values = requirement.list("values");
    let listed = |value: &str| values.iter().any(|one| one == value);
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = || values.first().and_then(Value::as_str).and_then(number);
    match requirement.text("operator") {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(bound()).is_some_and(|(is, bound)| is > bound),
        "Lt" => value.and_then(number).zip(bound()).is_some_and(|(is, bound)| is < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_and_expressions_must_all_hold() {
        let labels = json!({"app": "engine", "gpus": "8"});
        let labels = labels.as_object().unwrap();
        let holds = |selector: Value| matches(&selector, labels);
        assert!(holds(json!({"matchLabels": {"app": "engine"}})));
        assert!(!holds(json!({"matchLabels": {"app": "router"}})));
        let term = |operator: &str, values: Value| {
            holds(
                json!({"matchExpressions": [{"key": "gpus", "operator": operator, "values": values}]}),
            )
        };
        assert!(term("In", json!(["4", "8"])) && !term("NotIn", json!(["8"])));
        assert!(term("Exists", json!([])) && !term("DoesNotExist", json!([])));
        assert!(term("Gt", json!(["4"])) && !term("Lt", json!(["8"])));
        assert!(holds(json!({})) && !holds(Value::Null));
    }
}
