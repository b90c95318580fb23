//! Claims of volumes.

use serde_json::Value;

use super::report::{Path, Report, list, text};
use crate::quantity::Quantity;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub(super) fn claim(new: &Value, old: Option<&Value>, r: &mut Report) {
    let at = Path::Root("spec");
    claim_spec(&at, &new["spec"], r);
    let Some(old) = old else { return };
    let (new, old) = (&new["spec"], &old["spec"]);
    // What binds a claim may set the volume's name and the class once.
    let bound = !text(old, "volumeName").is_empty();
    let fixed = |spec: &Value| {
        let mut rest = spec.as_object().cloned().unwrap_or_default();
        rest.remove("volumeAttributesClassName");
        if text(old, "volumeName").is_empty() {
            rest.remove("volumeName");
        }
        if old.get("storageClassName").is_none() {
            rest.remove("storageClassName");
        }
        if bound {
            rest.remove("resources");
        }
        rest
    };
    if fixed(new) != fixed(old) {
        r.forbidden(&at, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
    } else if bound {
        let size = |spec: &Value| {
            spec["resources"]["requests"]["storage"].as_str()?.parse::<Quantity>().ok()
        };
        if size(new) < size(old) {
            let requests = at.field("resources");
            r.forbidden(
                &requests.field("requests").field("storage"),
                "field can not be less than status.capacity",
            );
        }
    }
}

pub(super) fn claim_spec(at: &Path<'_>, spec: &Value, r: &mut Report) {
    let modes = list(spec, "accessModes");
    if modes.is_empty() {
        r.required(&at.field("accessModes"), "at least 1 access mode is required");
    }
    for mode in modes.iter().filter_map(Value::as_str).filter(|mode| !MODES.contains(mode)) {
        r.unsupported(&at.field("accessModes"), mode, MODES);
    }
    let resources = at.field("resources");
    let storage = resources.key("storage");
    match spec["resources"]["requests"]["storage"].as_str() {
        None => r.required(&storage, ""),
        Some(amount) => {
            let read: Option<Quantity> = amount.parse().ok();
            if read.is_none_or(|read| read.is_negative() || read.is_zero()) {
                r.invalid_text(&storage, amount, "must be greater than zero");
            }
        }
    }
}
