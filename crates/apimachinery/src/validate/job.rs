//! Jobs.

use serde_json::Value;

use super::report::{Path, Report, some, text};
use super::workload;
use crate::Meta;
use crate::selector::LabelSelector;

/// The label by which a job knows its pods.
const OWN: &str = "batch.kubernetes.io/controller-uid";

pub(super) fn check(new: &Value, old: Option<&Value>, r: &mut Report) {
    let spec = &new["spec"];
    let at = Path::Root("spec");
    if old.is_none() && spec["manualSelector"] != true {
        selector(new, &at, r);
    }
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        if let Some(value) = some(spec, name) {
            r.not_negative(&at.field(name), value);
        }
    }
    let mode = text(spec, "completionMode");
    let modes = ["Indexed", "NonIndexed"];
    if !modes.contains(&mode) {
        r.choice(&at.field("completionMode"), mode, &modes);
    }
    if mode == "Indexed" && some(spec, "completions").is_none() {
        r.required(&at.field("completions"), "when completion mode is Indexed");
    }
    workload::of_job(spec, r);
    let policy = text(&spec["template"]["spec"], "restartPolicy");
    if policy == "Always" {
        let field = Path::Root("spec.template.spec.restartPolicy");
        r.required(&field, "valid values: \"OnFailure\", \"Never\"");
    }
    if let Some(old) = old {
        immutable(new, old, &at, r);
    }
}

fn selector(new: &Value, at: &Path<'_>, r: &mut Report) {
    let selector = &new["spec"]["selector"];
    let expected = serde_json::json!({"matchLabels": {OWN: new.uid()}});
    if *selector != expected {
        r.invalid(&at.field("selector"), selector, "`selector` not auto-generated");
    }
}

fn immutable(new: &Value, old: &Value, at: &Path<'_>, r: &mut Report) {
    let (new, old) = (&new["spec"], &old["spec"]);
    let none = Value::Null;
    let indexed = text(old, "completionMode") == "Indexed";
    // An indexed job may grow and shrink by both numbers at once.
    let elastic = indexed
        && new["completions"] == new["parallelism"]
        && old["completions"] == old["parallelism"];
    for name in [
        "completions",
        "selector",
        "template",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
    ] {
        let (one, two) = (new.get(name).unwrap_or(&none), old.get(name).unwrap_or(&none));
        let suspended = name == "template" && old["suspend"] == true;
        if one != two && !(name == "completions" && elastic) && !suspended {
            r.invalid(&at.field(name), one, "field is immutable");
        }
    }
    let own = &new["template"]["metadata"]["labels"];
    if !LabelSelector::from_json(&new["selector"]).matches_labels(own) {
        let why = "`selector` does not match template `labels`";
        r.invalid(&Path::Root("spec.template.metadata.labels"), own, why);
    }
}
