//! Containers.

use serde_json::{Value, json};

use super::probe;
use super::report::{Path, Report, entries, list, some, text};
use crate::names;
use crate::quantity::Quantity;

/// Resources that may be requested beyond what is there.
const ELASTIC: &[&str] = &["cpu", "memory", "ephemeral-storage"];
/// Fields of a pod that its environment may read.
const POD_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Resources of a container that its environment may read.
const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// All containers of a pod's spec, given the names of its volumes.
pub(super) fn check_all(at: &Path<'_>, spec: &Value, volumes: &[&str], r: &mut Report) {
    let containers = list(spec, "containers");
    let field = at.field("containers");
    if containers.is_empty() {
        r.required(&field, "");
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, one) in containers.iter().enumerate() {
        let at = field.index(i);
        check(&at, one, volumes, r);
        unique(&at, one, &mut seen, r);
        lifecycle(&at, one, r);
        for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
            if let Some(value) = some(one, name) {
                probe::check(&at.field(name), value, name, r);
            }
        }
    }
    let field = at.field("initContainers");
    for (i, one) in list(spec, "initContainers").iter().enumerate() {
        let at = field.index(i);
        check(&at, one, volumes, r);
        unique(&at, one, &mut seen, r);
        let sidecar = text(one, "restartPolicy") == "Always";
        if sidecar {
            lifecycle(&at, one, r);
        }
        for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            let Some(value) = some(one, name) else { continue };
            if !sidecar {
                let why = "may not be set for init containers without restartPolicy=Always";
                r.forbidden(&at.field(name), why);
            } else if name != "lifecycle" {
                probe::check(&at.field(name), value, name, r);
            }
        }
    }
}

fn unique<'a>(at: &Path<'_>, one: &'a Value, seen: &mut Vec<&'a str>, r: &mut Report) {
    let name = text(one, "name");
    if seen.contains(&name) && !name.is_empty() {
        r.duplicate(&at.field("name"), &one["name"]);
    }
    seen.push(name);
}

fn lifecycle(at: &Path<'_>, one: &Value, r: &mut Report) {
    let at = at.field("lifecycle");
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = some(&one["lifecycle"], hook) {
            probe::handler(&at.field(hook), handler, r);
        }
    }
}

fn check(at: &Path<'_>, one: &Value, volumes: &[&str], r: &mut Report) {
    let name = text(one, "name");
    if name.is_empty() {
        r.required(&at.field("name"), "");
    } else {
        r.name(&at.field("name"), name, names::dns_label);
    }
    let image = text(one, "image");
    if image.is_empty() {
        r.required(&at.field("image"), "");
    } else if image.trim() != image {
        r.invalid_text(&at.field("image"), image, "must not have leading or trailing whitespace");
    }
    let policies = ["File", "FallbackToLogsOnError"];
    r.choice(
        &at.field("terminationMessagePolicy"),
        text(one, "terminationMessagePolicy"),
        &policies,
    );
    ports(&at.field("ports"), list(one, "ports"), r);
    environment(&at.field("env"), list(one, "env"), r);
    mounts(&at.field("volumeMounts"), list(one, "volumeMounts"), volumes, r);
    let policies = ["Always", "IfNotPresent", "Never"];
    r.choice(&at.field("imagePullPolicy"), text(one, "imagePullPolicy"), &policies);
    resources(&at.field("resources"), &one["resources"], r);
}

fn ports(at: &Path<'_>, ports: &[Value], r: &mut Report) {
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            r.name(&at.field("name"), name, names::port_name);
            if ports[..i].iter().any(|one| text(one, "name") == name) {
                r.duplicate(&at.field("name"), &port["name"]);
            }
        }
        if port["containerPort"].as_i64().unwrap_or(0) == 0 {
            r.required(&at.field("containerPort"), "");
        } else {
            r.port(&at.field("containerPort"), &port["containerPort"]);
        }
        if let Some(host) = some(port, "hostPort") {
            r.port(&at.field("hostPort"), host);
        }
        r.choice(&at.field("protocol"), text(port, "protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

fn environment(at: &Path<'_>, variables: &[Value], r: &mut Report) {
    for (i, one) in variables.iter().enumerate() {
        let at = at.index(i);
        let name = text(one, "name");
        if name.is_empty() {
            r.required(&at.field("name"), "");
        } else {
            r.name(&at.field("name"), name, names::env_name);
        }
        let Some(source) = some(one, "valueFrom") else { continue };
        let at = at.field("valueFrom");
        let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];
        let count = kinds.iter().filter(|kind| some(source, kind).is_some()).count();
        if !text(one, "value").is_empty() {
            r.invalid_text(&at, "", "may not be specified when `value` is not empty");
        } else if count == 0 {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
            r.invalid_text(&at, "", why);
        } else if count > 1 {
            r.invalid_text(&at, "", "may not have more than one field specified at a time");
        }
        read_from(&at, source, r);
    }
}

fn read_from(at: &Path<'_>, source: &Value, r: &mut Report) {
    if let Some(field) = some(source, "fieldRef") {
        let path = text(field, "fieldPath");
        let keyed = ["metadata.labels['", "metadata.annotations['"]
            .iter()
            .any(|start| path.starts_with(start));
        let at = at.field("fieldRef");
        if path.is_empty() {
            r.required(&at.field("fieldPath"), "");
        } else if !keyed && !POD_FIELDS.contains(&path) {
            let why = format!("error converting fieldPath: field label not supported: {path}");
            r.invalid_text(&at.field("fieldPath"), path, &why);
        }
    }
    if let Some(field) = some(source, "resourceFieldRef") {
        let resource = text(field, "resource");
        let at = at.field("resourceFieldRef");
        if !RESOURCE_FIELDS.contains(&resource) {
            r.choice(&at.field("resource"), resource, RESOURCE_FIELDS);
        }
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let Some(key) = some(source, kind) else { continue };
        let at = at.field(kind);
        r.name(&at.field("name"), text(key, "name"), names::dns_subdomain);
        if text(key, "key").is_empty() {
            r.required(&at.field("key"), "");
        } else {
            r.name(&at.field("key"), text(key, "key"), names::config_key);
        }
    }
}

fn mounts(at: &Path<'_>, mounts: &[Value], volumes: &[&str], r: &mut Report) {
    for (i, mount) in mounts.iter().enumerate() {
        let below = at.index(i);
        let (name, path, sub) =
            (text(mount, "name"), text(mount, "mountPath"), text(mount, "subPath"));
        if name.is_empty() {
            r.required(&below.field("name"), "");
        } else if !volumes.contains(&name) {
            r.not_found(&below.field("name"), name);
        }
        if path.is_empty() {
            r.required(&below.field("mountPath"), "");
        } else if mounts[..i].iter().any(|one| text(one, "mountPath") == path) {
            r.invalid_text(&below.field("mountPath"), path, "must be unique");
        }
        if sub.starts_with('/') {
            r.invalid_text(&at.field("subPath"), sub, "must be a relative path");
        } else if sub.split('/').any(|part| part == "..") {
            r.invalid_text(&at.field("subPath"), sub, "must not contain '..'");
        }
    }
}

fn resources(at: &Path<'_>, resources: &Value, r: &mut Report) {
    let amount = |value: &Value| value.as_str().and_then(|text| text.parse::<Quantity>().ok());
    for kind in ["limits", "requests"] {
        let at = at.field(kind);
        for (name, value) in entries(resources, kind) {
            let at = at.key(name);
            resource_name(&at, name, r);
            let Some(read) = amount(value) else { continue };
            if read.is_negative() {
                r.invalid(&at, value, "must be greater than or equal to 0");
            } else if !ELASTIC.contains(&name.as_str())
                && !name.starts_with("hugepages-")
                && !read.is_whole()
            {
                r.invalid(&at, value, "must be an integer");
            }
        }
    }
    let limits = &resources["limits"];
    let mut missing = false;
    for (name, value) in entries(resources, "requests") {
        let Some(requested) = amount(value) else { continue };
        let elastic = ELASTIC.contains(&name.as_str());
        let limit = limits.get(name);
        let at = at.field("requests");
        match limit.and_then(amount) {
            None => missing |= !elastic,
            Some(limit) if !elastic && limit != requested => {
                let why = format!("must be equal to {name} limit of {limit}");
                r.invalid(&at, value, &why);
            }
            Some(limit) if requested > limit => {
                r.invalid(
                    &at,
                    value,
                    &format!("must be less than or equal to {name} limit of {limit}"),
                );
            }
            Some(_) => {}
        }
    }
    if missing {
        r.required(&at.field("limits"), "Limit must be set for non overcommitable resources");
    }
}

fn resource_name(at: &Path<'_>, name: &str, r: &mut Report) {
    let wrong = names::qualified_name(name);
    for why in &wrong {
        r.invalid(at, &json!(name), why);
    }
    if !wrong.is_empty() || name.contains('/') {
        return;
    }
    if !ELASTIC.contains(&name) && !name.starts_with("hugepages-") {
        if !["storage", "pods", "services"].contains(&name) {
            r.invalid_text(at, name, "must be a standard resource type or fully qualified");
        }
        r.invalid_text(at, name, "must be a standard resource for containers");
    }
}
