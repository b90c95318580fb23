//! HorizontalPodAutoscaler v2.

use serde_json::Value;

use super::report::{Path, Report, list, some, text};
use crate::quantity::Quantity;

/// Longest window of the past that is looked at.
const LONGEST_WINDOW: i64 = 3600;
/// Longest period of a policy.
const LONGEST_PERIOD: i64 = 1800;

pub(super) fn check(new: &Value, r: &mut Report) {
    let spec = &new["spec"];
    let at = Path::Root("spec");
    let (least, most) = (spec["minReplicas"].as_i64().unwrap_or(1), &spec["maxReplicas"]);
    if least < 1 {
        r.invalid(
            &at.field("minReplicas"),
            &spec["minReplicas"],
            "must be greater than or equal to 1",
        );
    }
    let number = most.as_i64().unwrap_or(0);
    if number < 1 {
        r.invalid(&at.field("maxReplicas"), most, "must be greater than 0");
    }
    if number < least {
        r.invalid(&at.field("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }
    let target = &spec["scaleTargetRef"];
    let at_target = at.field("scaleTargetRef");
    for field in ["kind", "name"] {
        if text(target, field).is_empty() {
            r.required(&at_target.field(field), "");
        }
    }
    let version = text(target, "apiVersion");
    if !version.contains('/') {
        let why = "apiVersion must specify API group";
        if version != "v1" || text(target, "kind") != "ReplicationController" {
            r.invalid_text(&at_target.field("apiVersion"), version, why);
        }
    }
    let metrics = at.field("metrics");
    for (i, metric) in list(spec, "metrics").iter().enumerate() {
        check_metric(&metrics.index(i), metric, r);
    }
    let external = |one: &Value| matches!(text(one, "type"), "Object" | "External");
    if least == 0 && !list(spec, "metrics").iter().any(external) {
        r.forbidden(&metrics, "must specify at least one Object or External metric to support scaling to zero replicas");
    }
    let behavior = at.field("behavior");
    for name in ["scaleUp", "scaleDown"] {
        if let Some(rules) = some(&spec["behavior"], name) {
            check_rules(&behavior.field(name), rules, r);
        }
    }
}

fn check_metric(at: &Path<'_>, metric: &Value, r: &mut Report) {
    let kinds = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    let kind = text(metric, "type");
    if !kinds.contains(&kind) {
        // Two layers of the real server say so.
        r.choice(&at.field("type"), kind, &kinds);
        return r.choice(&at.field("type"), kind, &kinds);
    }
    let name = match kind {
        "ContainerResource" => "containerResource",
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        _ => "resource",
    };
    let at = at.field(name);
    let Some(source) = some(metric, name) else {
        return r.required(&at, "must populate information for the given metric source");
    };
    let target = &source["target"];
    let at_target = at.field("target");
    let positive = |field: &str| {
        let amount = some(target, field)?.as_str()?.parse::<Quantity>().ok()?;
        Some(!amount.is_negative() && !amount.is_zero())
    };
    if kind == "Resource" || kind == "ContainerResource" {
        if text(source, "name").is_empty() {
            r.required(&at.field("name"), "must specify a resource name");
        }
        let utilization = some(target, "averageUtilization");
        if utilization.is_none() && some(target, "averageValue").is_none() {
            let why = "must set either a target raw value or a target utilization";
            r.required(&at_target.field("averageUtilization"), why);
        }
        if let Some(value) =
            utilization.filter(|value| value.as_i64().is_some_and(|value| value < 1))
        {
            r.invalid(&at_target.field("averageUtilization"), value, "must be greater than 0");
        }
        return;
    }
    if text(&source["metric"], "name").is_empty() {
        let at = at.field("metric");
        r.required(&at.field("name"), "must specify a metric name");
    }
    let average = positive("averageValue");
    match kind {
        "Pods" if average != Some(true) => {
            r.required(
                &at_target.field("averageValue"),
                "must specify a positive target averageValue",
            );
        }
        "Object" | "External" if average.is_none() && positive("value").is_none() => {
            r.required(
                &at_target.field("averageValue"),
                "must set either a target value for metric or a per-pod target",
            );
        }
        _ => {}
    }
}

fn check_rules(at: &Path<'_>, rules: &Value, r: &mut Report) {
    if let Some(window) = some(rules, "stabilizationWindowSeconds") {
        let field = at.field("stabilizationWindowSeconds");
        r.not_negative(&field, window);
        if window.as_i64().is_some_and(|window| window > LONGEST_WINDOW) {
            r.invalid(&field, window, &format!("must be less than or equal to {LONGEST_WINDOW}"));
        }
    }
    if some(rules, "selectPolicy").is_some() {
        r.choice(
            &at.field("selectPolicy"),
            text(rules, "selectPolicy"),
            &["Disabled", "Max", "Min"],
        );
    }
    let policies = at.field("policies");
    if list(rules, "policies").is_empty() {
        r.required(&policies, "must specify at least one Policy");
    }
    for (i, policy) in list(rules, "policies").iter().enumerate() {
        let at = policies.index(i);
        r.choice(&at.field("type"), text(policy, "type"), &["Percent", "Pods"]);
        for name in ["value", "periodSeconds"] {
            if policy[name].as_i64().is_none_or(|number| number <= 0) {
                r.invalid(&at.field(name), &policy[name], "must be greater than zero");
            }
        }
        if policy["periodSeconds"].as_i64().is_some_and(|period| period > LONGEST_PERIOD) {
            let why = format!("must be less than or equal to {LONGEST_PERIOD}");
            r.invalid(&at.field("periodSeconds"), &policy["periodSeconds"], &why);
        }
    }
}
