//! Volumes of a pod.

use serde_json::Value;

use super::report::{Path, Report, some, text};
use crate::names;

/// All volumes; returns the names that containers may mount.
pub(super) fn check_all<'a>(at: &Path<'_>, volumes: &'a [Value], r: &mut Report) -> Vec<&'a str> {
    let mut known: Vec<&str> = Vec::new();
    for (i, volume) in volumes.iter().enumerate() {
        let at = at.index(i);
        let before = r.causes.len();
        source(&at, volume, r);
        let name = text(volume, "name");
        if name.is_empty() {
            r.required(&at.field("name"), "");
        } else {
            r.name(&at.field("name"), name, names::dns_label);
            if known.contains(&name) {
                r.duplicate(&at.field("name"), &volume["name"]);
            }
        }
        if r.causes.len() == before {
            known.push(name);
        }
    }
    known
}

fn source(at: &Path<'_>, volume: &Value, r: &mut Report) {
    let mut sources = volume.as_object().into_iter().flatten().filter(|(name, _)| *name != "name");
    // Kubernetes looks at them in an order of its own; the first stands, the others are forbidden.
    let order = [
        "emptyDir",
        "hostPath",
        "secret",
        "persistentVolumeClaim",
        "configMap",
        "downwardAPI",
        "projected",
    ];
    let present: Vec<&str> =
        order.into_iter().filter(|name| some(volume, name).is_some()).collect();
    for (i, name) in present.iter().enumerate() {
        let at = at.field(name);
        if i > 0 {
            r.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        let (field, inner) = match *name {
            "configMap" => ("name", &volume[*name]),
            "secret" => ("secretName", &volume[*name]),
            "persistentVolumeClaim" => ("claimName", &volume[*name]),
            "hostPath" => ("path", &volume[*name]),
            _ => continue,
        };
        if text(inner, field).is_empty() {
            r.required(&at.field(field), "");
        }
    }
    if present.is_empty() && sources.next().is_none() {
        r.required(at, "must specify a volume type");
    }
}
