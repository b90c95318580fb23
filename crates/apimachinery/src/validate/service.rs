//! Services.

use serde_json::Value;

use super::metadata::labels;
use super::report::{Path, Report, list, some, text};
use crate::names;

/// What is wrong with a text that is no address.
pub(super) const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

pub(super) fn check(new: &Value, old: Option<&Value>, r: &mut Report) {
    let spec = &new["spec"];
    let at = Path::Root("spec");
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    let ports = list(spec, "ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        r.required(&at.field("ports"), "");
    }
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !kinds.contains(&kind) {
        r.choice(&at.field("type"), kind, &kinds);
    }
    if kind == "ExternalName" {
        let name = text(spec, "externalName");
        if name.is_empty() {
            r.required(&at.field("externalName"), "");
        } else {
            r.name(&at.field("externalName"), name.trim_end_matches('.'), names::dns_subdomain);
        }
    }
    all_ports(&at.field("ports"), ports, r);
    labels(&at.field("selector"), spec, "selector", r);
    r.choice(&at.field("sessionAffinity"), text(spec, "sessionAffinity"), &["ClientIP", "None"]);
    let addresses = at.field("clusterIPs");
    for (i, address) in list(spec, "clusterIPs").iter().enumerate() {
        let read = address.as_str().unwrap_or("");
        if read != "None" && read.parse::<std::net::IpAddr>().is_err() {
            r.invalid(&addresses.index(i), address, NO_ADDRESS);
        }
    }
    if let Some(old) = old {
        let old = &old["spec"];
        let fixed = text(old, "type") != "ExternalName" && kind != "ExternalName";
        let given = !text(old, "clusterIP").is_empty();
        if fixed && given && old["clusterIP"] != spec["clusterIP"] {
            r.invalid(&addresses.index(0), &spec["clusterIPs"], "may not change once set");
        }
    }
}

fn all_ports(at: &Path<'_>, ports: &[Value], r: &mut Report) {
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                r.required(&at.field("name"), "");
            }
        } else {
            r.name(&at.field("name"), name, names::dns_label);
            if ports[..i].iter().any(|one| text(one, "name") == name) {
                r.duplicate(&at.field("name"), &port["name"]);
            }
        }
        r.port(&at.field("port"), &port["port"]);
        r.choice(&at.field("protocol"), text(port, "protocol"), &["SCTP", "TCP", "UDP"]);
        r.port_or_name(&at.field("targetPort"), &port["targetPort"]);
        if let Some(node) = some(port, "nodePort") {
            r.port(&at.field("nodePort"), node);
        }
    }
    for (i, port) in ports.iter().enumerate() {
        let same = |one: &Value| one["port"] == port["port"] && one["protocol"] == port["protocol"];
        if ports[..i].iter().any(same) {
            let (protocol, number) = (&port["protocol"], &port["port"]);
            r.causes.push(crate::Cause {
                reason: "FieldValueDuplicate".to_owned(),
                message: format!(
                    "Duplicate value: {{\"Name\":\"\",\"Protocol\":{protocol},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}"
                ),
                field: at.index(i).to_string(),
            });
        }
    }
}
