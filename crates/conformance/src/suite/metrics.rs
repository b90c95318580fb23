//! What is measured, and what autoscalers do about it.

use serde_json::json;

use crate::behaviour::group;
use crate::live::{forward, needed, pod, ready, server};
use crate::place::Place;
use crate::resource::{AUTOSCALERS, DEPLOYMENTS, PODS, SERVICES};
use crate::unmet::{Met, Unmet, condition, ensure, items, names, same, text};

group!("metrics", "usage, what pods say of themselves, and autoscalers that act on it", {
    "metrics.k8s.io tells what pods and nodes use" => usage,
    "custom.metrics.k8s.io tells what pods say of themselves, one by one and by Service" => custom,
    "external.metrics.k8s.io keeps the labels of a metric" => external,
    "an autoscaler follows what its pods say of themselves" => autoscaler,
});

/// What vLLM calls the length of its queue.
const WAITING: &str = "vllm:num_requests_waiting";

async fn usage(at: &Place) -> Met {
    needed(at)?;
    served(at, "metrics.k8s.io/v1beta1").await?;
    ready(at, pod("a", server(at), json!({}))).await?;
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods/a", at.namespace);
    let seen = at
        .until_answer(&path, "metrics of the pod", |answer| {
            answer.status == 200 && !items(&answer.json, "/containers").is_empty()
        })
        .await?;
    same(&seen, "/kind", "PodMetrics")?;
    same(&seen, "/containers/0/name", "main")?;
    text(&seen, "/containers/0/usage/memory")?;
    text(&seen, "/containers/0/usage/cpu")?;
    text(&seen, "/window")?;
    let nodes = at.ask("/apis/metrics.k8s.io/v1beta1/nodes").await?.ok()?;
    ensure(!items(&nodes, "/items").is_empty(), "metrics of nodes", nodes)
}

/// Skips where an API is not there: it is an add-on.
async fn served(at: &Place, group: &str) -> Met {
    match at.ask(format!("/apis/{group}")).await?.status {
        404 => Err(Unmet::Skip(format!("this cluster has no {group}"))),
        _ => Ok(()),
    }
}

/// Annotations by which a Prometheus beside the cluster finds a pod.
fn scraped(mut pod: serde_json::Value) -> serde_json::Value {
    pod["metadata"]["annotations"] =
        json!({"prometheus.io/scrape": "true", "prometheus.io/port": "8080"});
    pod
}

/// Two pods with queues of 6 and 1.
async fn two_queues(at: &Place) -> Met {
    needed(at)?;
    for (name, length) in [("a", 6), ("b", 1)] {
        let mut one = scraped(pod(name, server(at), json!({})));
        one["metadata"]["labels"] = json!({"app": "both"});
        ready(at, one).await?;
        forward(at, name, "POST", &format!("/gauge/{WAITING}/{length}")).await?;
    }
    Ok(())
}

async fn custom(at: &Place) -> Met {
    served(at, "custom.metrics.k8s.io/v1beta2").await?;
    two_queues(at).await?;
    let mut both = crate::fixture::service("s");
    both["spec"]["selector"] = json!({"app": "both"});
    at.create(SERVICES, both).await?;
    let base = format!("/apis/custom.metrics.k8s.io/v1beta2/namespaces/{}", at.namespace);
    let list = at
        .until_answer(&format!("{base}/pods/*/{WAITING}"), "both queues", |answer| {
            items(&answer.json, "/items").iter().map(|one| one["value"].clone()).eq(["6", "1"])
        })
        .await?;
    same(&list, "/kind", "MetricValueList")?;
    same(&list, "/items/0/describedObject/name", "a")?;
    same(&list, "/items/0/metric/name", WAITING)?;
    let sum = at.ask(format!("{base}/services/s/{WAITING}")).await?.ok()?;
    same(&sum, "/items/0/value", "7")?;
    let none = at.ask(format!("{base}/pods/*/no_such_metric")).await?;
    ensure(none.status == 404, "404 for a metric that nobody has", none.seen())
}

async fn external(at: &Place) -> Met {
    served(at, "external.metrics.k8s.io/v1beta1").await?;
    two_queues(at).await?;
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{WAITING}?labelSelector=pod%3Da",
        at.namespace
    );
    let list = at
        .until_answer(&path, "the queue of pod a", |answer| {
            items(&answer.json, "/items").iter().map(|one| one["value"].clone()).eq(["6"])
        })
        .await?;
    same(&list, "/kind", "ExternalMetricValueList")?;
    same(&list, "/items/0/metricLabels/pod", "a")
}

async fn autoscaler(at: &Place) -> Met {
    needed(at)?;
    served(at, "custom.metrics.k8s.io/v1beta2").await?;
    let mut template = scraped(pod("a", server(at), json!({})));
    if let Some(metadata) = template["metadata"].as_object_mut() {
        metadata.remove("name");
    }
    let deployment = json!({"metadata": {"name": "a"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "a"}}, "template": template}});
    at.create(DEPLOYMENTS, deployment).await?;
    let pods = at
        .until_list(PODS, "", "a ready pod", |pods| {
            pods.len() == 1 && condition(&pods[0], "Ready")["status"] == "True"
        })
        .await?;
    let name = names(&json!({"items": pods})).remove(0);
    forward(at, &name, "POST", &format!("/gauge/{WAITING}/6")).await?;
    let queue =
        format!("/apis/custom.metrics.k8s.io/v1beta2/namespaces/{}/pods/*/{WAITING}", at.namespace);
    at.until_answer(&queue, "its queue", |answer| answer.json["items"][0]["value"] == "6").await?;
    let metric = json!({"type": "Pods", "pods": {
        "metric": {"name": WAITING}, "target": {"type": "AverageValue", "averageValue": "2"}}});
    let autoscaler = json!({"metadata": {"name": "a"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
        "minReplicas": 1, "maxReplicas": 5, "metrics": [metric]}});
    at.create(AUTOSCALERS, autoscaler).await?;
    at.until(DEPLOYMENTS, "a", "three replicas for a queue of six", |one| {
        one["spec"]["replicas"] == 3
    })
    .await?;
    let seen =
        at.until(AUTOSCALERS, "a", "a status", |one| one["status"]["desiredReplicas"] == 3).await?;
    same(condition(&seen, "ScalingActive"), "/status", "True")
}
