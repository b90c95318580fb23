//! StatefulSets, DaemonSets, Jobs and autoscalers.

use serde_json::{Value, json};

use crate::behaviour::group;
use crate::place::Place;
use crate::resource::{AUTOSCALERS, CLAIMS, DAEMON_SETS, DEPLOYMENTS, JOBS, PODS, STATEFUL_SETS};
use crate::stage::{FATE, Stage, node, pod_spec, template, workload};
use crate::unmet::{Met, condition, ensure, items, names, same};

group!("workloads", "StatefulSets, DaemonSets, Jobs, autoscalers", {
    "a StatefulSet starts its pods in order, each after the one before is ready" => ordered,
    "a StatefulSet's pods have stable names, host names and an index" => identity,
    "a StatefulSet that is Parallel starts all pods at once" => parallel,
    "a StatefulSet updates from the highest ordinal, down to its partition" => partition,
    "a StatefulSet shrinks from the highest ordinal" => shrinks,
    "a StatefulSet makes a claim for each pod, which stays when the pod goes" => claims,
    "a DaemonSet runs one pod on each node that fits, and on a new one" => daemon,
    "a DaemonSet updates its pods one after another" => daemon_update,
    "a Job completes when its pods have succeeded" => completes,
    "a Job runs parallelism pods at once, completions in all" => many,
    "a Job whose pods fail more than backoffLimit times has failed" => backoff,
    "an indexed Job gives each pod its index" => indexed,
    "a suspended Job has no pods until it is resumed" => suspended,
    "a Job past its activeDeadlineSeconds has failed" => deadline,
    "a finished Job is removed after its ttlSecondsAfterFinished" => ttl,
    "an autoscaler keeps replicas between its bounds" => bounds,
    "an autoscaler without metrics says so" => no_metrics,
    "an autoscaler without a target says so" => no_target,
});

fn stateful(at: &Place, replicas: u32, extra: Value) -> Value {
    let mut set = workload(at, "a", replicas, extra);
    set["spec"]["serviceName"] = "a".into();
    set
}

async fn stateful_ready(at: &Place, ready: u32) -> Met<Value> {
    at.until(STATEFUL_SETS, "a", &format!("{ready} ready pods"), |set| {
        set["status"]["observedGeneration"] == set["metadata"]["generation"]
            && set["status"]["replicas"].as_u64().unwrap_or(0) == u64::from(ready)
            && set["status"]["readyReplicas"].as_u64().unwrap_or(0) == u64::from(ready)
    })
    .await
}

async fn ordered(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let mut set = stateful(at, 3, json!({}));
    set["spec"]["template"] = template(at, "a", "unready");
    at.create(STATEFUL_SETS, set).await?;
    for ready in 0..3 {
        let name = format!("a-{ready}");
        at.until(PODS, &name, "running", |pod| pod["status"]["phase"] == "Running").await?;
        let seen = names(&at.list(PODS, "").await?);
        let expected: Vec<_> = (0..=ready).map(|number| format!("a-{number}")).collect();
        ensure(
            seen == expected,
            format!("{expected:?} until {name} is ready"),
            format!("{seen:?}"),
        )?;
        let fate = json!({"metadata": {"annotations": {FATE: "ready"}}});
        at.merge(PODS, &name, fate).await?;
    }
    stateful_ready(at, 3).await.map(|_| ())
}

async fn identity(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(STATEFUL_SETS, stateful(at, 2, json!({}))).await?;
    let set = stateful_ready(at, 2).await?;
    let pod = at.get(PODS, "a-1").await?;
    same(&pod, "/spec/hostname", "a-1")?;
    same(&pod, "/spec/subdomain", "a")?;
    same(&pod, "/metadata/labels/statefulset.kubernetes.io~1pod-name", "a-1")?;
    same(&pod, "/metadata/labels/apps.kubernetes.io~1pod-index", "1")?;
    same(
        &pod,
        "/metadata/labels/controller-revision-hash",
        set["status"]["currentRevision"].clone(),
    )?;
    let old = pod["metadata"]["uid"].clone();
    at.delete(PODS, "a-1", json!({})).await?;
    at.until(PODS, "a-1", "a new pod of the old name", |pod| pod["metadata"]["uid"] != old)
        .await
        .map(|_| ())
}

async fn parallel(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let mut set = stateful(at, 3, json!({"podManagementPolicy": "Parallel"}));
    set["spec"]["template"] = template(at, "a", "unready");
    at.create(STATEFUL_SETS, set).await?;
    at.until_list(PODS, "", "three pods though none is ready", |pods| pods.len() == 3)
        .await
        .map(|_| ())
}

/// The images of pods a-0, a-1, ….
async fn images(at: &Place) -> Met<Vec<String>> {
    let list = at.list(PODS, "").await?;
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().map(Into::into);
    Ok(items(&list, "/items").iter().filter_map(image).collect())
}

async fn partition(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let extra =
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    at.create(STATEFUL_SETS, stateful(at, 3, extra)).await?;
    stateful_ready(at, 3).await?;
    let old = crate::fixture::STUB_IMAGE;
    let containers = json!([{"name": "main", "image": "b:2"}]);
    let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    at.merge(STATEFUL_SETS, "a", change).await?;
    at.until(STATEFUL_SETS, "a", "one updated pod", |set| {
        set["status"]["updatedReplicas"] == 1 && set["status"]["readyReplicas"] == 3
    })
    .await?;
    let seen = images(at).await?;
    ensure(seen == [old, old, "b:2"], "a-2 alone updated", format!("{seen:?}"))?;
    let all = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}});
    at.merge(STATEFUL_SETS, "a", all).await?;
    at.until(STATEFUL_SETS, "a", "a-1 and a-0 updated, in this order", |set| {
        set["status"]["updateRevision"] == set["status"]["currentRevision"]
            && set["status"]["readyReplicas"] == 3
    })
    .await?;
    let seen = images(at).await?;
    ensure(seen == ["b:2", "b:2", "b:2"], "all updated", format!("{seen:?}"))?;
    let pods = at.list(PODS, "").await?;
    let born = |number: usize| pods["items"][number]["metadata"]["creationTimestamp"].to_string();
    ensure(born(1) <= born(0), "a-1 before a-0", format!("{} {}", born(1), born(0)))
}

async fn shrinks(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(STATEFUL_SETS, stateful(at, 3, json!({}))).await?;
    stateful_ready(at, 3).await?;
    at.merge(STATEFUL_SETS, "a/scale", json!({"spec": {"replicas": 1}})).await?;
    stateful_ready(at, 1).await?;
    let seen = names(&at.list(PODS, "").await?);
    ensure(seen == ["a-0"], "a-0 alone", format!("{seen:?}"))
}

async fn claims(at: &Place) -> Met {
    // No stage: the claims come first, and no storage of this cluster is needed for that.
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "conform-none", "resources": {"requests": {"storage": "1Gi"}}}});
    let extra = json!({"volumeClaimTemplates": [claim], "podManagementPolicy": "Parallel"});
    at.create(STATEFUL_SETS, stateful(at, 2, extra)).await?;
    at.until_list(PODS, "", "two pods", |pods| pods.len() == 2).await?;
    let pod = at.get(PODS, "a-1").await?;
    let volume = items(&pod, "/spec/volumes").iter().find(|volume| volume["name"] == "data");
    let volume = volume.cloned().unwrap_or_default();
    same(&volume, "/persistentVolumeClaim/claimName", "data-a-1")?;
    at.merge(STATEFUL_SETS, "a/scale", json!({"spec": {"replicas": 0}})).await?;
    at.until_list(PODS, "", "no pod", <[Value]>::is_empty).await?;
    let seen = names(&at.list(CLAIMS, "").await?);
    ensure(seen == ["data-a-0", "data-a-1"], "both claims", format!("{seen:?}"))
}

fn daemon_set(at: &Place) -> Value {
    json!({"metadata": {"name": "a"}, "spec": {
        "selector": {"matchLabels": {"app": "a"}}, "template": template(at, "a", "ready")}})
}

async fn daemon(at: &Place) -> Met {
    let _stage = Stage::set(at, 2).await?;
    at.create(DAEMON_SETS, daemon_set(at)).await?;
    let on = |count: usize| {
        move |pods: &[Value]| {
            let mut nodes: Vec<_> =
                pods.iter().map(|p| p["spec"]["nodeName"].to_string()).collect();
            nodes.sort();
            nodes.dedup();
            pods.len() == count && nodes.len() == count
        }
    };
    at.until_list(PODS, "", "one pod on each of two nodes", on(2)).await?;
    at.until(DAEMON_SETS, "a", "two ready", |set| set["status"]["numberReady"] == 2).await?;
    node(at, "new", json!({"spec": {"unschedulable": true}})).await?;
    at.until_list(PODS, "", "one on the new node, cordoned or not", on(3)).await?;
    let set =
        at.until(DAEMON_SETS, "a", "three ready", |set| set["status"]["numberReady"] == 3).await?;
    same(&set, "/status/desiredNumberScheduled", 3)?;
    same(&set, "/status/numberMisscheduled", 0)?;
    let pod = at.list(PODS, "").await?;
    let tolerates = items(&pod, "/items/0/spec/tolerations")
        .iter()
        .any(|toleration| toleration["key"] == "node.kubernetes.io/unschedulable");
    ensure(tolerates, "a toleration of cordoned nodes", &pod["items"][0]["spec"]["tolerations"])
}

async fn daemon_update(at: &Place) -> Met {
    let _stage = Stage::set(at, 2).await?;
    at.create(DAEMON_SETS, daemon_set(at)).await?;
    at.until(DAEMON_SETS, "a", "two ready", |set| set["status"]["numberReady"] == 2).await?;
    let containers = json!([{"name": "main", "image": "b:2"}]);
    let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    at.merge(DAEMON_SETS, "a", change).await?;
    at.until(DAEMON_SETS, "a", "both updated", |set| {
        set["status"]["observedGeneration"] == 2
            && set["status"]["updatedNumberScheduled"] == 2
            && set["status"]["numberReady"] == 2
    })
    .await?;
    let seen = images(at).await?;
    ensure(seen == ["b:2", "b:2"], "the new image on both", format!("{seen:?}"))
}

fn job(at: &Place, fate: &str, extra: Value) -> Value {
    let mut spec = json!({"template": {
        "metadata": {"annotations": {FATE: fate}}, "spec": pod_spec(at)}});
    spec["template"]["spec"]["restartPolicy"] = "Never".into();
    crate::stage::merge(&mut spec, &extra);
    json!({"metadata": {"name": "a"}, "spec": spec})
}

async fn finished(at: &Place, kind: &str) -> Met<Value> {
    at.until(JOBS, "a", kind, |job| condition(job, kind)["status"] == "True").await
}

async fn completes(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(JOBS, job(at, "succeed", json!({}))).await?;
    let seen = finished(at, "Complete").await?;
    same(&seen, "/status/succeeded", 1)?;
    crate::unmet::text(&seen, "/status/completionTime")?;
    crate::unmet::text(&seen, "/status/startTime")?;
    let pods = at.list(PODS, "?labelSelector=job-name%3Da").await?;
    ensure(names(&pods).len() == 1, "its pod stays, labelled job-name", names(&pods).len())
}

async fn many(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(JOBS, job(at, "ready", json!({"parallelism": 2, "completions": 3}))).await?;
    let seen = at.until(JOBS, "a", "two active", |job| job["status"]["active"] == 2).await?;
    same(&seen, "/status/succeeded", Value::Null)?;
    let first = names(&at.list(PODS, "").await?);
    ensure(first.len() == 2, "two pods", first.len())?;
    let fate = json!({"metadata": {"annotations": {FATE: "succeed"}}});
    at.merge(PODS, &first[0], fate.clone()).await?;
    at.until_list(PODS, "", "a third pod", |pods| pods.len() == 3).await?;
    for name in names(&at.list(PODS, "").await?) {
        at.merge(PODS, &name, fate.clone()).await?;
    }
    same(&finished(at, "Complete").await?, "/status/succeeded", 3)
}

async fn backoff(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(JOBS, job(at, "fail", json!({"backoffLimit": 0}))).await?;
    let seen = finished(at, "Failed").await?;
    same(condition(&seen, "Failed"), "/reason", "BackoffLimitExceeded")?;
    same(&seen, "/status/failed", 1)
}

async fn indexed(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let extra = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2});
    at.create(JOBS, job(at, "succeed", extra)).await?;
    same(&finished(at, "Complete").await?, "/status/completedIndexes", "0,1")?;
    let pods = at.list(PODS, "").await?;
    let index = "batch.kubernetes.io/job-completion-index";
    let mut seen: Vec<_> = items(&pods, "/items")
        .iter()
        .filter_map(|pod| pod["metadata"]["annotations"][index].as_str())
        .collect();
    seen.sort_unstable();
    ensure(seen == ["0", "1"], "an index for each pod", format!("{seen:?}"))?;
    let env = items(&pods, "/items/0/spec/containers/0/env");
    let named = env.iter().any(|env| env["name"] == "JOB_COMPLETION_INDEX");
    ensure(named, "JOB_COMPLETION_INDEX", &pods["items"][0]["spec"]["containers"][0]["env"])
}

async fn suspended(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(JOBS, job(at, "succeed", json!({"suspend": true}))).await?;
    at.until(JOBS, "a", "a condition Suspended", |job| {
        condition(job, "Suspended")["status"] == "True"
    })
    .await?;
    let pods = at.list(PODS, "").await?;
    ensure(items(&pods, "/items").is_empty(), "no pod", pods)?;
    at.merge(JOBS, "a", json!({"spec": {"suspend": false}})).await?;
    finished(at, "Complete").await.map(|_| ())
}

async fn deadline(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(JOBS, job(at, "ready", json!({"activeDeadlineSeconds": 1}))).await?;
    let seen = finished(at, "Failed").await?;
    same(condition(&seen, "Failed"), "/reason", "DeadlineExceeded")?;
    at.until_list(PODS, "", "its pods ended", <[Value]>::is_empty).await.map(|_| ())
}

async fn ttl(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(JOBS, job(at, "succeed", json!({"ttlSecondsAfterFinished": 1}))).await?;
    at.until_gone(JOBS, "a").await?;
    at.until_list(PODS, "", "its pods gone", <[Value]>::is_empty).await.map(|_| ())
}

fn autoscaler(target: &str, least: u32, most: u32) -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"minReplicas": least, "maxReplicas": most,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 50}}}]}})
}

async fn bounds(at: &Place) -> Met {
    at.create(DEPLOYMENTS, crate::fixture::idle_deployment("a", 1)).await?;
    at.create(AUTOSCALERS, autoscaler("a", 2, 4)).await?;
    at.until(DEPLOYMENTS, "a", "the least", |seen| seen["spec"]["replicas"] == 2).await?;
    at.merge(DEPLOYMENTS, "a/scale", json!({"spec": {"replicas": 6}})).await?;
    at.until(DEPLOYMENTS, "a", "the most", |seen| seen["spec"]["replicas"] == 4).await?;
    let seen = at.get(AUTOSCALERS, "a").await?;
    same(condition(&seen, "AbleToScale"), "/status", "True")
}

async fn no_metrics(at: &Place) -> Met {
    at.create(DEPLOYMENTS, crate::fixture::idle_deployment("a", 1)).await?;
    at.create(AUTOSCALERS, autoscaler("a", 1, 4)).await?;
    let seen = at
        .until(AUTOSCALERS, "a", "a condition ScalingActive", |seen| {
            condition(seen, "ScalingActive")["status"] == "False"
        })
        .await?;
    same(condition(&seen, "ScalingActive"), "/reason", "FailedGetResourceMetric")?;
    same(&at.get(DEPLOYMENTS, "a").await?, "/spec/replicas", 1)
}

async fn no_target(at: &Place) -> Met {
    at.create(AUTOSCALERS, autoscaler("none", 1, 4)).await?;
    let seen = at
        .until(AUTOSCALERS, "a", "a condition AbleToScale", |seen| {
            condition(seen, "AbleToScale")["status"] == "False"
        })
        .await?;
    same(condition(&seen, "AbleToScale"), "/reason", "FailedGetScale")
}
