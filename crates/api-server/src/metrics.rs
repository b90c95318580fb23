//! The metrics APIs: what nodes and pods use, and what else somebody measures.

use std::time::Duration;

use apimachinery::selector::LabelSelector;
use apimachinery::{Key, Meta, Reason, Status};
use jiff::Timestamp;
use object_store::Selection;
use serde_json::{Value, json};

use crate::answer::{self, Answer, no_such_method, no_such_resource};
use crate::node_proxy::{BoxFuture, NodeUsage, PodUsage, Usage};
use crate::route::Ask;

/// A value that somebody measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The object it is about, by name; of an external metric: empty.
    pub object: String,
    /// Labels of an external metric.
    pub labels: Vec<(String, String)>,
    /// A quantity, like `2500m`.
    pub value: String,
    /// When.
    pub at: Timestamp,
}

/// Which objects a custom metric is asked of.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricQuery {
    /// The namespace; none for objects of the whole cluster.
    pub namespace: Option<String>,
    /// The objects' resource, like `pods` or `services`.
    pub resource: String,
    /// Names of the objects.
    pub names: Vec<String>,
    /// The metric.
    pub metric: String,
    /// Labels that the metric must have, as a selector's text.
    pub metric_selector: String,
}

/// Where metrics other than CPU and memory come from.
pub trait MetricsProvider: Send + Sync + 'static {
    /// A metric of objects.
    fn custom(&self, query: MetricQuery) -> BoxFuture<'_, Result<Vec<Measured>, Status>>;
    /// A metric that is about no object of the cluster.
    fn external(
        &self,
        namespace: String,
        metric: String,
        selector: String,
    ) -> BoxFuture<'_, Result<Vec<Measured>, Status>>;
}

/// Answers a request below `/apis/metrics.k8s.io/v1beta1`.
pub(crate) async fn usage(ask: Ask, rest: &[&str]) -> Answer {
    if ask.parts.method != http::Method::GET {
        return Err(no_such_method());
    }
    let server = &ask.server;
    let labels = LabelSelector::parse(ask.query.get("labelSelector").unwrap_or(""))?;
    let (kind, plural, namespace, name) = match rest {
        ["nodes"] => ("NodeMetrics", "nodes", None, None),
        ["nodes", name] => ("NodeMetrics", "nodes", None, Some(*name)),
        ["pods"] => ("PodMetrics", "pods", None, None),
        ["namespaces", namespace, "pods"] => ("PodMetrics", "pods", Some(*namespace), None),
        ["namespaces", namespace, "pods", name] => {
            ("PodMetrics", "pods", Some(*namespace), Some(*name))
        }
        _ => return Err(no_such_resource()),
    };
    let objects = server.store.kind("", plural);
    let labels_of = |namespace: &str, name: &str| {
        let found = server.store.get(&objects, &Key::namespaced(namespace, name)).ok()?;
        Some(found.value()["metadata"]["labels"].clone())
    };
    let mut items: Vec<Value> = if plural == "nodes" {
        let all = server.nodes.node_usage().await;
        all.iter().filter_map(|one| Some(node(one, labels_of("", &one.name)?))).collect()
    } else {
        let all = server.nodes.pod_usage().await;
        all.iter()
            .filter(|one| namespace.is_none_or(|namespace| namespace == one.namespace))
            .filter_map(|one| Some(pod(one, labels_of(&one.namespace, &one.name)?)))
            .collect()
    };
    items.retain(|one| labels.matches(one));
    if let Some(name) = name {
        let found = items.into_iter().find(|one| one.name() == name);
        let resource = format!("{plural}.metrics.k8s.io");
        return found.map(|one| answer::json(200, &one)).ok_or_else(|| {
            Status::new(404, Reason::NotFound, format!("{resource} {name:?} not found"))
        });
    }
    items.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
    Ok(answer::json(
        200,
        &json!({
            "kind": format!("{kind}List"),
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {},
            "items": items,
        }),
    ))
}

fn node(one: &NodeUsage, labels: Value) -> Value {
    json!({
        "kind": "NodeMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": one.name, "creationTimestamp": time(one.at), "labels": labels},
        "timestamp": time(one.at),
        "window": window(one.window),
        "usage": amounts(one.usage),
    })
}

fn pod(one: &PodUsage, labels: Value) -> Value {
    let containers = one.containers.iter();
    let containers: Vec<Value> =
        containers.map(|one| json!({"name": one.name, "usage": amounts(one.usage)})).collect();
    json!({
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": one.name, "namespace": one.namespace,
            "creationTimestamp": time(one.at), "labels": labels,
        },
        "timestamp": time(one.at),
        "window": window(one.window),
        "containers": containers,
    })
}

fn amounts(usage: Usage) -> Value {
    json!({
        "cpu": format!("{}n", usage.cpu_nanocores),
        "memory": format!("{}Ki", usage.memory_bytes / 1024),
    })
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A duration as Go writes it.
fn window(time: Duration) -> String {
    format!("{}.{:03}s", time.as_secs(), time.subsec_millis())
}

/// Answers a request below `/apis/custom.metrics.k8s.io/v1beta2`.
pub(crate) async fn custom(ask: Ask, rest: &[&str]) -> Answer {
    if ask.parts.method != http::Method::GET {
        return Err(no_such_method());
    }
    let (namespace, resource, name, metric) = match rest {
        ["namespaces", name, "metrics", metric] => (None, "namespaces", *name, *metric),
        ["namespaces", namespace, resource, name, metric] => {
            (Some(*namespace), *resource, *name, *metric)
        }
        [resource, name, metric] => (None, *resource, *name, *metric),
        _ => return Err(no_such_resource()),
    };
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    let kinds = ask.server.store.kinds();
    let kind = kinds.iter().find(|kind| kind.group == group && kind.plural == plural);
    let kind = kind.cloned().ok_or_else(no_such_resource)?;
    let names = if name == "*" {
        let labels = LabelSelector::parse(ask.query.get("labelSelector").unwrap_or(""))?;
        let selection =
            Selection { namespace: namespace.map(str::to_owned), ..Selection::default() }
                .matching(move |object| labels.matches(object));
        let found = ask.server.store.select(&kind, &selection);
        found.iter().map(|one| one.value().name().to_owned()).collect()
    } else {
        vec![name.to_owned()]
    };
    let query = MetricQuery {
        namespace: namespace.map(str::to_owned),
        resource: resource.to_owned(),
        names,
        metric: metric.to_owned(),
        metric_selector: ask.query.get("metricLabelSelector").unwrap_or("").to_owned(),
    };
    let provider = ask.server.config.metrics.clone().ok_or_else(no_such_resource)?;
    let values = provider.custom(query).await?;
    let items: Vec<Value> = values
        .iter()
        .map(|one| {
            json!({
                "describedObject": {
                    "kind": kind.kind, "name": one.object, "apiVersion": kind.api_version(),
                    "namespace": namespace.unwrap_or(""),
                },
                "metric": {"name": metric, "selector": null},
                "timestamp": time(one.at),
                "value": one.value,
            })
        })
        .collect();
    Ok(answer::json(
        200,
        &json!({
            "kind": "MetricValueList",
            "apiVersion": "custom.metrics.k8s.io/v1beta2",
            "metadata": {},
            "items": items,
        }),
    ))
}

/// Answers a request below `/apis/external.metrics.k8s.io/v1beta1`.
pub(crate) async fn external(ask: Ask, rest: &[&str]) -> Answer {
    if ask.parts.method != http::Method::GET {
        return Err(no_such_method());
    }
    let ["namespaces", namespace, metric] = rest else { return Err(no_such_resource()) };
    let selector = ask.query.get("labelSelector").unwrap_or("").to_owned();
    let provider = ask.server.config.metrics.clone().ok_or_else(no_such_resource)?;
    let values = provider.external((*namespace).to_owned(), (*metric).to_owned(), selector).await?;
    let items: Vec<Value> = values
        .iter()
        .map(|one| {
            let labels: serde_json::Map<String, Value> =
                one.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            json!({
                "metricName": metric, "metricLabels": labels,
                "timestamp": time(one.at), "value": one.value,
            })
        })
        .collect();
    Ok(answer::json(
        200,
        &json!({
            "kind": "ExternalMetricValueList",
            "apiVersion": "external.metrics.k8s.io/v1beta1",
            "metadata": {},
            "items": items,
        }),
    ))
}
