//! Deployments and ReplicaSets: rollouts, their history, and who owns which pod.

use serde_json::{Value, json};

use crate::behaviour::group;
use crate::place::Place;
use crate::resource::{DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS};
use crate::stage::{FATE, Stage, template, workload};
use crate::unmet::{Met, condition, ensure, items, names, number, same, text};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

group!("deployments", "rollouts, history, adoption", {
    "a Deployment makes a ReplicaSet that makes its pods" => makes,
    "a Deployment reports its replicas and says it is available" => reports,
    "a rolling update keeps to maxSurge and maxUnavailable" => bounds,
    "an undone rollout brings the old ReplicaSet back as the newest revision" => undo,
    "old ReplicaSets beyond revisionHistoryLimit are removed" => history,
    "a rollout that does not progress says ProgressDeadlineExceeded" => deadline,
    "a rollout whose pods do not become ready leaves the old ones" => stuck,
    "Recreate ends all old pods before it starts new ones" => recreate,
    "a paused Deployment does not roll out until it is resumed" => paused,
    "a Deployment is scaled up and down" => scaled,
    "a restart by annotation replaces every pod" => restart,
    "minReadySeconds delays availability" => min_ready,
    "a ReplicaSet replaces a pod that is deleted" => replaces,
    "a ReplicaSet adopts a pod that fits and releases one that no longer does" => adoption,
    "a ReplicaSet that shrinks takes unready pods first" => shrinks,
    "scaling leaves an event that names the ReplicaSet" => events,
});

/// Waits until a Deployment has observed its spec and `ready` pods of it are ready, updated and available.
async fn settled(at: &Place, name: &str, ready: u32) -> Met<Value> {
    at.until(DEPLOYMENTS, name, &format!("{ready} replicas, all updated and available"), |seen| {
        let status = &seen["status"];
        let count = |field: &str| status[field].as_u64().unwrap_or(0) == u64::from(ready);
        status["observedGeneration"] == seen["metadata"]["generation"]
            && ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"]
                .iter()
                .all(|field| count(field))
    })
    .await
}

async fn roll(at: &Place, name: &str, image: &str) -> Met<Value> {
    let containers = json!([{"name": "main", "image": image}]);
    let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    at.merge(DEPLOYMENTS, name, change).await
}

async fn replica_sets(at: &Place) -> Met<Vec<Value>> {
    Ok(items(&at.list(REPLICA_SETS, "").await?, "/items").to_vec())
}

async fn makes(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let made = at.create(DEPLOYMENTS, workload(at, "a", 2, json!({}))).await?;
    settled(at, "a", 2).await?;
    let sets = replica_sets(at).await?;
    ensure(sets.len() == 1, "one ReplicaSet", sets.len())?;
    let set = &sets[0];
    let hash = text(set, &format!("/metadata/labels/{HASH}"))?;
    same(set, "/metadata/name", format!("a-{hash}"))?;
    same(set, &format!("/spec/selector/matchLabels/{HASH}"), hash)?;
    same(set, "/metadata/ownerReferences/0/uid", made["metadata"]["uid"].clone())?;
    same(set, "/metadata/ownerReferences/0/controller", true)?;
    same(set, "/metadata/annotations/deployment.kubernetes.io~1revision", "1")?;
    let pods = at.list(PODS, "").await?;
    for pod in items(&pods, "/items") {
        let name = text(pod, "/metadata/name")?;
        ensure(name.starts_with(&format!("a-{hash}-")), "a name after its ReplicaSet", name)?;
        same(pod, "/metadata/ownerReferences/0/uid", set["metadata"]["uid"].clone())?;
        same(pod, &format!("/metadata/labels/{HASH}"), hash)?;
        same(pod, "/metadata/labels/app", "a")?;
    }
    Ok(())
}

async fn reports(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 2, json!({}))).await?;
    settled(at, "a", 2).await?;
    let seen = at
        .until(DEPLOYMENTS, "a", "a finished rollout", |seen| {
            condition(seen, "Progressing")["reason"] == "NewReplicaSetAvailable"
        })
        .await?;
    same(condition(&seen, "Available"), "/status", "True")?;
    same(condition(&seen, "Available"), "/reason", "MinimumReplicasAvailable")?;
    same(condition(&seen, "Progressing"), "/status", "True")?;
    same(&seen, "/status/unavailableReplicas", Value::Null)?;
    same(&seen, "/metadata/annotations/deployment.kubernetes.io~1revision", "1")
}

async fn bounds(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let strategy = json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}});
    at.create(DEPLOYMENTS, workload(at, "a", 4, strategy)).await?;
    let before = settled(at, "a", 4).await?;
    let query = format!("&resourceVersion={}", crate::unmet::version(&before)?);
    let mut watch = at.watch(DEPLOYMENTS, &query).await?;
    let generation = number(&roll(at, "a", "b:2").await?, "/metadata/generation")?;
    loop {
        let event = watch.next().await?;
        let status = &event.object["status"];
        let count = |field: &str| status[field].as_i64().unwrap_or(0);
        ensure(count("availableReplicas") >= 4, "at least 4 available", status)?;
        // Status may lag behind two ReplicaSets that change at once; what they are asked for may not.
        let sets = replica_sets(at).await?;
        let asked: i64 = sets.iter().filter_map(|set| set["spec"]["replicas"].as_i64()).sum();
        ensure(asked <= 5, "at most 5 pods asked for", asked)?;
        let observed = status["observedGeneration"].as_i64().unwrap_or(0) >= generation;
        if observed && count("updatedReplicas") == 4 && count("replicas") == 4 {
            break;
        }
    }
    Ok(())
}

async fn undo(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 1, json!({}))).await?;
    settled(at, "a", 1).await?;
    let first = replica_sets(at).await?[0]["metadata"]["name"].clone();
    roll(at, "a", "b:2").await?;
    settled(at, "a", 1).await?;
    ensure(replica_sets(at).await?.len() == 2, "two ReplicaSets", replica_sets(at).await?.len())?;
    roll(at, "a", crate::fixture::STUB_IMAGE).await?;
    let seen = settled(at, "a", 1).await?;
    same(&seen, "/metadata/annotations/deployment.kubernetes.io~1revision", "3")?;
    let sets = replica_sets(at).await?;
    ensure(sets.len() == 2, "still two ReplicaSets", sets.len())?;
    let old = sets.iter().find(|set| set["metadata"]["name"] == first).cloned().unwrap_or_default();
    ensure(old["metadata"]["annotations"][REVISION] == "3", "the first one as revision 3", &old)?;
    same(&old, "/spec/replicas", 1)
}

async fn history(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 1, json!({"revisionHistoryLimit": 1}))).await?;
    settled(at, "a", 1).await?;
    for image in ["b:2", "b:3", "b:4"] {
        roll(at, "a", image).await?;
        settled(at, "a", 1).await?;
    }
    at.until_list(REPLICA_SETS, "", "the newest two ReplicaSets", |sets| {
        let mut revisions: Vec<_> =
            sets.iter().map(|set| set["metadata"]["annotations"][REVISION].to_string()).collect();
        revisions.sort();
        revisions == ["\"3\"", "\"4\""]
    })
    .await
    .map(|_| ())
}

fn fated(fate: &str) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {FATE: fate}}}}})
}

async fn deadline(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let mut object = workload(at, "a", 1, json!({"progressDeadlineSeconds": 2}));
    object["spec"]["template"] = template(at, "a", "unready");
    at.create(DEPLOYMENTS, object).await?;
    let seen = at
        .until(DEPLOYMENTS, "a", "an exceeded deadline", |seen| {
            condition(seen, "Progressing")["reason"] == "ProgressDeadlineExceeded"
        })
        .await?;
    same(condition(&seen, "Progressing"), "/status", "False")?;
    same(condition(&seen, "Available"), "/status", "False")?;
    same(condition(&seen, "Available"), "/reason", "MinimumReplicasUnavailable")
}

async fn stuck(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let strategy = json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}});
    at.create(DEPLOYMENTS, workload(at, "a", 4, strategy)).await?;
    settled(at, "a", 4).await?;
    at.merge(DEPLOYMENTS, "a", fated("unready")).await?;
    at.until(DEPLOYMENTS, "a", "two new pods, three old ones available", |seen| {
        seen["status"]["updatedReplicas"] == 2 && seen["status"]["availableReplicas"] == 3
    })
    .await?;
    // It must stay so: a controller that goes on would have done so within this time.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let seen = at.get(DEPLOYMENTS, "a").await?;
    same(&seen, "/status/availableReplicas", 3)?;
    same(&seen, "/status/replicas", 5)
}

async fn recreate(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let mut object = workload(at, "a", 2, json!({}));
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    at.create(DEPLOYMENTS, object).await?;
    let before = settled(at, "a", 2).await?;
    let query = format!("&resourceVersion={}", crate::unmet::version(&before)?);
    let mut watch = at.watch(PODS, &query).await?;
    roll(at, "a", "b:2").await?;
    let (mut gone, mut new) = (0, std::collections::BTreeSet::new());
    while new.len() < 2 {
        let event = watch.next().await?;
        let is_new = event.object["spec"]["containers"][0]["image"] == "b:2";
        if is_new {
            ensure(gone == 2, "both old pods gone before a new one", gone)?;
            new.insert(event.name().to_owned());
        } else if event.kind == "DELETED" {
            gone += 1;
        }
    }
    settled(at, "a", 2).await.map(|_| ())
}

async fn paused(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 1, json!({}))).await?;
    settled(at, "a", 1).await?;
    at.merge(DEPLOYMENTS, "a", json!({"spec": {"paused": true}})).await?;
    roll(at, "a", "b:2").await?;
    let seen = at
        .until(DEPLOYMENTS, "a", "the change observed", |seen| {
            seen["status"]["observedGeneration"] == seen["metadata"]["generation"]
                && condition(seen, "Progressing")["reason"] == "DeploymentPaused"
        })
        .await?;
    ensure(replica_sets(at).await?.len() == 1, "one ReplicaSet while paused", &seen["status"])?;
    at.merge(DEPLOYMENTS, "a", json!({"spec": {"paused": false}})).await?;
    settled(at, "a", 1).await?;
    ensure(replica_sets(at).await?.len() == 2, "two ReplicaSets once resumed", "one")
}

async fn scaled(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 1, json!({}))).await?;
    settled(at, "a", 1).await?;
    for replicas in [4_u32, 2, 0, 1] {
        at.merge(DEPLOYMENTS, "a/scale", json!({"spec": {"replicas": replicas}})).await?;
        settled(at, "a", replicas).await?;
    }
    ensure(replica_sets(at).await?.len() == 1, "one ReplicaSet", replica_sets(at).await?.len())
}

async fn restart(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 2, json!({}))).await?;
    settled(at, "a", 2).await?;
    let before = names(&at.list(PODS, "").await?);
    let change = json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
    let change = json!({"spec": {"template": {"metadata": {"annotations": change}}}});
    at.merge(DEPLOYMENTS, "a", change).await?;
    settled(at, "a", 2).await?;
    at.until_list(PODS, "", "two other pods", |pods| {
        let known = |pod: &Value| before.iter().any(|name| pod["metadata"]["name"] == **name);
        pods.len() == 2 && !pods.iter().any(known)
    })
    .await
    .map(|_| ())
}

async fn min_ready(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 1, json!({"minReadySeconds": 3}))).await?;
    let early = at
        .until(DEPLOYMENTS, "a", "a ready pod", |seen| seen["status"]["readyReplicas"] == 1)
        .await?;
    same(&early, "/status/availableReplicas", Value::Null)?;
    settled(at, "a", 1).await.map(|_| ())
}

async fn replica_set(at: &Place, replicas: u32) -> Met<Value> {
    at.create(REPLICA_SETS, workload(at, "a", replicas, json!({}))).await?;
    at.until(REPLICA_SETS, "a", "ready replicas", |seen| {
        seen["status"]["readyReplicas"].as_u64().unwrap_or(0) == u64::from(replicas)
    })
    .await
}

async fn replaces(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    replica_set(at, 2).await?;
    let before = names(&at.list(PODS, "").await?);
    at.delete(PODS, &before[0], json!({})).await?;
    at.until_list(PODS, "", "two pods, one of them new", |pods| {
        pods.len() == 2 && !pods.iter().any(|pod| pod["metadata"]["name"] == *before[0])
    })
    .await
    .map(|_| ())
}

async fn adoption(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let stray = crate::stage::pod(at, "a", json!({}));
    at.create(PODS, stray).await?;
    let set = replica_set(at, 2).await?;
    let adopted = at
        .until(PODS, "a", "an owner", |pod| !pod["metadata"]["ownerReferences"].is_null())
        .await?;
    same(&adopted, "/metadata/ownerReferences/0/uid", set["metadata"]["uid"].clone())?;
    let list = at.list(PODS, "").await?;
    ensure(names(&list).len() == 2, "two pods with the adopted one", names(&list).len())?;
    at.merge(PODS, "a", json!({"metadata": {"labels": {"app": "free"}}})).await?;
    at.until(PODS, "a", "no owner", |pod| pod["metadata"]["ownerReferences"].is_null()).await?;
    at.until_list(PODS, "?labelSelector=app%3Da", "two pods of the set", |pods| pods.len() == 2)
        .await
        .map(|_| ())
}

async fn shrinks(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    replica_set(at, 3).await?;
    let pods = names(&at.list(PODS, "").await?);
    at.merge(PODS, &pods[1], json!({"metadata": {"annotations": {FATE: "unready"}}})).await?;
    at.until(REPLICA_SETS, "a", "two ready", |seen| seen["status"]["readyReplicas"] == 2).await?;
    at.merge(REPLICA_SETS, "a/scale", json!({"spec": {"replicas": 2}})).await?;
    at.until_gone(PODS, &pods[1]).await?;
    let left = names(&at.list(PODS, "").await?);
    ensure(left == [pods[0].clone(), pods[2].clone()], "the ready pods", format!("{left:?}"))
}

async fn events(at: &Place) -> Met {
    at.create(DEPLOYMENTS, crate::fixture::idle_deployment("a", 1)).await?;
    let query = "?fieldSelector=involvedObject.kind%3DDeployment%2CinvolvedObject.name%3Da";
    let found = at
        .until_list(EVENTS, query, "an event of scaling", |events| {
            events.iter().any(|event| event["reason"] == "ScalingReplicaSet")
        })
        .await?;
    let event = &found[0];
    same(event, "/type", "Normal")?;
    crate::unmet::mentions(event, "/message", "Scaled up replica set a-")?;
    same(event, "/source/component", "deployment-controller")
}
