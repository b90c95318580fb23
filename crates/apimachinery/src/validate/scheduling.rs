//! Where a pod may run: tolerations, affinity, spread.

use serde_json::Value;

use super::report::{Path, Report, list, some, text};
use super::selectors;
use crate::names;

/// Effects of a taint.
pub(super) const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn check(at: &Path<'_>, spec: &Value, r: &mut Report) {
    if let Some(affinity) = some(spec, "affinity") {
        let at = at.field("affinity");
        if let Some(node) = some(affinity, "nodeAffinity") {
            node_affinity(&at.field("nodeAffinity"), node, r);
        }
        for kind in ["podAffinity", "podAntiAffinity"] {
            if let Some(pods) = some(affinity, kind) {
                pod_affinity(&at.field(kind), pods, r);
            }
        }
    }
    tolerations(&at.field("tolerations"), list(spec, "tolerations"), r);
    let spread = at.field("topologySpreadConstraints");
    for (i, one) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let at = spread.index(i);
        if one["maxSkew"].as_i64().is_none_or(|skew| skew <= 0) {
            r.invalid(&at.field("maxSkew"), &one["maxSkew"], "must be greater than zero");
        }
        if text(one, "topologyKey").is_empty() {
            r.required(&at.field("topologyKey"), "can not be empty");
        }
        let ways = ["DoNotSchedule", "ScheduleAnyway"];
        r.choice(&at.field("whenUnsatisfiable"), text(one, "whenUnsatisfiable"), &ways);
        if let Some(selector) = some(one, "labelSelector") {
            selectors::check(&at.field("labelSelector"), selector, r);
        }
    }
}

fn tolerations(at: &Path<'_>, all: &[Value], r: &mut Report) {
    for (i, one) in all.iter().enumerate() {
        let at = at.index(i);
        let (key, operator, effect) =
            (text(one, "key"), text(one, "operator"), text(one, "effect"));
        if !key.is_empty() {
            r.name(&at.field("key"), key, names::qualified_name);
        }
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            r.invalid_text(&at.field("operator"), operator, why);
        }
        if some(one, "tolerationSeconds").is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            r.invalid_text(&at.field("effect"), effect, why);
        }
        match operator {
            "" | "Equal" => r.name(&at.field("operator"), text(one, "value"), names::label_value),
            "Exists" => {
                if !text(one, "value").is_empty() {
                    let why = "value must be empty when `operator` is 'Exists'";
                    r.invalid_text(&at.field("operator"), text(one, "value"), why);
                }
            }
            other => r.unsupported(&at.field("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            r.choice(&at.field("effect"), effect, EFFECTS);
        }
    }
}

fn weight(at: &Path<'_>, one: &Value, r: &mut Report) {
    if !one["weight"].as_i64().is_some_and(|weight| (1..=100).contains(&weight)) {
        r.invalid(&at.field("weight"), &one["weight"], "must be in the range 1-100");
    }
}

fn node_affinity(at: &Path<'_>, node: &Value, r: &mut Report) {
    if let Some(required) = some(node, REQUIRED) {
        let at = at.field(REQUIRED);
        let at = at.field("nodeSelectorTerms");
        let terms = list(required, "nodeSelectorTerms");
        if terms.is_empty() {
            r.required(&at, "must have at least one node selector term");
        }
        for (i, term) in terms.iter().enumerate() {
            node_term(&at.index(i), term, r);
        }
    }
    let at = at.field(PREFERRED);
    for (i, one) in list(node, PREFERRED).iter().enumerate() {
        let at = at.index(i);
        weight(&at, one, r);
        node_term(&at.field("preference"), &one["preference"], r);
    }
}

fn node_term(at: &Path<'_>, term: &Value, r: &mut Report) {
    let at = at.field("matchExpressions");
    for (i, one) in list(term, "matchExpressions").iter().enumerate() {
        let at = at.index(i);
        let values = list(one, "values").len();
        match text(one, "operator") {
            "In" | "NotIn" if values == 0 => {
                r.required(
                    &at.field("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                );
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                r.forbidden(&at.field("values"), why);
            }
            "Gt" | "Lt" if values != 1 => {
                r.required(
                    &at.field("values"),
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => r.invalid_text(&at.field("operator"), other, "not a valid selector operator"),
        }
        r.name(&at.field("key"), text(one, "key"), names::qualified_name);
    }
}

fn pod_affinity(at: &Path<'_>, pods: &Value, r: &mut Report) {
    let required = at.field(REQUIRED);
    for (i, term) in list(pods, REQUIRED).iter().enumerate() {
        pod_term(&required.index(i), term, r);
    }
    let preferred = at.field(PREFERRED);
    for (i, one) in list(pods, PREFERRED).iter().enumerate() {
        let at = preferred.index(i);
        weight(&at, one, r);
        pod_term(&at.field("podAffinityTerm"), &one["podAffinityTerm"], r);
    }
}

fn pod_term(at: &Path<'_>, term: &Value, r: &mut Report) {
    if let Some(selector) = some(term, "labelSelector") {
        selectors::check(&at.field("labelSelector"), selector, r);
    }
    let key = text(term, "topologyKey");
    if key.is_empty() {
        r.required(&at.field("topologyKey"), "can not be empty");
    }
    r.name(&at.field("topologyKey"), key, names::qualified_name);
}
