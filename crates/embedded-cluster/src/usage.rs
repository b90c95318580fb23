//! The metrics APIs: usage of pods as the node agent measures it, and what pods say of themselves.
//!
//! `metrics.k8s.io` needs nothing here but numbers. `custom.metrics.k8s.io` has the metrics of pods, and of services as the sum
//! over their pods; `external.metrics.k8s.io` has every series of a namespace.

use api_server::{BoxFuture, Measured, MetricQuery, MetricsProvider};
use apimachinery::selector::{LabelSelector, has_all};
use apimachinery::{Key, Meta, Reason, Status};
use controllers::{Metrics, PodMetrics};
use node_agent::NodeAgent;
use object_store::Store;
use serde_json::Value;

use crate::readings::Found;
use crate::scrape::Shared;

/// Billionths in a thousandth: cores are measured in the one and compared in the other.
const NANO_IN_MILLI: u64 = 1_000_000;

/// What is known of pods.
#[derive(Clone)]
pub(crate) struct Usage {
    pub(crate) agent: NodeAgent,
    pub(crate) store: Store,
    pub(crate) readings: Shared,
}

impl Usage {
    /// A metric of pods and services of a namespace, by their names.
    fn custom(
        &self,
        namespace: &str,
        resource: &str,
        names: &[String],
        metric: &str,
        labels: &LabelSelector,
    ) -> Result<Vec<Found>, String> {
        let of_pods = self.readings.lock().of_pods(namespace, metric, labels);
        match resource {
            "pods" => Ok(of_pods.into_iter().filter(|one| names.contains(&one.pod)).collect()),
            "services" => Ok(names
                .iter()
                .filter_map(|name| self.of_service(namespace, name, &of_pods))
                .collect()),
            other => {
                Err(format!("only pods and services have metrics of their own here, not {other}"))
            }
        }
    }

    /// What the pods behind a service come to together.
    fn of_service(&self, namespace: &str, name: &str, of_pods: &[Found]) -> Option<Found> {
        let get = |plural: &str, name: &str| {
            self.store.get(&self.store.kind("", plural), &Key::namespaced(namespace, name)).ok()
        };
        let service = get("services", name)?;
        let wanted = service.value()["spec"]["selector"].as_object()?;
        let is_behind = |pod: &str| {
            let pod = get("pods", pod);
            let labels = pod.as_ref().and_then(|pod| pod.value()["metadata"]["labels"].as_object());
            labels.is_some_and(|labels| has_all(wanted, labels))
        };
        let mut behind = of_pods.iter().filter(|one| is_behind(&one.pod));
        let first = Found { pod: name.to_owned(), ..behind.next()?.clone() };
        Some(behind.fold(first, |sum, one| Found {
            milli: sum.milli.saturating_add(one.milli),
            at: sum.at.min(one.at),
            ..sum
        }))
    }

    fn pod_names(&self, namespace: &str) -> Vec<String> {
        let selection = object_store::Selection::in_namespace(namespace);
        let pods = self.store.select(&self.store.kind("", "pods"), &selection);
        pods.iter().map(|pod| pod.value().name().to_owned()).collect()
    }
}

/// The selector of a metric's series. Without one, all are meant.
fn series(selector: &Value) -> LabelSelector {
    if selector.is_null() { LabelSelector::default() } else { LabelSelector::from_json(selector) }
}

impl Metrics for Usage {
    fn pods(&self, namespace: &str) -> Result<Vec<PodMetrics>, String> {
        let all = self.agent.pod_metrics(Some(namespace)).into_iter();
        Ok(all
            .map(|pod| PodMetrics {
                pod: Key::namespaced(pod.pod.namespace, pod.pod.name),
                timestamp: pod.time,
                window_s: pod.window.as_secs_f64(),
                containers: pod
                    .containers
                    .into_iter()
                    .map(|used| {
                        let cpu = signed(used.cpu_nano / NANO_IN_MILLI);
                        (used.name, cpu, signed(used.memory_bytes.saturating_mul(1000)))
                    })
                    .collect(),
            })
            .collect())
    }

    fn of_pods(
        &self,
        namespace: &str,
        metric: &str,
        selector: &Value,
    ) -> Result<Vec<(String, i64)>, String> {
        let names = self.pod_names(namespace);
        let found = self.custom(namespace, "pods", &names, metric, &series(selector))?;
        Ok(found.into_iter().map(|one| (one.pod, one.milli)).collect())
    }

    fn of_object(
        &self,
        namespace: &str,
        object: &Value,
        metric: &str,
        selector: &Value,
    ) -> Result<i64, String> {
        let text = |field: &str| object[field].as_str().unwrap_or("").to_owned();
        let (kind, name) = (text("kind"), text("name"));
        let resource = format!("{}s", kind.to_lowercase());
        let found = self.custom(namespace, &resource, &[name], metric, &series(selector))?;
        let one = found.first().map(|one| one.milli);
        one.ok_or_else(|| format!("the server could not find the metric {metric} for {resource}"))
    }

    fn external(
        &self,
        namespace: &str,
        metric: &str,
        selector: &Value,
    ) -> Result<Vec<i64>, String> {
        let found = self.readings.lock().external(namespace, metric, &series(selector));
        Ok(found.into_iter().map(|one| one.milli).collect())
    }
}

impl MetricsProvider for Usage {
    fn custom(&self, query: MetricQuery) -> BoxFuture<'_, Result<Vec<Measured>, Status>> {
        let answer = || {
            let MetricQuery { namespace, resource, names, metric, metric_selector } = query;
            let labels = LabelSelector::parse(&metric_selector)?;
            let namespace = namespace.unwrap_or_default();
            let found = self
                .custom(&namespace, &resource, &names, &metric, &labels)
                .map_err(|why| Status::new(404, Reason::NotFound, why))?;
            if found.is_empty() {
                let why = format!("the server could not find the metric {metric} for {resource}");
                return Err(Status::new(404, Reason::NotFound, why));
            }
            Ok(found.into_iter().map(measured).collect())
        };
        Box::pin(std::future::ready(answer()))
    }

    fn external(
        &self,
        namespace: String,
        metric: String,
        selector: String,
    ) -> BoxFuture<'_, Result<Vec<Measured>, Status>> {
        let answer = || {
            let labels = LabelSelector::parse(&selector)?;
            let found = self.readings.lock().external(&namespace, &metric, &labels);
            Ok(found
                .into_iter()
                .map(|one| Measured { object: String::new(), ..measured(one) })
                .collect())
        };
        Box::pin(std::future::ready(answer()))
    }
}

fn measured(one: Found) -> Measured {
    let value = one.quantity();
    let text = |value: Value| value.as_str().unwrap_or("").to_owned();
    let labels = one.labels.into_iter().map(|(name, value)| (name, text(value))).collect();
    Measured { object: one.pod, labels, value, at: one.at }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
