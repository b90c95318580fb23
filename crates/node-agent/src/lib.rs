//! The embedded cluster's kubelet and kube-proxy, for all of its nodes in one process.
//!
//! A pod that is bound to a node becomes processes of this host: a small supervisor, and below it what the containers run. Its
//! address is one of loopback's, and so is a service's. Objects are read and written through the [`object_store::Store`] alone;
//! HTTP to the API server is not known here.
//!
//! What a node cannot do is said in an event or a condition of the object that asks for it.

#[cfg(not(unix))]
compile_error!("pods are processes in groups and sessions, which only Unix has");

mod agent;
mod config;
mod error;
mod events;
mod exec;
mod expand;
mod images;
mod logs;
mod metrics;
pub mod net;
mod node;
mod pod;
mod sandbox;
mod stress;
mod supervisor;

pub use agent::NodeAgent;
pub use config::{Config, Gpu, Image, LogLimits, NodeConfig, Taint, Timing};
pub use error::AgentError;
pub use exec::{ExecRequest, Finish, Input, Output, Session, Terminal};
pub use logs::LogOptions;
pub use metrics::{ContainerUsage, NodeUsage, PodUsage};
pub use stress::Stress;
pub use supervisor::maybe_run_supervisor;
pub use supervisor::order::Ending;

use object_store::Store;

/// Runs all nodes until `shutdown` is done; then every process of every pod is gone.
///
/// # Errors
/// [`AgentError`] when the nodes cannot be set up.
pub async fn run(
    store: Store,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    NodeAgent::new(store, config)?.run(shutdown).await
}
