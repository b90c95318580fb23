//! The controller against an API server, with an executor that takes notes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::atomic::Ordering;

use chaos::api::{
    Chaos, ConditionType, NetworkChaos, PAUSE_ANNOTATION, PodChaos, Schedule, Workflow,
};
use chaos::fault::{Fault, Peers};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use support::{Cluster, until};

fn object(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": name }, "spec": spec })
}

fn delay(more: Value) -> Value {
    let mut spec = json!({
        "action": "delay", "mode": "all", "delay": { "latency": "90ms" },
        "selector": { "labelSelectors": { "app": "engine" } },
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

async fn holds(cluster: &Cluster, name: &str, condition: ConditionType) -> bool {
    let chaos = cluster.api::<NetworkChaos>().get(name).await.unwrap();
    chaos.status().is_some_and(|status| status.holds(condition))
}

#[tokio::test]
async fn a_fault_is_made_for_every_target_and_undone_before_its_object_goes() {
    let cluster = Cluster::start().await;
    cluster.pod("a").await;
    cluster.pod("b").await;
    let target = json!({ "mode": "all", "selector": { "pods": { &cluster.namespace: ["b"] } } });
    let spec =
        delay(json!({ "selector": { "pods": { &cluster.namespace: ["a"] } }, "target": target }));
    let _: NetworkChaos = cluster.create(object("slow", spec)).await;
    until("all is injected", || holds(&cluster, "slow", ConditionType::AllInjected)).await;
    assert_eq!(cluster.notes.of(&cluster.namespace), ["inject a"]);
    let (_, injection) = cluster.notes.calls.lock().unwrap()[0].clone();
    let Fault::Link(link) = injection.fault else { panic!("{injection:?}") };
    assert_eq!(link.peers, Peers::Pods(vec![(cluster.namespace.clone(), "b".to_owned())]));

    let api = cluster.api::<NetworkChaos>();
    api.delete("slow", &DeleteParams::default()).await.unwrap();
    until("it is gone", || async { api.get_opt("slow").await.unwrap().is_none() }).await;
    assert_eq!(cluster.notes.of(&cluster.namespace), ["inject a", "recover a"]);
}

#[tokio::test]
async fn a_pause_undoes_the_fault_and_its_end_makes_it_again() {
    let cluster = Cluster::start().await;
    cluster.pod("a").await;
    let _: NetworkChaos = cluster.create(object("slow", delay(json!({})))).await;
    until("all is injected", || holds(&cluster, "slow", ConditionType::AllInjected)).await;
    let pause = |value: Value| {
        let patch = json!({ "metadata": { "annotations": { PAUSE_ANNOTATION: value } } });
        let api = cluster.api::<NetworkChaos>();
        async move { api.patch("slow", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap() }
    };
    pause(json!("true")).await;
    until("all is recovered", || holds(&cluster, "slow", ConditionType::AllRecovered)).await;
    assert!(holds(&cluster, "slow", ConditionType::Paused).await);
    pause(Value::Null).await;
    until("all is injected", || holds(&cluster, "slow", ConditionType::AllInjected)).await;
    assert_eq!(cluster.notes.of(&cluster.namespace), ["inject a", "recover a", "inject a"]);
}

#[tokio::test]
async fn a_fault_ends_with_its_duration_and_its_object_stays() {
    let cluster = Cluster::start().await;
    cluster.pod("a").await;
    let _: NetworkChaos = cluster.create(object("short", delay(json!({ "duration": "3s" })))).await;
    until("it was made and undone", || async {
        cluster.notes.of(&cluster.namespace) == ["inject a", "recover a"]
    })
    .await;
    until("all is recovered", || holds(&cluster, "short", ConditionType::AllRecovered)).await;
}

#[tokio::test]
async fn what_only_a_kernel_can_do_ends_in_a_condition_that_says_so() {
    let cluster = Cluster::start().await;
    cluster.pod("a").await;
    let reorder = json!({ "latency": "1ms", "reorder": { "reorder": "50", "gap": 3 } });
    let _: NetworkChaos = cluster.create(object("mixed", delay(json!({ "delay": reorder })))).await;
    let reason = || async {
        let chaos = cluster.api::<NetworkChaos>().get("mixed").await.unwrap();
        let condition =
            chaos.status().and_then(|status| status.condition(ConditionType::AllInjected));
        condition.and_then(|condition| condition.reason.clone()).unwrap_or_default()
    };
    until("the reason is said", || async { !reason().await.is_empty() }).await;
    let reason = reason().await;
    assert!(reason.contains("not supported here: packets that overtake others"), "{reason}");
    assert!(cluster.notes.of(&cluster.namespace).is_empty());
}

#[tokio::test]
async fn an_executor_that_fails_is_asked_again() {
    let cluster = Cluster::start().await;
    cluster.pod("a").await;
    cluster.notes.broken.store(true, Ordering::SeqCst);
    let _: NetworkChaos = cluster.create(object("slow", delay(json!({})))).await;
    until("the trouble is noted", || async {
        let chaos = cluster.api::<NetworkChaos>().get("slow").await.unwrap();
        let records = chaos.status().and_then(|status| status.experiment.records.clone());
        let events = records.unwrap_or_default().into_iter().flat_map(|record| record.events);
        events.into_iter().any(|event| event.message.as_deref() == Some("the node does not answer"))
    })
    .await;
    cluster.notes.broken.store(false, Ordering::SeqCst);
    until("all is injected", || holds(&cluster, "slow", ConditionType::AllInjected)).await;
}

#[tokio::test]
async fn a_killed_pod_is_gone() {
    let cluster = Cluster::start().await;
    cluster.pod("a").await;
    cluster.pod("b").await;
    let selector = json!({ "labelSelectors": { "app": "engine" } });
    let spec = json!({ "action": "pod-kill", "mode": "one", "selector": selector });
    let _: PodChaos = cluster.create(object("kill", spec)).await;
    let pods = cluster.api::<Pod>();
    until("one pod is left", || async {
        pods.list(&ListParams::default()).await.unwrap().items.len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_workflow_follows_its_timetable() {
    let cluster = Cluster::start().await;
    cluster.pod("a").await;
    let templates = json!([
        { "name": "entry", "templateType": "Serial", "children": ["slow", "cut"] },
        { "name": "slow", "templateType": "NetworkChaos", "deadline": "2s", "networkChaos": delay(json!({})) },
        { "name": "cut", "templateType": "NetworkChaos", "deadline": "2s",
          "networkChaos": delay(json!({ "action": "partition" })) },
    ]);
    let spec = json!({ "entry": "entry", "templates": templates });
    let _: Workflow = cluster.create(object("flow", spec)).await;
    until("it is accomplished", || async {
        let status =
            cluster.api::<Workflow>().get("flow").await.unwrap().status.unwrap_or_default();
        status.conditions.iter().any(|each| each.kind == "Accomplished" && each.status == "True")
    })
    .await;
    until("both faults were undone", || async {
        let all = cluster.notes.of(&cluster.namespace);
        all.iter().filter(|call| *call == "recover a").count() == 2
    })
    .await;
    let calls = cluster.notes.calls.lock().unwrap();
    let ours = calls.iter().filter(|(_, call)| call.target.namespace == cluster.namespace);
    let injected = ours.filter(|(what, _)| *what == "inject");
    let cut: Vec<bool> = injected
        .map(|(_, call)| matches!(&call.fault, Fault::Link(link) if link.effect.partition))
        .collect();
    assert_eq!(cut, [false, true]);
}

#[tokio::test]
async fn a_schedule_makes_its_fault_again_and_keeps_few() {
    let cluster = Cluster::start().await;
    cluster.pod("a").await;
    let spec = json!({
        "schedule": "@every 2s", "type": "NetworkChaos", "historyLimit": 1,
        "networkChaos": delay(json!({ "duration": "1s" })),
    });
    let _: Schedule = cluster.create(object("often", spec)).await;
    until("it was made three times", || async {
        let all = cluster.notes.of(&cluster.namespace);
        all.iter().filter(|call| *call == "inject a").count() >= 3
    })
    .await;
    let made = cluster.api::<NetworkChaos>().list(&ListParams::default()).await.unwrap().items;
    assert!(made.len() <= 3, "{} are kept", made.len());
}
