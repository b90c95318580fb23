//! Status, scale, binding and eviction: parts of an object that are written apart.

use http::Method;
use serde_json::{Value, json};

use crate::behaviour::group;
use crate::fixture::{idle_deployment, idle_pod, idle_template};
use crate::place::{Patch, Place};
use crate::resource::{
    DEPLOYMENTS, DISRUPTION_BUDGETS, PODS, REPLICA_SETS, SERVICES, STATEFUL_SETS,
};
use crate::unmet::{Met, condition, ensure, items, mentions, number, same};
use crate::wire::Answer;

group!("subresources", "status, scale, binding, eviction", {
    "a write to the object leaves its status alone" => status_ignored,
    "a write to status leaves spec, labels and generation alone" => spec_ignored,
    "a status can be replaced, merged and patched as JSON" => status_patches,
    "a Deployment's scale is read, replaced and patched" => scale_deployment,
    "a StatefulSet and a ReplicaSet have a scale as well" => scale_others,
    "a stale scale is refused with 409, a negative one with 422" => scale_refused,
    "a binding gives a pod its node once" => binding,
    "an eviction deletes a pod" => eviction,
    "an eviction that a disruption budget forbids is refused with 429" => budget,
    "a disruption budget says how many pods may go" => budget_status,
    "an eviction with dryRun keeps the pod" => eviction_dry_run,
    "a subresource that a kind does not have is a 404" => missing_part,
});

async fn status_ignored(at: &Place) -> Met {
    let mut deployment = idle_deployment("a", 0);
    deployment["status"] = json!({"replicas": 7});
    let made = at.create(DEPLOYMENTS, deployment).await?;
    same(&made, "/status/replicas", Value::Null)?;
    at.until(DEPLOYMENTS, "a", "an observed generation", |deployment| {
        deployment["status"]["observedGeneration"] == 1
    })
    .await?;
    let change = json!({"spec": {"minReadySeconds": 1}, "status": {"replicas": 7}});
    let changed = at.merge(DEPLOYMENTS, "a", change).await?;
    same(&changed, "/spec/minReadySeconds", 1)?;
    same(&changed, "/status/replicas", Value::Null)
}

async fn spec_ignored(at: &Place) -> Met {
    at.create(PODS, idle_pod("a")).await?;
    let change = json!({
        "metadata": {"labels": {"new": "label"}}, "spec": {"activeDeadlineSeconds": 5},
        "status": {"message": "written"},
    });
    let changed = at.merge(PODS, "a/status", change).await?;
    same(&changed, "/status/message", "written")?;
    same(&changed, "/spec/activeDeadlineSeconds", Value::Null)?;
    let read = at.ask(at.path(PODS, "a/status")).await?.ok()?;
    same(&read, "/status/message", "written")?;
    at.create(SERVICES, crate::fixture::service("a")).await?;
    let change =
        json!({"metadata": {"labels": {"new": "label"}}, "spec": {"selector": {"b": "c"}}});
    let changed = at.merge(SERVICES, "a/status", change).await?;
    same(&changed, "/spec/selector", json!({"app": "a"}))
}

async fn status_patches(at: &Place) -> Met {
    let mut pod = at.create(PODS, idle_pod("a")).await?;
    pod["status"]["reason"] = "Replaced".into();
    let replaced = at.try_replace(PODS, &pod, "/status").await?.ok()?;
    same(&replaced, "/status/reason", "Replaced")?;
    let patch = json!([{"op": "replace", "path": "/status/reason", "value": "Patched"}]);
    let patched = at.patch(PODS, "a/status", Patch::Json(patch)).await?;
    same(&patched, "/status/reason", "Patched")?;
    let conditions = |kind: &str| {
        Patch::Strategic(json!({"status": {"conditions": [{"type": kind, "status": "True"}]}}))
    };
    at.patch(PODS, "a/status", conditions("example.com/one")).await?;
    let both = at.patch(PODS, "a/status", conditions("example.com/two")).await?;
    same(condition(&both, "example.com/one"), "/status", "True")?;
    same(condition(&both, "example.com/two"), "/status", "True")?;
    at.try_replace(PODS, &pod, "/status").await?.refused(409, "Conflict")?;
    Ok(())
}

async fn scale_deployment(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    // The controller's first word on it would make the version stale.
    at.until(DEPLOYMENTS, "a", "an observed generation", |deployment| {
        deployment["status"]["observedGeneration"] == 1
            && !condition(deployment, "Progressing").is_null()
    })
    .await?;
    let path = at.path(DEPLOYMENTS, "a/scale");
    let mut scale = at.ask(path.clone()).await?.ok()?;
    same(&scale, "/kind", "Scale")?;
    same(&scale, "/apiVersion", "autoscaling/v1")?;
    same(&scale, "/metadata/name", "a")?;
    same(&scale, "/status/selector", "app=a")?;
    ensure(scale["spec"]["replicas"].as_i64().unwrap_or(0) == 0, "0 replicas", &scale)?;
    scale["spec"] = json!({"replicas": 2});
    let scaled = at.call(Method::PUT, path).json(&scale).send().await?.ok()?;
    same(&scaled, "/spec/replicas", 2)?;
    same(&at.get(DEPLOYMENTS, "a").await?, "/spec/replicas", 2)?;
    same(&at.get(DEPLOYMENTS, "a").await?, "/metadata/generation", 2)?;
    let patched = at.merge(DEPLOYMENTS, "a/scale", json!({"spec": {"replicas": 1}})).await?;
    same(&patched, "/kind", "Scale")?;
    same(&at.get(DEPLOYMENTS, "a").await?, "/spec/replicas", 1)?;
    let api = kube::Api::<k8s_openapi::api::apps::v1::Deployment>::namespaced(
        at.wire.client(),
        &at.namespace,
    );
    let read = api.get_scale("a").await?;
    ensure(read.spec.and_then(|spec| spec.replicas) == Some(1), "1 replica by kube", "another")
}

async fn scale_others(at: &Place) -> Met {
    let spec = |extra: Value| {
        let mut spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "a"}},
            "template": idle_template("a")});
        if let (Some(into), Some(from)) = (spec.as_object_mut(), extra.as_object()) {
            into.extend(from.clone());
        }
        json!({"metadata": {"name": "a"}, "spec": spec})
    };
    at.create(STATEFUL_SETS, spec(json!({"serviceName": "a"}))).await?;
    at.create(REPLICA_SETS, spec(json!({}))).await?;
    for of in [STATEFUL_SETS, REPLICA_SETS] {
        at.merge(of, "a/scale", json!({"spec": {"replicas": 1}})).await?;
        same(&at.get(of, "a").await?, "/spec/replicas", 1)?;
    }
    Ok(())
}

async fn scale_refused(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    let path = at.path(DEPLOYMENTS, "a/scale");
    let mut scale = at.ask(path.clone()).await?.ok()?;
    at.merge(DEPLOYMENTS, "a", json!({"metadata": {"labels": {"new": "label"}}})).await?;
    scale["spec"] = json!({"replicas": 1});
    at.call(Method::PUT, path).json(&scale).send().await?.refused(409, "Conflict")?;
    let patch = Patch::Merge(json!({"spec": {"replicas": -1}}));
    at.try_patch(DEPLOYMENTS, "a/scale", patch).await?.refused(422, "Invalid")?;
    at.try_get(DEPLOYMENTS, "b/scale").await?.refused(404, "NotFound")?;
    Ok(())
}

async fn binding(at: &Place) -> Met {
    at.create(PODS, idle_pod("a")).await?;
    let bind = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "conform-nowhere"}});
    let path = at.path(PODS, "a/binding");
    let made = at.call(Method::POST, path.clone()).json(&bind).send().await?;
    ensure(made.status == 201, "201", made.seen())?;
    let pod = at.get(PODS, "a").await?;
    same(&pod, "/spec/nodeName", "conform-nowhere")?;
    same(condition(&pod, "PodScheduled"), "/status", "True")?;
    at.call(Method::POST, path).json(&bind).send().await?.refused(409, "Conflict")?;
    Ok(())
}

async fn evict(at: &Place, name: &str, query: &str) -> Met<Answer> {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": at.namespace}});
    let target = format!("{}{query}", at.path(PODS, &format!("{name}/eviction")));
    at.call(Method::POST, target).json(&eviction).send().await
}

async fn eviction(at: &Place) -> Met {
    at.create(PODS, idle_pod("a")).await?;
    let answer = evict(at, "a", "").await?;
    ensure(answer.status == 201, "201", answer.seen())?;
    same(&answer.json, "/status", "Success")?;
    at.until_gone(PODS, "a").await?;
    evict(at, "a", "").await?.refused(404, "NotFound")?;
    Ok(())
}

/// A pod that is ready, for all a controller can see.
async fn ready_pod(at: &Place, name: &str, app: &str) -> Met {
    let mut pod = idle_pod(name);
    pod["metadata"]["labels"]["app"] = app.into();
    at.create(PODS, pod).await?;
    let status = json!({"status": {"phase": "Running", "conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]}});
    at.patch(PODS, &format!("{name}/status"), Patch::Strategic(status)).await.map(|_| ())
}

async fn budget_of(at: &Place, least: u32) -> Met {
    let budget = json!({"metadata": {"name": "a"}, "spec": {"minAvailable": least,
        "selector": {"matchLabels": {"app": "a"}}}});
    at.create(DISRUPTION_BUDGETS, budget).await.map(|_| ())
}

async fn budget(at: &Place) -> Met {
    ready_pod(at, "a", "a").await?;
    ready_pod(at, "b", "a").await?;
    budget_of(at, 2).await?;
    at.until(DISRUPTION_BUDGETS, "a", "two healthy pods", |budget| {
        budget["status"]["currentHealthy"] == 2
    })
    .await?;
    let status = evict(at, "a", "").await?.refused(429, "TooManyRequests")?;
    mentions(&status, "/message", "violate the pod's disruption budget")?;
    same(&status, "/details/causes/0/reason", "DisruptionBudget")?;
    mentions(&status, "/details/causes/0/message", "needs 2 healthy pods and has 2 currently")?;
    at.get(PODS, "a").await?;
    at.merge(DISRUPTION_BUDGETS, "a", json!({"spec": {"minAvailable": 1}})).await?;
    at.until(DISRUPTION_BUDGETS, "a", "one disruption allowed", |budget| {
        budget["status"]["disruptionsAllowed"] == 1
    })
    .await?;
    let first = evict(at, "a", "").await?;
    ensure(first.status == 201, "201", first.seen())?;
    evict(at, "b", "").await?.refused(429, "TooManyRequests")?;
    Ok(())
}

async fn budget_status(at: &Place) -> Met {
    budget_of(at, 1).await?;
    ready_pod(at, "a", "a").await?;
    ready_pod(at, "b", "a").await?;
    ready_pod(at, "c", "a").await?;
    let budget = at
        .until(DISRUPTION_BUDGETS, "a", "three healthy pods", |budget| {
            budget["status"]["currentHealthy"] == 3
        })
        .await?;
    same(&budget, "/status/desiredHealthy", 1)?;
    same(&budget, "/status/expectedPods", 3)?;
    same(&budget, "/status/disruptionsAllowed", 2)?;
    let observed = number(&budget, "/status/observedGeneration")?;
    ensure(observed == 1, "observedGeneration 1", observed)?;
    same(condition(&budget, "DisruptionAllowed"), "/status", "True")
}

async fn eviction_dry_run(at: &Place) -> Met {
    at.create(PODS, idle_pod("a")).await?;
    let answer = evict(at, "a", "?dryRun=All").await?;
    ensure(answer.status == 201, "201", answer.seen())?;
    same(&at.get(PODS, "a").await?, "/metadata/deletionTimestamp", Value::Null)
}

async fn missing_part(at: &Place) -> Met {
    at.create(PODS, idle_pod("a")).await?;
    for part in ["a/scale", "a/nothing"] {
        let answer = at.try_get(PODS, part).await?;
        ensure(answer.status == 404, format!("404 for {part}"), answer.seen())?;
    }
    let list = at.list(PODS, "").await?;
    ensure(items(&list, "/items").len() == 1, "one pod", list)
}
