//! One metric of an autoscaler: read, compared with its target, and told in its status.

use std::collections::BTreeMap;

use apimachinery::Meta;
use apimachinery::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::target::Target as Scale;
use super::usage::{self, Sample, Samples, Target, is_near, up};
use crate::fields::Fields;
use crate::metrics::Metrics;

/// What a metric comes to.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) replicas: i64,
    pub(super) name: String,
    pub(super) status: Value,
}

/// Why a metric comes to nothing.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The reason of the event and the condition.
    pub(super) reason: &'static str,
    /// In the event.
    pub(super) message: String,
    /// In the message about all metrics.
    pub(super) summary: String,
}

/// What a metric is read from.
pub(super) struct Source<'a> {
    pub(super) namespace: &'a str,
    pub(super) scale: &'a Scale,
    pub(super) pods: &'a [&'a Value],
    pub(super) metrics: &'a dyn Metrics,
    pub(super) now: Timestamp,
}

impl Source<'_> {
    /// Reads one metric.
    pub(super) fn read(&self, spec: &Value) -> Result<Reading, Failure> {
        let fail = |reason: &'static str, what: String| {
            move |message: String| Failure {
                reason,
                summary: format!("failed to get {what} metric value: {message}"),
                message,
            }
        };
        match spec.text("type") {
            "Resource" => {
                let name = spec.text("resource/name").to_owned();
                self.resource(spec.at("resource"), "resource", "")
                    .map_err(fail("FailedGetResourceMetric", format!("{name} resource")))
            }
            "ContainerResource" => {
                let container = spec.text("containerResource/container").to_owned();
                self.resource(spec.at("containerResource"), "containerResource", &container)
                    .map_err(fail(
                        "FailedGetContainerResourceMetric",
                        format!("{container} container"),
                    ))
            }
            "Pods" => self
                .pods_metric(spec.at("pods"))
                .map_err(fail("FailedGetPodsMetric", "pods".to_owned())),
            "Object" => self
                .object(spec.at("object"))
                .map_err(fail("FailedGetObjectMetric", "object".to_owned())),
            "External" => {
                let name = spec.text("external/metric/name").to_owned();
                self.external(spec.at("external"))
                    .map_err(fail("FailedGetExternalMetric", format!("{name} external")))
            }
            other => {
                let message = format!("unknown metric source type {other:?}");
                Err(Failure {
                    reason: "InvalidMetricSourceType",
                    summary: message.clone(),
                    message,
                })
            }
        }
    }

    /// CPU or memory of pods, or of one container of each.
    fn resource(&self, spec: &Value, field: &str, container: &str) -> Result<Reading, String> {
        let name = spec.text("name");
        let average = thousandths(spec.at("target/averageValue"));
        let what = if average.is_some() { "usage" } else { "utilization" };
        let proposal = self
            .samples(name, container)
            .map_err(|why| format!("unable to get metrics for resource {name}: {why}"))
            .and_then(|samples| {
                let target = match (average, spec.int("target/averageUtilization")) {
                    (Some(average), _) => Target::Average(average),
                    (None, Some(percent)) => Target::Utilization(percent, requests(self.pods, name, container)?),
                    (None, None) => return Err("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".to_owned()),
                };
                usage::propose(self.pods, samples, &target, self.scale.replicas, name == "cpu", self.now)
            })
            .map_err(|why| format!("failed to get {name} {what}: {why}"))?;
        let mut current = json!({"averageValue": text(proposal.average, name == "memory")});
        if let Some(percent) = proposal.utilization {
            current["averageUtilization"] = json!(percent);
        }
        let mut status = json!({"name": name, "current": current});
        let kind = if container.is_empty() { "Resource" } else { "ContainerResource" };
        if !container.is_empty() {
            status["container"] = json!(container);
        }
        let told = match (proposal.utilization, container) {
            (None, _) => format!("{name} resource"),
            (Some(_), "") => format!("{name} resource utilization (percentage of request)"),
            (Some(_), _) => {
                format!("{name} container resource utilization (percentage of request)")
            }
        };
        Ok(Reading {
            replicas: proposal.replicas,
            name: told,
            status: json!({"type": kind, field: status}),
        })
    }

    fn samples(&self, resource: &str, container: &str) -> Result<Samples, String> {
        let all = self
            .metrics
            .pods(self.namespace)
            .map_err(|why| format!("unable to fetch metrics from resource metrics API: {why}"))?;
        let ours =
            all.into_iter().filter(|one| self.pods.iter().any(|pod| pod.name() == one.pod.name));
        let samples: Samples = ours
            .map(|one| {
                let counted = one
                    .containers
                    .iter()
                    .filter(|(name, _, _)| container.is_empty() || name == container);
                let value = counted
                    .map(|(_, cpu, memory)| if resource == "cpu" { *cpu } else { *memory })
                    .sum();
                let window =
                    SignedDuration::try_from_secs_f64(one.window_s).unwrap_or(SignedDuration::ZERO);
                (one.pod.name, Sample { value, timestamp: one.timestamp, window })
            })
            .collect();
        if samples.is_empty() {
            return Err("no metrics returned from resource metrics API".to_owned());
        }
        Ok(samples)
    }

    /// A metric of each pod.
    fn pods_metric(&self, spec: &Value) -> Result<Reading, String> {
        let name = spec.text("metric/name");
        let wrap = |why: String| {
            format!(
                "unable to get metric {name}: unable to fetch metrics from custom metrics API: {why}"
            )
        };
        let values =
            self.metrics.of_pods(self.namespace, name, spec.at("metric/selector")).map_err(wrap)?;
        if values.is_empty() {
            return Err(format!(
                "unable to get metric {name}: no metrics returned from custom metrics API"
            ));
        }
        let sample =
            |value: i64| Sample { value, timestamp: self.now, window: SignedDuration::ZERO };
        let samples: Samples =
            values.into_iter().map(|(pod, value)| (pod, sample(value))).collect();
        let target = thousandths(spec.at("target/averageValue")).filter(|target| *target > 0);
        let target = Target::Average(target.ok_or("no average value target was set")?);
        let proposal =
            usage::propose(self.pods, samples, &target, self.scale.replicas, false, self.now)?;
        let current = json!({"averageValue": text(proposal.average, false)});
        let status =
            json!({"type": "Pods", "pods": {"metric": spec["metric"], "current": current}});
        Ok(Reading { replicas: proposal.replicas, name: format!("pods metric {name}"), status })
    }

    /// A metric of one object.
    fn object(&self, spec: &Value) -> Result<Reading, String> {
        let (name, described) = (spec.text("metric/name"), spec.at("describedObject"));
        let kind = described.text("kind");
        let used = self.metrics.of_object(self.namespace, described, name, spec.at("metric/selector")).map_err(|why| {
            let object = described.text("name");
            let namespace = self.namespace;
            format!("unable to get metric {name}: unable to fetch metrics from custom metrics API: {why} on {kind} {namespace}/{object}")
        })?;
        let missing = "invalid object metric source: neither a value target nor an average value target was set";
        let (replicas, current, told) =
            self.shared(used, spec, missing, &|| format!("{kind} metric {name}"))?;
        let status = json!({"type": "Object", "object": {
            "describedObject": described, "metric": spec["metric"], "current": current,
        }});
        Ok(Reading { replicas, name: told, status })
    }

    /// A metric of the outside world.
    fn external(&self, spec: &Value) -> Result<Reading, String> {
        let (name, namespace) = (spec.text("metric/name"), self.namespace);
        let selector = go_selector(spec.at("metric/selector"));
        let values = self.metrics.external(namespace, name, spec.at("metric/selector")).map_err(|why| {
            format!("failed to get {name} external metric: unable to get external metric {namespace}/{name}/{selector}: unable to fetch metrics from external metrics API: {why}")
        })?;
        if values.is_empty() {
            return Err(format!(
                "failed to get {name} external metric: unable to get external metric {namespace}/{name}/{selector}: no metrics returned from external metrics API"
            ));
        }
        let used = values.iter().fold(0_i64, |sum, one| sum.saturating_add(*one));
        let missing = "invalid external metric source: neither a value target nor an average value target was set";
        let (replicas, current, told) =
            self.shared(used, spec, missing, &|| format!("external metric {name}({selector})"))?;
        let status =
            json!({"type": "External", "external": {"metric": spec["metric"], "current": current}});
        Ok(Reading { replicas, name: told, status })
    }

    /// A use that all pods share: compared as a whole, or by pod.
    fn shared(
        &self,
        used: i64,
        spec: &Value,
        missing: &str,
        told: &dyn Fn() -> String,
    ) -> Result<(i64, Value, String), String> {
        let target = |field: &str| thousandths(&spec["target"][field]).filter(|target| *target > 0);
        if let Some(average) = target("averageValue") {
            let pods = self.scale.status_replicas;
            let ratio = used as f64 / (average as f64 * pods as f64);
            let replicas = if is_near(ratio) { pods } else { up(used as f64 / average as f64) };
            let current = if pods > 0 { up(used as f64 / pods as f64) } else { used };
            let name = spec.text("metric/name");
            let told =
                format!("external metric {name}({})", go_selector(spec.at("metric/selector")));
            return Ok((replicas, json!({"averageValue": text(current, false)}), told));
        }
        let value = target("value").ok_or_else(|| missing.to_owned())?;
        let ratio = used as f64 / value as f64;
        let replicas = if self.scale.replicas == 0 {
            up(ratio)
        } else if is_near(ratio) {
            self.scale.replicas
        } else {
            up(ratio * usage::ready(self.pods)? as f64)
        };
        Ok((replicas, json!({"value": text(used, false)}), told()))
    }
}

/// A quantity in thousandths. `None`: it is no quantity.
fn thousandths(value: &Value) -> Option<i64> {
    Quantity::from_json(value).map(Quantity::milli)
}

/// What each pod asked for, in thousandths.
fn requests(pods: &[&Value], resource: &str, only: &str) -> Result<BTreeMap<String, i64>, String> {
    let mut all = BTreeMap::new();
    for pod in pods {
        let sidecars = pod
            .list("spec/initContainers")
            .iter()
            .filter(|one| one.text("restartPolicy") == "Always");
        let mut sum = 0;
        for container in pod.list("spec/containers").iter().chain(sidecars) {
            if !only.is_empty() && container.text("name") != only {
                continue;
            }
            let asked = thousandths(&container["resources"]["requests"][resource]);
            sum += asked.ok_or_else(|| {
                format!(
                    "missing request for {resource} in container {} of Pod {}",
                    container.text("name"),
                    pod.name()
                )
            })?;
        }
        all.insert(pod.name().to_owned(), sum);
    }
    Ok(all)
}

fn text(milli: i64, bytes: bool) -> String {
    if bytes && milli % 1000 == 0 {
        return Quantity::of_bytes(milli / 1000).to_string();
    }
    Quantity::of_milli(milli).to_string()
}

/// A selector as Go prints it.
fn go_selector(selector: &Value) -> String {
    if selector.is_null() {
        return "nil".to_owned();
    }
    let labels = selector.map("matchLabels").iter();
    let labels: Vec<String> =
        labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or(""))).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{}},}}",
        labels.join("")
    )
}
