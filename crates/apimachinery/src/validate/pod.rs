//! Pods, and the specs of templates.

use serde_json::{Value, json};

use super::metadata::labels;
use super::report::{Path, Report, list, some, text};
use super::{container, scheduling, volume};
use crate::names;

/// Longest deadline in seconds.
const LONGEST: i64 = 2_147_483_647;

pub(super) fn check(new: &Value, old: Option<&Value>, r: &mut Report) {
    let at = Path::Root("spec");
    spec(&at, &new["spec"], r);
    if let Some(old) = old {
        change(&at, &new["spec"], &old["spec"], r);
    }
}

pub(super) fn spec(at: &Path<'_>, spec: &Value, r: &mut Report) {
    let known = volume::check_all(&at.field("volumes"), list(spec, "volumes"), r);
    container::check_all(at, spec, &known, r);
    let policy = text(spec, "restartPolicy");
    r.choice(&at.field("restartPolicy"), policy, &["Always", "OnFailure", "Never"]);
    let dns = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    r.choice(&at.field("dnsPolicy"), text(spec, "dnsPolicy"), &dns);
    labels(&at.field("nodeSelector"), spec, "nodeSelector", r);
    scheduling::check(at, spec, r);
    for (field, rule) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> names::Wrong),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
    ] {
        let name = text(spec, field);
        if !name.is_empty() {
            r.name(&at.field(field), name, rule);
        }
    }
    if let Some(deadline) = some(spec, "activeDeadlineSeconds")
        && !deadline.as_i64().is_some_and(|seconds| (1..=LONGEST).contains(&seconds))
    {
        let why = format!("must be between 1 and {LONGEST}, inclusive");
        r.invalid(&at.field("activeDeadlineSeconds"), deadline, &why);
    }
    if let Some(grace) = some(spec, "terminationGracePeriodSeconds") {
        r.not_negative(&at.field("terminationGracePeriodSeconds"), grace);
    }
}

/// A pod's spec stays as it is, but for images, a deadline that comes closer, and further tolerations.
fn change(at: &Path<'_>, new: &Value, old: &Value, r: &mut Report) {
    for field in ["containers", "initContainers"] {
        if list(new, field).len() != list(old, field).len() {
            let why = "pod updates may not add or remove containers";
            return r.forbidden(&at.field(field), why);
        }
    }
    let (later, before) = (some(new, "activeDeadlineSeconds"), some(old, "activeDeadlineSeconds"));
    let at_deadline = at.field("activeDeadlineSeconds");
    match (later, before) {
        (None, Some(_)) => {
            return r.invalid(
                &at_deadline,
                &Value::Null,
                "must not update from a positive integer to nil value",
            );
        }
        (Some(later), Some(before)) if later.as_i64() > before.as_i64() => {
            return r.invalid(&at_deadline, later, "must be less than or equal to previous value");
        }
        _ => {}
    }
    let more = list(new, "tolerations");
    let kept = list(old, "tolerations")
        .iter()
        .all(|one| more.iter().any(|other| same_toleration(one, other)));
    let gates = |spec: &Value| -> Vec<Value> { list(spec, "schedulingGates").to_vec() };
    let fewer = gates(new).iter().all(|gate| gates(old).contains(gate));
    let mut fixed = new.clone();
    fixed["activeDeadlineSeconds"] = old["activeDeadlineSeconds"].clone();
    if kept {
        fixed["tolerations"] = old["tolerations"].clone();
    }
    if fewer {
        fixed["schedulingGates"] = old["schedulingGates"].clone();
    }
    for field in ["containers", "initContainers"] {
        for (i, one) in list(old, field).iter().enumerate() {
            fixed[field][i]["image"] = one["image"].clone();
        }
    }
    if strip(&fixed) != strip(old) {
        r.forbidden(at, "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)");
    }
}

/// The same toleration, maybe of another time.
fn same_toleration(one: &Value, two: &Value) -> bool {
    ["key", "operator", "value", "effect"].iter().all(|field| text(one, field) == text(two, field))
}

/// Without nulls of the first level and of containers: absent fields that were copied.
fn strip(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        map.retain(|_, value| !value.is_null());
        for field in ["containers", "initContainers"] {
            for one in map.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(map) = one.as_object_mut() {
                    map.retain(|_, value| !value.is_null());
                }
            }
        }
        if map.get("tolerations") == Some(&json!([])) {
            map.remove("tolerations");
        }
    }
    spec
}
