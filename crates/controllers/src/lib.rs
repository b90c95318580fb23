//! The loops that make an embedded cluster what its objects say: the built-in controllers and the scheduler.
//!
//! Each controller is a pure core, objects in and actions out, behind the `Controller` seam. One runner turns
//! changes of the store into work and plans into writes. HTTP, processes and nodes' agents are not known here: a pod's status is
//! whatever the store says.

mod accounts;
mod action;
mod autoscaler;
mod budget;
#[cfg(test)]
mod cluster_tests;
mod config;
mod controller;
mod daemon_set;
mod deployment;
mod endpoints;
mod events;
mod execute;
mod fields;
mod garbage;
mod history;
mod job;
mod manager;
mod metrics;
mod namespace;
mod nodes;
mod owner;
mod pod;
mod queue;
mod replica_set;
mod resource;
mod scheduler;
mod stateful_set;
mod template;
mod view;
mod volumes;

use std::time::Duration;

use object_store::Store;
use tokio::time::Instant;

pub use config::Config;
pub use metrics::{Metrics, NoMetrics, PodMetrics};

use controller::Controller;
use manager::Manager;

/// Runs all controllers until `shutdown` resolves. What is half done then is found and finished by the next run.
pub async fn run(store: Store, config: Config, shutdown: impl Future<Output = ()>) {
    let start = Instant::now();
    let mut manager = Manager::new(store, all(&config));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let next = manager.turn(start.elapsed());
        let wait = async {
            match next {
                Some(at) => tokio::time::sleep_until(start + at).await,
                None => std::future::pending().await,
            }
        };
        // Others on this thread get their turn, also when work never ends.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            () = manager.changed(|| start.elapsed()) => {}
            () = wait => {}
        }
    }
}

/// Every controller there is.
fn all(config: &Config) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(deployment::Deployments),
        Box::new(replica_set::ReplicaSets),
        Box::new(stateful_set::StatefulSets),
        Box::new(daemon_set::DaemonSets::default()),
        Box::new(job::Jobs),
        Box::new(autoscaler::Autoscalers::new(std::sync::Arc::clone(&config.metrics))),
        Box::new(budget::Budgets),
        Box::new(scheduler::Scheduler::new(config.seed)),
        Box::new(endpoints::EndpointsController::default()),
        Box::new(accounts::Accounts::new(config.root_ca.clone())),
        Box::new(volumes::Volumes::new(config.volume_directory.clone())),
        Box::new(nodes::Health::new(config.node_grace)),
        Box::new(nodes::Eviction),
        Box::new(nodes::PodGc::default()),
        Box::new(namespace::Namespaces::default()),
        Box::new(garbage::Garbage::default()),
    ]
}

/// A wait from a signed difference of times; none at least.
fn wait_of(left: jiff::SignedDuration) -> Duration {
    left.try_into().unwrap_or(Duration::ZERO)
}
