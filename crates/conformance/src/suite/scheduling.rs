//! The scheduler: which node a pod gets, and the reason why it gets none.

use serde_json::{Value, json};

use crate::behaviour::group;
use crate::place::{Place, RUN_LABEL};
use crate::resource::{EVENTS, NODES, PODS, PRIORITY_CLASSES};
use crate::stage::{PLACE_LABEL, Stage, node, pod};
use crate::unmet::{Met, condition, ensure, items, mentions, same, text};

group!("scheduling", "resources, selectors, taints, affinity, spread, priority, and the reasons", {
    "a pod is bound to a node that fits, and an event says so" => bound,
    "a pod that asks for too much stays Pending with Insufficient cpu" => insufficient,
    "an extended resource is counted: Insufficient nvidia.com/gpu" => extended,
    "what pods have requested is no longer free" => requested,
    "a node takes no more pods than it says" => too_many,
    "a nodeSelector that no node has: didn't match" => node_selector,
    "required node affinity is kept to, preferred affinity is preferred" => node_affinity,
    "a taint that a pod does not tolerate: had untolerated taint" => taints,
    "a cordoned node is unschedulable, and has the taint that says so" => cordoned,
    "pod anti-affinity keeps pods apart: didn't match pod anti-affinity rules" => anti_affinity,
    "pod affinity brings pods together" => affinity,
    "topology spread keeps zones even: didn't match pod topology spread constraints" => spread,
    "a pending pod is bound when a node appears" => later,
    "a pod's priority comes from its class, or the class that is the default" => priority,
    "a pod of higher priority preempts one of lower" => preemption,
    "a pod with scheduling gates waits for them" => gates,
    "a pod with a node's name or of another scheduler is left alone" => left_alone,
    "a NoExecute taint evicts pods that do not tolerate it" => no_execute,
});

async fn scheduled(at: &Place, name: &str) -> Met<String> {
    let seen =
        at.until(PODS, name, "a node", |pod| pod["spec"]["nodeName"].as_str().is_some()).await?;
    Ok(text(&seen, "/spec/nodeName")?.to_owned())
}

/// Waits until the pod is found unschedulable with `reason` in the message.
async fn pending(at: &Place, name: &str, reason: &str) -> Met<Value> {
    let seen = at
        .until(PODS, name, &format!("Unschedulable: {reason}"), |pod| {
            let scheduled = condition(pod, "PodScheduled");
            scheduled["status"] == "False"
                && scheduled["message"].as_str().is_some_and(|message| message.contains(reason))
        })
        .await?;
    same(condition(&seen, "PodScheduled"), "/reason", "Unschedulable")?;
    mentions(condition(&seen, "PodScheduled"), "/message", "nodes are available: ")?;
    same(&seen, "/status/phase", "Pending")?;
    Ok(seen)
}

fn asks(resources: Value) -> Value {
    json!({"containers": [{"name": "main", "image": "a:1", "resources": resources}]})
}

async fn make(at: &Place, name: &str, extra: Value) -> Met<Value> {
    at.create(PODS, pod(at, name, extra)).await
}

async fn bound(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    make(at, "a", json!({})).await?;
    let on = scheduled(at, "a").await?;
    ensure(on == format!("{}-0", at.namespace), "the only node that fits", on)?;
    same(condition(&at.get(PODS, "a").await?, "PodScheduled"), "/status", "True")?;
    let query = "?fieldSelector=involvedObject.name%3Da%2Creason%3DScheduled";
    let events = at.until_list(EVENTS, query, "an event", |events| !events.is_empty()).await?;
    mentions(&events[0], "/message", "Successfully assigned ")
}

async fn insufficient(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    make(at, "a", asks(json!({"requests": {"cpu": "5"}}))).await?;
    pending(at, "a", "Insufficient cpu").await?;
    make(at, "b", asks(json!({"requests": {"memory": "9Gi"}}))).await?;
    pending(at, "b", "Insufficient memory").await?;
    let query = "?fieldSelector=involvedObject.name%3Da%2Creason%3DFailedScheduling";
    let events = at.until_list(EVENTS, query, "an event", |events| !events.is_empty()).await?;
    same(&events[0], "/type", "Warning")?;
    mentions(&events[0], "/message", "Insufficient cpu")
}

async fn extended(at: &Place) -> Met {
    let gpus = json!({"nvidia.com/gpu": "2"});
    node(at, "gpu", json!({"status": {"capacity": gpus, "allocatable": gpus}})).await?;
    node(at, "plain", json!({})).await?;
    for name in ["a", "b", "c"] {
        make(at, name, asks(json!({"limits": {"nvidia.com/gpu": 1}}))).await?;
        if name != "c" {
            let on = scheduled(at, name).await?;
            ensure(on.ends_with("-gpu"), "the node with GPUs", on)?;
        }
    }
    pending(at, "c", "Insufficient nvidia.com/gpu").await.map(|_| ())
}

async fn requested(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    make(at, "a", asks(json!({"requests": {"cpu": "3"}}))).await?;
    scheduled(at, "a").await?;
    make(at, "b", asks(json!({"requests": {"cpu": "2"}}))).await?;
    pending(at, "b", "Insufficient cpu").await?;
    at.delete(PODS, "a", json!({"gracePeriodSeconds": 0})).await?;
    scheduled(at, "b").await.map(|_| ())
}

async fn too_many(at: &Place) -> Met {
    node(at, "small", json!({"status": {"capacity": {"pods": "1"}, "allocatable": {"pods": "1"}}}))
        .await?;
    make(at, "a", json!({})).await?;
    scheduled(at, "a").await?;
    make(at, "b", json!({})).await?;
    pending(at, "b", "Too many pods").await.map(|_| ())
}

async fn node_selector(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    make(at, "a", json!({"nodeSelector": {"example.com/no": "node"}})).await?;
    pending(at, "a", "didn't match Pod's node affinity/selector").await.map(|_| ())
}

fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
}

async fn node_affinity(at: &Place) -> Met {
    for (suffix, zone) in [("x", "x"), ("y", "y")] {
        node(at, suffix, json!({"metadata": {"labels": {"zone": zone}}})).await?;
    }
    let required = |terms: Value| {
        json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    };
    make(at, "a", required(json!([expression("zone", "In", &["y", "z"])]))).await?;
    ensure(scheduled(at, "a").await?.ends_with("-y"), "the node in zone y", "another")?;
    make(at, "b", required(json!([expression("zone", "NotIn", &["x", "y"])]))).await?;
    pending(at, "b", "didn't match Pod's node affinity/selector").await?;
    let preferred = json!({"affinity": {"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": expression("zone", "In", &["x"])}]}}});
    for name in ["c", "d", "e"] {
        make(at, name, preferred.clone()).await?;
        let on = scheduled(at, name).await?;
        ensure(on.ends_with("-x"), "the preferred node", on)?;
    }
    Ok(())
}

async fn taints(at: &Place) -> Met {
    let taints = json!([
        {"key": PLACE_LABEL, "value": at.namespace, "effect": "NoSchedule"},
        {"key": "example.com/only", "value": "gpu", "effect": "NoSchedule"},
    ]);
    node(at, "only", json!({"spec": {"taints": taints}})).await?;
    make(at, "a", json!({})).await?;
    pending(at, "a", "had untolerated taint").await?;
    let mut tolerant = pod(at, "b", json!({}));
    tolerant["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    at.create(PODS, tolerant).await?;
    scheduled(at, "b").await.map(|_| ())
}

async fn cordoned(at: &Place) -> Met {
    let name = node(at, "only", json!({})).await?;
    at.merge(NODES, &name, json!({"spec": {"unschedulable": true}})).await?;
    at.until(NODES, &name, "the taint of a cordoned node", |node| {
        items(node, "/spec/taints").iter().any(|taint| {
            taint["key"] == "node.kubernetes.io/unschedulable" && taint["effect"] == "NoSchedule"
        })
    })
    .await?;
    make(at, "a", json!({})).await?;
    pending(at, "a", "were unschedulable").await?;
    at.merge(NODES, &name, json!({"spec": {"unschedulable": null}})).await?;
    scheduled(at, "a").await.map(|_| ())
}

fn term(app: &str, key: &str) -> Value {
    json!([{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}])
}

async fn anti_affinity(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    make(at, "a", json!({})).await?;
    scheduled(at, "a").await?;
    let apart = json!({"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": term("a", "kubernetes.io/hostname")}}});
    make(at, "b", apart).await?;
    pending(at, "b", "didn't match pod anti-affinity rules").await.map(|_| ())
}

async fn affinity(at: &Place) -> Met {
    let _stage = Stage::set(at, 3).await?;
    make(at, "a", json!({})).await?;
    let on = scheduled(at, "a").await?;
    let near = json!({"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": term("a", "kubernetes.io/hostname")}}});
    for name in ["b", "c", "d"] {
        make(at, name, near.clone()).await?;
        let beside = scheduled(at, name).await?;
        ensure(beside == on, format!("on {on}"), beside)?;
    }
    let far = json!({"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": term("none", "kubernetes.io/hostname")}}});
    make(at, "e", far).await?;
    pending(at, "e", "didn't match pod affinity rules").await.map(|_| ())
}

async fn spread(at: &Place) -> Met {
    let zone = |zone: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
    node(at, "x", zone("x")).await?;
    let y = node(at, "y", zone("y")).await?;
    let even = json!({"topologySpreadConstraints": [{"maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"set": "even"}}}]});
    let mut count = std::collections::BTreeMap::<String, usize>::new();
    for name in ["a", "b", "c", "d"] {
        let mut object = pod(at, name, even.clone());
        object["metadata"]["labels"]["set"] = "even".into();
        at.create(PODS, object).await?;
        *count.entry(scheduled(at, name).await?).or_default() += 1;
    }
    ensure(count.values().all(|pods| *pods == 2), "two in each zone", format!("{count:?}"))?;
    at.merge(NODES, &y, json!({"spec": {"unschedulable": true}})).await?;
    for name in ["e", "f"] {
        let mut object = pod(at, name, even.clone());
        object["metadata"]["labels"]["set"] = "even".into();
        at.create(PODS, object).await?;
        if name == "e" {
            scheduled(at, name).await?;
        }
    }
    pending(at, "f", "didn't match pod topology spread constraints").await.map(|_| ())
}

async fn later(at: &Place) -> Met {
    make(at, "a", json!({})).await?;
    let seen = at
        .until(PODS, "a", "found unschedulable", |pod| {
            condition(pod, "PodScheduled")["status"] == "False"
        })
        .await?;
    same(condition(&seen, "PodScheduled"), "/reason", "Unschedulable")?;
    node(at, "new", json!({})).await?;
    scheduled(at, "a").await.map(|_| ())
}

async fn class(at: &Place, suffix: &str, value: i64) -> Met<String> {
    let name = format!("{}-{suffix}", at.namespace);
    let labels = json!({RUN_LABEL: at.settings.run});
    let object = json!({"metadata": {"name": name, "labels": labels}, "value": value});
    at.create(PRIORITY_CLASSES, object).await?;
    Ok(name)
}

async fn priority(at: &Place) -> Met {
    let high = class(at, "high", 1000).await?;
    let made = make(at, "a", json!({"priorityClassName": high})).await?;
    same(&made, "/spec/priority", 1000)?;
    let made = make(at, "b", json!({"priorityClassName": "system-cluster-critical"})).await?;
    same(&made, "/spec/priority", 2_000_000_000_i64)?;
    let none = pod(at, "c", json!({"priorityClassName": "conform-none"}));
    at.try_create(PODS, none, "").await?.refused(403, "Forbidden")?;
    Ok(())
}

async fn preemption(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let (low, high) = (class(at, "low", 10).await?, class(at, "high", 1000).await?);
    let mut small = asks(json!({"requests": {"cpu": "3"}}));
    small["priorityClassName"] = low.into();
    make(at, "a", small.clone()).await?;
    scheduled(at, "a").await?;
    let mut large = asks(json!({"requests": {"cpu": "3"}}));
    large["priorityClassName"] = high.into();
    make(at, "b", large).await?;
    scheduled(at, "b").await?;
    at.until_gone(PODS, "a").await?;
    let query = "?fieldSelector=involvedObject.name%3Da%2Creason%3DPreempted";
    at.until_list(EVENTS, query, "an event", |events| !events.is_empty()).await.map(|_| ())
}

async fn gates(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    make(at, "a", json!({"schedulingGates": [{"name": "example.com/wait"}]})).await?;
    let seen = at
        .until(PODS, "a", "a condition PodScheduled", |pod| {
            condition(pod, "PodScheduled")["status"] == "False"
        })
        .await?;
    same(condition(&seen, "PodScheduled"), "/reason", "SchedulingGated")?;
    at.merge(PODS, "a", json!({"spec": {"schedulingGates": null}})).await?;
    scheduled(at, "a").await.map(|_| ())
}

async fn left_alone(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    make(at, "other", json!({"schedulerName": "nobody"})).await?;
    make(at, "named", json!({"nodeName": format!("{}-0", at.namespace)})).await?;
    make(at, "usual", json!({})).await?;
    scheduled(at, "usual").await?;
    let other = at.get(PODS, "other").await?;
    same(&other, "/spec/nodeName", Value::Null)?;
    same(condition(&other, "PodScheduled"), "/status", Value::Null)?;
    at.until(PODS, "named", "running", |pod| pod["status"]["phase"] == "Running").await.map(|_| ())
}

async fn no_execute(at: &Place) -> Met {
    let name = node(at, "only", json!({})).await?;
    let _stage = Stage::run(at);
    make(at, "a", json!({})).await?;
    let mut tolerant = pod(at, "b", json!({}));
    tolerant["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    at.create(PODS, tolerant).await?;
    scheduled(at, "a").await?;
    scheduled(at, "b").await?;
    let taints = json!([
        {"key": PLACE_LABEL, "value": at.namespace, "effect": "NoSchedule"},
        {"key": "example.com/leave", "effect": "NoExecute"},
    ]);
    at.merge(NODES, &name, json!({"spec": {"taints": taints}})).await?;
    at.until_gone(PODS, "a").await?;
    same(&at.get(PODS, "b").await?, "/metadata/deletionTimestamp", Value::Null)
}
