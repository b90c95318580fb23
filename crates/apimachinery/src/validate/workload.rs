//! Deployments, replica sets, stateful sets, daemon sets.

use serde_json::Value;

use super::pod;
use super::report::{Path, Report, list, some, text};
use super::selectors;

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// A number that is not negative, or a percentage of at most 100.
pub(super) fn amount(at: &Path<'_>, value: &Value, r: &mut Report) {
    match value.as_str() {
        None => r.not_negative(at, value),
        Some(text) => match percent(text) {
            None => r.invalid(at, value, PERCENT),
            Some(percent) if percent > 100 => r.invalid(at, value, "must not be greater than 100%"),
            Some(_) => {}
        },
    }
}

fn percent(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn is_none(value: Option<&Value>) -> bool {
    match value {
        None => true,
        Some(Value::String(text)) => percent(text) == Some(0),
        Some(number) => number.as_i64() == Some(0),
    }
}

fn template(spec: &Value, what: &str, r: &mut Report) {
    let root = Path::Root("spec");
    let at = root.field("template");
    let metadata = at.field("metadata");
    super::metadata::labels(&metadata.field("labels"), &spec["template"]["metadata"], "labels", r);
    let at = at.field("spec");
    let pod = &spec["template"]["spec"];
    pod::spec(&at, pod, r);
    if what.is_empty() {
        return;
    }
    let policy = text(pod, "restartPolicy");
    if policy != "Always" && ["OnFailure", "Never"].contains(&policy) {
        r.unsupported(&at.field("restartPolicy"), policy, &["Always"]);
    }
    if some(pod, "activeDeadlineSeconds").is_some() {
        let why = format!("activeDeadlineSeconds in {what} is not Supported");
        r.forbidden(&at.field("activeDeadlineSeconds"), &why);
    }
}

fn numbers(spec: &Value, names: &[&str], r: &mut Report) {
    let at = Path::Root("spec");
    for name in names {
        if let Some(value) = some(spec, name) {
            r.not_negative(&at.field(name), value);
        }
    }
}

fn same_selector(new: &Value, old: Option<&Value>, r: &mut Report) {
    if let Some(old) = old
        && old["spec"]["selector"] != new["spec"]["selector"]
    {
        r.invalid(&Path::Root("spec.selector"), &new["spec"]["selector"], "field is immutable");
    }
}

pub(super) fn deployment(new: &Value, old: Option<&Value>, r: &mut Report) {
    let spec = &new["spec"];
    numbers(spec, &["replicas"], r);
    selectors::of_workload(spec, "deployment", r);
    template(spec, "ReplicaSet", r);
    strategy(&spec["strategy"], r);
    numbers(spec, &["minReadySeconds", "revisionHistoryLimit"], r);
    if let Some(deadline) = some(spec, "progressDeadlineSeconds") {
        let at = Path::Root("spec.progressDeadlineSeconds");
        r.not_negative(&at, deadline);
        let ready = spec["minReadySeconds"].as_i64().unwrap_or(0);
        if deadline.as_i64().is_some_and(|deadline| deadline <= ready) {
            r.invalid(&at, deadline, "must be greater than minReadySeconds");
        }
    }
    same_selector(new, old, r);
}

fn strategy(strategy: &Value, r: &mut Report) {
    let at = Path::Root("spec.strategy");
    let rolling = some(strategy, "rollingUpdate");
    let at_rolling = at.field("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" => {
            if rolling.is_some() {
                let why = "may not be specified when strategy `type` is 'Recreate'";
                r.forbidden(&at_rolling, why);
            }
        }
        "RollingUpdate" => {
            let Some(rolling) = rolling else {
                return r.required(&at_rolling, "this should be defaulted and never be nil");
            };
            let (surge, unavailable) = (some(rolling, "maxSurge"), some(rolling, "maxUnavailable"));
            if let Some(unavailable) = unavailable {
                amount(&at_rolling.field("maxUnavailable"), unavailable, r);
            }
            if let Some(surge) = surge {
                // More than all again may be made at once.
                match surge.as_str() {
                    Some(text) if percent(text).is_some() => {}
                    _ => amount(&at_rolling.field("maxSurge"), surge, r),
                }
            }
            if is_none(surge) && is_none(unavailable) {
                let value = unavailable.unwrap_or(&Value::Null);
                r.invalid(
                    &at_rolling.field("maxUnavailable"),
                    value,
                    "may not be 0 when `maxSurge` is 0",
                );
            }
        }
        other => {
            let shown = format!("{{\"Type\":{other:?},\"RollingUpdate\":null}}");
            r.unsupported_value(&at, &shown, &["Recreate", "RollingUpdate"]);
        }
    }
}

pub(super) fn replica_set(new: &Value, old: Option<&Value>, r: &mut Report) {
    let spec = &new["spec"];
    numbers(spec, &["replicas", "minReadySeconds"], r);
    selectors::of_workload(spec, "deployment", r);
    template(spec, "ReplicaSet", r);
    same_selector(new, old, r);
}

/// Fields of a stateful set that may change.
const MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(super) fn stateful_set(new: &Value, old: Option<&Value>, r: &mut Report) {
    let spec = &new["spec"];
    let at = Path::Root("spec");
    match text(spec, "podManagementPolicy") {
        "OrderedReady" | "Parallel" => {}
        other => r.invalid_text(
            &at.field("podManagementPolicy"),
            other,
            "must be 'OrderedReady' or 'Parallel'",
        ),
    }
    let update = &spec["updateStrategy"];
    let at_update = at.field("updateStrategy");
    match text(update, "type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let at = at_update.field("rollingUpdate");
            r.not_negative(&at.field("partition"), &update["rollingUpdate"]["partition"]);
        }
        other => r.causes.push(crate::Cause {
            reason: "FieldValueInvalid".to_owned(),
            message: format!(
                "Invalid value: {{\"Type\":{other:?},\"RollingUpdate\":null}}: must be 'RollingUpdate' or 'OnDelete'"
            ),
            field: at_update.to_string(),
        }),
    }
    numbers(spec, &["replicas", "minReadySeconds"], r);
    selectors::of_workload(spec, "statefulset", r);
    template(spec, "StatefulSet", r);
    if let Some(old) = old {
        let fixed = |spec: &Value| {
            let mut rest = spec.as_object().cloned().unwrap_or_default();
            rest.retain(|name, _| !MUTABLE.contains(&name.as_str()));
            rest
        };
        if fixed(spec) != fixed(&old["spec"]) {
            r.forbidden(&at, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
        }
    }
    for claim in list(spec, "volumeClaimTemplates") {
        super::storage::claim_spec(&Path::Root("spec.volumeClaimTemplates"), &claim["spec"], r);
    }
}

pub(super) fn daemon_set(new: &Value, old: Option<&Value>, r: &mut Report) {
    let spec = &new["spec"];
    selectors::of_workload(spec, "daemonset", r);
    template(spec, "DaemonSet", r);
    numbers(spec, &["minReadySeconds", "revisionHistoryLimit"], r);
    let at = Path::Root("spec.updateStrategy");
    let update = &spec["updateStrategy"];
    match text(update, "type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let at = at.field("rollingUpdate");
            for name in ["maxUnavailable", "maxSurge"] {
                if let Some(value) = some(&update["rollingUpdate"], name) {
                    amount(&at.field(name), value, r);
                }
            }
        }
        other => {
            let shown = format!("{{\"Type\":{other:?},\"RollingUpdate\":null}}");
            r.unsupported_value(&at, &shown, &["RollingUpdate", "OnDelete"]);
        }
    }
    same_selector(new, old, r);
}

/// A template of a job, whose pods end.
pub(super) fn of_job(spec: &Value, r: &mut Report) {
    template(spec, "", r);
}
