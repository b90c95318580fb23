//! Probes, and what they and lifecycle hooks do.

use serde_json::Value;

use super::report::{Path, Report, list, some, text};

const HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

pub(super) fn check(at: &Path<'_>, probe: &Value, name: &str, r: &mut Report) {
    handler(at, probe, r);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if let Some(value) = some(probe, field) {
            r.not_negative(&at.field(field), value);
        }
    }
    if let Some(grace) = some(probe, "terminationGracePeriodSeconds") {
        let at = at.field("terminationGracePeriodSeconds");
        if name == "readinessProbe" {
            r.invalid(&at, grace, "must not be set for readinessProbes");
        } else if grace.as_i64().is_some_and(|seconds| seconds <= 0) {
            r.invalid(&at, grace, "must be greater than 0");
        }
    }
    let success = &probe["successThreshold"];
    if name != "readinessProbe" && success.as_i64().is_some_and(|count| count != 1) {
        r.invalid(&at.field("successThreshold"), success, "must be 1");
    }
}

/// One way to act: a command, a request, a connection.
pub(super) fn handler(at: &Path<'_>, holder: &Value, r: &mut Report) {
    let mut count = 0;
    for kind in HANDLERS {
        let Some(action) = some(holder, kind) else { continue };
        let at = at.field(kind);
        count += 1;
        if count > 1 {
            r.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" if list(action, "command").is_empty() => r.required(&at.field("command"), ""),
            "httpGet" => {
                if text(action, "path").is_empty() {
                    r.required(&at.field("path"), "");
                }
                r.port_or_name(&at.field("port"), &action["port"]);
                r.choice(&at.field("scheme"), text(action, "scheme"), &["HTTP", "HTTPS"]);
            }
            "tcpSocket" => r.port_or_name(&at.field("port"), &action["port"]),
            "grpc" => r.port(&at.field("port"), &action["port"]),
            _ => {}
        }
    }
    if count == 0 {
        r.required(at, "must specify a handler type");
    }
}
