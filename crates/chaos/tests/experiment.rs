//! Experiments from beginning to end, against an API server: what they prove, whom they catch, what they leave.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::future::pending;
use std::sync::Arc;

use chaos::api::{NetworkChaos, PodChaos};
use chaos::experiment::{
    self, Cheat, EXPERIMENT_LABEL, Event, Experiment, FAULTS_ANNOTATION, Options, Stage, Verdict,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use support::{Cluster, until};

const CUT: &str = "
name: cut
title: one pod is cut off
workload: engine
fault: { chaos: { kind: NetworkChaos, spec: { action: partition, mode: all } } }
healthy: [{ ready: { atLeast: 2 } }]
bites: [{ ready: { atLeast: 2 } }]
holds: [{ ready: { atLeast: 1 } }]
hold: 2s
patience: 30s
";

fn parse(text: &str) -> Experiment {
    Experiment::parse("test", text).unwrap()
}

fn options(cluster: &Cluster) -> Options {
    Options { namespace: cluster.namespace.clone(), progress: Box::new(|_: &Event| {}) }
}

async fn engines() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.deployment(2).await;
    cluster.pod("a").await;
    cluster.pod("b").await;
    cluster
}

async fn faults(cluster: &Cluster) -> usize {
    let labelled = ListParams::default().labels(EXPERIMENT_LABEL);
    cluster.api::<NetworkChaos>().list(&labelled).await.unwrap().items.len()
        + cluster.api::<PodChaos>().list(&labelled).await.unwrap().items.len()
}

#[tokio::test]
async fn an_experiment_makes_its_fault_holds_and_undoes_it() {
    let cluster = engines().await;
    let report =
        experiment::run(cluster.client.clone(), &parse(CUT), &options(&cluster), pending()).await;
    assert_eq!(report.verdict, Verdict::Held, "{report:?}");
    let stages: Vec<Stage> = report.events.iter().map(|event| event.stage).collect();
    let wanted =
        [Stage::Baseline, Stage::Inject, Stage::Bite, Stage::Hold, Stage::Recover, Stage::Clean];
    assert_eq!(stages, wanted);
    assert_eq!(faults(&cluster).await, 0);
    let calls = cluster.notes.of(&cluster.namespace);
    assert_eq!(calls, ["inject a", "inject b", "recover a", "recover b"]);
}

#[tokio::test]
async fn a_workload_that_is_not_healthy_or_not_there_says_nothing_about_a_fault() {
    let cluster = engines().await;
    let text = CUT.replace("atLeast: 2", "atLeast: 3").replace("patience: 30s", "patience: 1s");
    let client = || cluster.client.clone();
    let report = experiment::run(client(), &parse(&text), &options(&cluster), pending()).await;
    assert_eq!(report.verdict, Verdict::Unhealthy("ready pods: 2, expected 3 or more".to_owned()));
    let text = CUT.replace("workload: engine", "workload: nobody");
    let text = text.replace("patience: 30s", "patience: 1s");
    let report = experiment::run(client(), &parse(&text), &options(&cluster), pending()).await;
    assert_eq!(report.verdict, Verdict::Unhealthy("there is no Deployment \"nobody\"".to_owned()));
    assert!(cluster.notes.of(&cluster.namespace).is_empty());
}

#[tokio::test]
async fn a_fault_that_nobody_can_make_did_not_bite() {
    let cluster = engines().await;
    let text = CUT.replace("action: partition", "action: corrupt, corrupt: { corrupt: '5' }");
    let report =
        experiment::run(cluster.client.clone(), &parse(&text), &options(&cluster), pending()).await;
    let Verdict::DidNotBite(why) = &report.verdict else { panic!("{report:?}") };
    assert!(why.contains("flipped bits"), "{why}");
    assert_eq!(faults(&cluster).await, 0);
}

/// Does something to the cluster once the fault has bitten.
async fn meddled<F>(cluster: &Cluster, meddle: impl FnOnce() -> F) -> Verdict
where
    F: Future<Output = ()>,
{
    let bitten = Arc::new(tokio::sync::Notify::new());
    let tell = bitten.clone();
    let progress = move |event: &Event| {
        if event.stage == Stage::Bite {
            tell.notify_one();
        }
    };
    let options = Options { namespace: cluster.namespace.clone(), progress: Box::new(progress) };
    let experiment = parse(&CUT.replace("hold: 2s", "hold: 30s"));
    let run = experiment::run(cluster.client.clone(), &experiment, &options, pending());
    let meddling = async {
        bitten.notified().await;
        meddle().await;
    };
    let (report, ()) = tokio::join!(run, meddling);
    assert_eq!(faults(cluster).await, 0, "{report:?}");
    report.verdict
}

#[tokio::test]
async fn whoever_scales_to_zero_is_caught() {
    let cluster = engines().await;
    let api: Api<Deployment> = cluster.api();
    let verdict = meddled(&cluster, || async {
        let patch = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
        api.patch("engine", &PatchParams::default(), &patch).await.unwrap();
    })
    .await;
    assert_eq!(verdict, Verdict::Cheated(Cheat::ScaledDown { from: 2, to: 0 }));
}

#[tokio::test]
async fn whoever_deletes_the_workload_or_the_fault_is_caught() {
    let cluster = engines().await;
    let faults: Api<NetworkChaos> = cluster.api();
    let verdict = meddled(&cluster, || async {
        faults.delete("experiment-cut", &DeleteParams::default()).await.unwrap();
    })
    .await;
    let caught = [Cheat::FaultDeleted, Cheat::FaultSuspended];
    assert!(matches!(&verdict, Verdict::Cheated(how) if caught.contains(how)), "{verdict:?}");

    let workloads: Api<Deployment> = cluster.api();
    let verdict = meddled(&cluster, || async {
        workloads.delete("engine", &DeleteParams::default()).await.unwrap();
    })
    .await;
    assert_eq!(verdict, Verdict::Cheated(Cheat::WorkloadDeleted));
}

#[tokio::test]
async fn a_run_that_is_stopped_leaves_nothing() {
    let cluster = engines().await;
    let notes = cluster.notes.clone();
    let namespace = cluster.namespace.clone();
    let cancel = async move {
        until("the fault is there", || async { notes.of(&namespace).len() == 2 }).await;
    };
    let experiment = parse(&CUT.replace("hold: 2s", "hold: 60s"));
    let report =
        experiment::run(cluster.client.clone(), &experiment, &options(&cluster), cancel).await;
    assert_eq!(report.verdict, Verdict::Unknown("it was stopped".to_owned()));
    assert_eq!(faults(&cluster).await, 0);
}

#[tokio::test]
async fn what_a_killed_run_left_is_removed_by_the_next() {
    let cluster = engines().await;
    let experiment = parse(CUT);
    // A run that is killed has made its fault and nothing else.
    let injected =
        experiment::inject(cluster.client.clone(), &experiment, &options(&cluster)).await;
    assert_eq!(injected.map_err(|verdict| verdict.line()).unwrap().trouble, None);
    assert_eq!(faults(&cluster).await, 1);
    let report =
        experiment::run(cluster.client.clone(), &experiment, &options(&cluster), pending()).await;
    assert_eq!(report.verdict, Verdict::Held, "{report:?}");
    assert_eq!(report.events[0].stage, Stage::Prepare);
    assert!(report.events[0].text.contains("NetworkChaos/experiment-cut"), "{report:?}");
}

#[tokio::test]
async fn an_engines_own_fault_is_an_annotation_that_goes_again() {
    let cluster = engines().await;
    let text = CUT.replace(
        "chaos: { kind: NetworkChaos, spec: { action: partition, mode: all } }",
        "engine: { name: hang, mode: one }",
    );
    let injected =
        experiment::inject(cluster.client.clone(), &parse(&text), &options(&cluster)).await;
    assert_eq!(injected.map_err(|verdict| verdict.line()).unwrap().trouble, None);
    let pods: Api<Pod> = cluster.api();
    let faulted = || async {
        let all = pods.list(&ListParams::default()).await.unwrap().items;
        let with = all.iter().filter(|pod| pod.annotations().get(FAULTS_ANNOTATION).is_some());
        with.map(ResourceExt::name_any).collect::<Vec<_>>()
    };
    assert_eq!(faulted().await.len(), 1);
    let patience = std::time::Duration::from_secs(5);
    let cleared = experiment::clear(&cluster.client, &cluster.namespace, patience).await.unwrap();
    assert_eq!(cleared.engines.len(), 1);
    assert_eq!(faulted().await.len(), 0);
}
