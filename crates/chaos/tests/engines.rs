//! The course's experiments on real pods of lab 1's engine, from the healthy baseline to the end; and whoever cheats.
//!
//! Steps of the engines are predicted (`--sim`), everything around them is the real thing. As the tests of `pods`, it needs a
//! cluster: `cargo xtask test --only faults`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::future::pending;
use std::sync::Arc;

use chaos::experiment::{self, Cheat, Event, Experiment, Options, Report, Stage, Verdict};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::{Cluster, Manifests};

/// Two of lab 1's engines, from its own manifest.
struct Engines {
    cluster: Cluster,
}

impl Engines {
    fn up() -> Self {
        let cluster = Cluster::from_env().unwrap();
        let engine = "Deployment/engine";
        let pod = "/spec/template/spec";
        let manifests = Manifests::deploy("engine.yaml").set(engine, "/spec/replicas", 2);
        // A pod that ends is waited for by nobody here.
        let manifests = manifests
            .set(engine, &format!("{pod}/containers/0/lifecycle"), Value::Null)
            .set(engine, &format!("{pod}/terminationGracePeriodSeconds"), 1);
        cluster.apply(&manifests);
        cluster.ready(engine);
        Self { cluster }
    }

    async fn client(&self) -> Client {
        let root = std::env::var("LAB_ROOT").unwrap();
        let file = format!("{root}/.lab/cluster/embedded/kubeconfig");
        let config = kube_connect::config(Some(file.as_ref()), None).await.unwrap();
        kube_connect::client(config).unwrap()
    }

    fn options(&self, progress: impl Fn(&Event) + Send + Sync + 'static) -> Options {
        Options { namespace: self.cluster.namespace().to_owned(), progress: Box::new(progress) }
    }

    /// A whole experiment of the course's own, with a short hold.
    fn run(&self, name: &str) -> Report {
        let experiment = Experiment { hold: "4s".to_owned(), ..experiment::find(name).unwrap() };
        runtime().block_on(async {
            let options = self.options(|_| {});
            experiment::run(self.client().await, &experiment, &options, pending()).await
        })
    }

    /// An experiment of which somebody does something to the cluster once it bites.
    fn meddled<F: Future<Output = ()>>(
        &self,
        name: &str,
        meddle: impl FnOnce(Client) -> F,
    ) -> Verdict {
        let experiment = Experiment { hold: "60s".to_owned(), ..experiment::find(name).unwrap() };
        runtime().block_on(async {
            let bitten = Arc::new(tokio::sync::Notify::new());
            let tell = Arc::clone(&bitten);
            let options = self.options(move |event| {
                if event.stage == Stage::Bite {
                    tell.notify_one();
                }
            });
            let client = self.client().await;
            let run = experiment::run(client.clone(), &experiment, &options, pending());
            let meddling = async {
                bitten.notified().await;
                meddle(client.clone()).await;
            };
            let mut run = std::pin::pin!(run);
            let report = tokio::select! {
                report = &mut run => report,
                () = meddling => run.await,
            };
            report.verdict
        })
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn holds(name: &str) {
    let report = Engines::up().run(name);
    assert_eq!(report.verdict, Verdict::Held, "{report:#?}");
    let stages: Vec<Stage> = report.events.iter().map(|event| event.stage).collect();
    let life =
        [Stage::Baseline, Stage::Inject, Stage::Bite, Stage::Hold, Stage::Recover, Stage::Clean];
    assert_eq!(stages, life, "{report:#?}");
    assert!(report.left_behind.is_empty());
}

/// One test for each of the catalogue, so that they run side by side.
macro_rules! experiments {
    ($($test:ident: $name:literal,)*) => {
        const NAMES: &[&str] = &[$($name),*];
        $(
            #[test]
            #[ignore = "needs a cluster: cargo xtask test --only faults"]
            fn $test() {
                holds($name);
            }
        )*
    };
}

experiments! {
    a_busy_neighbour_bites_and_goes: "cpu-stress",
    a_cut_link_bites_and_heals: "cut-link",
    errors_for_completions_bite_and_go: "http-errors",
    a_hung_engine_is_healthy_and_answers_nobody: "hung-engine",
    a_starved_cache_is_full_and_serves: "kv-starvation",
    a_pod_that_fails_comes_back: "pod-failure",
    a_killed_pod_is_replaced: "pod-kill",
    a_slow_link_bites_and_heals: "slow-link",
    new_engines_that_load_slowly_replace_nobody: "slow-load",
    a_slow_replica_is_slower_than_it_was: "slow-replica",
    stale_metrics_stand_still_while_requests_are_answered: "stale-metrics",
}

#[test]
fn every_experiment_of_the_catalogue_is_tried() {
    let all = experiment::builtin().unwrap();
    let names: Vec<&str> = all.iter().map(|each| each.name.as_str()).collect();
    assert_eq!(NAMES, names);
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn whoever_scales_to_zero_or_deletes_the_workload_is_caught() {
    let engines = Engines::up();
    let namespace = engines.cluster.namespace().to_owned();
    let verdict = engines.meddled("slow-replica", |client| async move {
        let api: Api<Deployment> = Api::namespaced(client, &namespace);
        let none = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
        api.patch("engine", &PatchParams::default(), &none).await.unwrap();
    });
    assert_eq!(verdict, Verdict::Cheated(Cheat::ScaledDown { from: 2, to: 0 }));

    engines.cluster.scale("Deployment/engine", 2);
    engines.cluster.ready("Deployment/engine");
    let namespace = engines.cluster.namespace().to_owned();
    let verdict = engines.meddled("hung-engine", |client| async move {
        let api: Api<Deployment> = Api::namespaced(client, &namespace);
        api.delete("engine", &DeleteParams::background()).await.unwrap();
    });
    assert_eq!(verdict, Verdict::Cheated(Cheat::WorkloadDeleted));
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn whoever_takes_the_fault_away_is_caught() {
    let engines = Engines::up();
    let namespace = engines.cluster.namespace().to_owned();
    let verdict = engines.meddled("slow-link", |client| async move {
        let api: Api<chaos::api::NetworkChaos> = Api::namespaced(client, &namespace);
        api.delete("experiment-slow-link", &DeleteParams::default()).await.unwrap();
    });
    let caught = [Cheat::FaultDeleted, Cheat::FaultSuspended];
    assert!(matches!(&verdict, Verdict::Cheated(how) if caught.contains(how)), "{verdict:?}");

    let pods = engines.cluster.pods("app.kubernetes.io/name=engine");
    let namespace = engines.cluster.namespace().to_owned();
    let verdict = engines.meddled("stale-metrics", |client| async move {
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, &namespace);
        let clean = json!({ "metadata": {
            "annotations": { "llm-lab/faults": null }, "labels": { "llm-lab/faulted": null } } });
        for pod in pods {
            api.patch(&pod.name, &PatchParams::default(), &Patch::Merge(&clean)).await.unwrap();
        }
    });
    assert_eq!(verdict, Verdict::Cheated(Cheat::EngineFaultRemoved));
}
