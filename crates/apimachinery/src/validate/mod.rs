//! What is wrong with an object, in the API server's words.
//!
//! Source: answers of kube-apiserver 1.34.3, recorded. The object has been settled and defaulted: its types are right.

mod autoscaler;
mod config;
mod container;
mod custom;
mod job;
mod metadata;
mod pod;
mod probe;
mod report;
mod scheduling;
mod selectors;
mod service;
mod storage;
mod volume;
mod workload;

use serde_json::Value;

pub use custom::against;

use crate::{Cause, Kind};
use report::{Path, Report, list, some, text};

/// What is wrong with a new object, or with a change of an old one; nothing when it may be stored.
#[must_use]
pub fn object(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut report = Report::default();
    let r = &mut report;
    metadata::check(kind, new, old, r);
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => pod::check(new, old, r),
        ("", "ConfigMap") => config::config_map(new, old, r),
        ("", "Secret") => config::secret(new, old, r),
        ("", "Service") => service::check(new, old, r),
        ("", "Node") => node(new, r),
        ("", "PersistentVolumeClaim") => storage::claim(new, old, r),
        ("apps", "Deployment") => workload::deployment(new, old, r),
        ("apps", "ReplicaSet") => workload::replica_set(new, old, r),
        ("apps", "StatefulSet") => workload::stateful_set(new, old, r),
        ("apps", "DaemonSet") => workload::daemon_set(new, old, r),
        ("batch", "Job") => job::check(new, old, r),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::check(new, r),
        ("policy", "PodDisruptionBudget") => budget(new, r),
        ("coordination.k8s.io", "Lease") => lease(new, r),
        ("discovery.k8s.io", "EndpointSlice") => slice(new, r),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => custom::definition(new, r),
        _ => {}
    }
    report.causes
}

/// What the answer to a write should warn about.
#[must_use]
pub fn warnings(kind: &Kind, object: &Value) -> Vec<String> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Endpoints") => {
            vec![
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
                    .to_owned(),
            ]
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => custom::unchecked_rules(object)
            .into_iter()
            .map(|at| {
                format!("{at}: x-kubernetes-validations are not evaluated by the embedded cluster")
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn node(new: &Value, r: &mut Report) {
    let at = Path::Root("metadata.taints");
    for (i, taint) in list(&new["spec"], "taints").iter().enumerate() {
        let at = at.index(i);
        r.name(&at.field("key"), text(taint, "key"), crate::names::qualified_name);
        r.name(&at.field("value"), text(taint, "value"), crate::names::label_value);
        r.choice(&at.field("effect"), text(taint, "effect"), scheduling::EFFECTS);
    }
}

fn budget(new: &Value, r: &mut Report) {
    let spec = &new["spec"];
    let at = Path::Root("spec");
    let (least, most) = (some(spec, "minAvailable"), some(spec, "maxUnavailable"));
    if let (Some(least), Some(most)) = (least, most) {
        let selector = spec.get("selector").unwrap_or(&Value::Null);
        let policy = spec.get("unhealthyPodEvictionPolicy").unwrap_or(&Value::Null);
        let shown = format!(
            "{{\"MinAvailable\":{least},\"Selector\":{selector},\"MaxUnavailable\":{most},\"UnhealthyPodEvictionPolicy\":{policy}}}"
        );
        r.causes.push(Cause {
            reason: "FieldValueInvalid".to_owned(),
            message: format!(
                "Invalid value: {shown}: minAvailable and maxUnavailable cannot be both set"
            ),
            field: "spec".to_owned(),
        });
    }
    for (name, value) in [("minAvailable", least), ("maxUnavailable", most)] {
        if let Some(value) = value {
            workload::amount(&at.field(name), value, r);
        }
    }
    if let Some(selector) = some(spec, "selector") {
        selectors::check(&at.field("selector"), selector, r);
    }
}

fn lease(new: &Value, r: &mut Report) {
    let at = Path::Root("spec");
    for name in ["leaseDurationSeconds", "leaseTransitions"] {
        let Some(value) = some(&new["spec"], name) else { continue };
        let least = i64::from(name == "leaseDurationSeconds");
        if value.as_i64().is_some_and(|number| number < least) {
            let why = if least == 1 {
                "must be greater than 0"
            } else {
                "must be greater than or equal to 0"
            };
            r.invalid(&at.field(name), value, why);
        }
    }
}

fn slice(new: &Value, r: &mut Report) {
    let root = Path::Root("");
    let family = text(new, "addressType");
    let families = ["FQDN", "IPv4", "IPv6"];
    if !families.contains(&family) {
        return r.choice(&root.field("addressType"), family, &families);
    }
    let at = root.field("endpoints");
    for (i, endpoint) in list(new, "endpoints").iter().enumerate() {
        let at = at.index(i);
        let at = at.field("addresses");
        let addresses = list(endpoint, "addresses");
        if addresses.is_empty() {
            r.required(&at, "must contain at least 1 address");
        }
        for (i, address) in addresses.iter().enumerate() {
            let read = address.as_str().unwrap_or("").parse::<std::net::IpAddr>();
            if family != "FQDN" && read.is_err() {
                r.invalid(&at.index(i), address, service::NO_ADDRESS);
            }
        }
    }
}
