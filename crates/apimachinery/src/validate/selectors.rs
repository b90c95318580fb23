//! Label selectors inside objects.

use serde_json::Value;

use super::metadata::labels;
use super::report::{Path, Report, list, text};
use crate::names;
use crate::selector::LabelSelector;

pub(super) fn check(at: &Path<'_>, selector: &Value, r: &mut Report) {
    labels(&at.field("matchLabels"), selector, "matchLabels", r);
    let at = at.field("matchExpressions");
    for (i, one) in list(selector, "matchExpressions").iter().enumerate() {
        let at = at.index(i);
        let values = list(one, "values");
        match text(one, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                r.required(
                    &at.field("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                );
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                r.forbidden(&at.field("values"), why);
            }
            "Exists" | "DoesNotExist" => {}
            other => r.invalid_text(&at.field("operator"), other, "not a valid selector operator"),
        }
        r.name(&at.field("key"), text(one, "key"), names::qualified_name);
        for (i, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            for why in names::label_value(value) {
                r.invalid_text(&at.field("values").index(i), value, &why);
            }
        }
    }
}

/// The selector of a workload: it selects something, and its own template.
pub(super) fn of_workload(spec: &Value, empty: &str, r: &mut Report) {
    let root = Path::Root("spec");
    let at = root.field("selector");
    let template = root.field("template");
    let metadata = template.field("metadata");
    let at_labels = metadata.field("labels");
    let selector = spec.get("selector").filter(|selector| selector.is_object());
    let before = r.causes.len();
    match selector {
        None => r.required(&at, ""),
        Some(selector) => {
            check(&at, selector, r);
            if LabelSelector::from_json(selector).is_everything() {
                let why = format!("empty selector is invalid for {empty}");
                r.invalid(&at, selector, &why);
            }
        }
    }
    let own = spec["template"]["metadata"].get("labels").unwrap_or(&Value::Null);
    match selector {
        Some(selector) if r.causes.len() > before => {
            if !LabelSelector::from_json(selector).is_everything() {
                r.invalid(&at, selector, "invalid label selector");
            }
        }
        None => r.invalid(&at_labels, own, "`selector` does not match template `labels`"),
        Some(selector) => {
            if !LabelSelector::from_json(selector).matches_labels(own) {
                r.invalid(&at_labels, own, "`selector` does not match template `labels`");
            }
        }
    }
}
