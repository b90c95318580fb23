//! Names, labels, annotations, owners, finalizers.

use serde_json::Value;

use super::report::{Path, Report, entries, list, text};
use crate::{Kind, Meta, names};

/// Bytes of all annotations.
const ANNOTATIONS: usize = 256 * 1024;

/// Finalizers that need no domain.
const FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];

pub(super) fn check(kind: &Kind, new: &Value, old: Option<&Value>, r: &mut Report) {
    let at = Path::Root("metadata");
    let metadata = &new["metadata"];
    match old {
        None => name(kind, new, &at, r),
        Some(old) => {
            for field in ["name", "namespace"] {
                if text(&old["metadata"], field) != text(metadata, field) {
                    r.invalid_text(&at.field(field), text(metadata, field), "field is immutable");
                }
            }
        }
    }
    labels(&at.field("labels"), metadata, "labels", r);
    let annotations = at.field("annotations");
    let mut size = 0;
    for (key, value) in entries(metadata, "annotations") {
        size += key.len() + value.as_str().unwrap_or("").len();
        for why in names::qualified_name(&key.to_lowercase()) {
            r.invalid_text(&annotations, key, &why);
        }
    }
    if size > ANNOTATIONS {
        r.too_long(&annotations, ANNOTATIONS);
    }
    owners(&at.field("ownerReferences"), list(metadata, "ownerReferences"), r);
    finalizers(new, old, &at.field("finalizers"), r);
}

/// Labels of a map by their rules.
pub(super) fn labels(at: &Path<'_>, holder: &Value, field: &str, r: &mut Report) {
    for (key, value) in entries(holder, field) {
        r.name(at, key, names::qualified_name);
        r.name(at, value.as_str().unwrap_or(""), names::label_value);
    }
}

fn name(kind: &Kind, new: &Value, at: &Path<'_>, r: &mut Report) {
    let rule: fn(&str) -> names::Wrong = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => names::dns_label,
        ("", "Service") => names::dns_1035_label,
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        _ => names::dns_subdomain,
    };
    let own = new.name();
    if own.is_empty() {
        r.required(&at.field("name"), "name or generateName is required");
    } else {
        r.name(&at.field("name"), own, rule);
    }
}

fn owners(at: &Path<'_>, owners: &[Value], r: &mut Report) {
    let mut first = None;
    for owner in owners {
        if text(owner, "apiVersion").is_empty() {
            r.invalid_text(&at.field("apiVersion"), "", "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if text(owner, field).is_empty() {
                r.invalid_text(&at.field(field), "", "must not be empty");
            }
        }
        if owner["controller"] == true {
            let this = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            if let Some(first) = &first {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                r.invalid(at, &Value::Array(owners.to_vec()), &why);
            } else {
                first = Some(this);
            }
        }
    }
}

fn finalizers(new: &Value, old: Option<&Value>, at: &Path<'_>, r: &mut Report) {
    for one in new.finalizers() {
        r.name(at, one, names::qualified_name);
    }
    if old.is_none() {
        for (i, one) in new.finalizers().enumerate() {
            if !one.contains('/') && !FINALIZERS.contains(&one)
                || !names::qualified_name(one).is_empty()
            {
                let why = "name is neither a standard finalizer name nor is it fully qualified";
                r.invalid_text(&at.index(i), one, why);
            }
        }
    }
    if let Some(old) = old.filter(|old| old.is_terminating()) {
        let known: Vec<&str> = old.finalizers().collect();
        let mut extra: Vec<&str> = new.finalizers().filter(|one| !known.contains(one)).collect();
        extra.sort_unstable();
        if !extra.is_empty() {
            let extra: Vec<String> = extra.iter().map(|one| format!("{one:?}")).collect();
            let extra = extra.join(", ");
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{extra}}}"
            );
            r.forbidden(at, &why);
        }
    }
}
