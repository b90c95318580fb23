//! The controller that executes Chaos Mesh's resources where Chaos Mesh cannot: plain `kube` code around [`crate::phase`].
//!
//! It must never run beside Chaos Mesh: two executors of one resource undo each other's work. [`run`] therefore refuses any
//! server that does not call itself embedded.

mod child;
mod experiment;
mod schedule;
mod workflow;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use kube::Client;

use crate::Injector;

/// What an embedded server's version ends with.
pub const EMBEDDED: &str = "+embedded";
/// How long to wait before a target that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Why the controller does not run.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// This is a real cluster, where Chaos Mesh executes the resources.
    #[error("{0} is no embedded cluster: there, faults are Chaos Mesh's to make")]
    NotEmbedded(String),
    /// The server cannot be asked.
    #[error("the server's version cannot be read: {0}")]
    Server(#[source] kube::Error),
}

/// What all reconcilers share.
struct Context {
    client: Client,
    injector: Arc<dyn Injector>,
}

/// A wish to stop that many can wait for.
type Stop = Shared<BoxFuture<'static, ()>>;

/// Executes all experiments, schedules and workflows of the cluster until `shutdown` is ready.
///
/// # Errors
/// [`ControllerError`] if the server does not say that it is embedded.
pub async fn run(
    client: Client,
    injector: Arc<dyn Injector>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ControllerError> {
    let version = client.apiserver_version().await.map_err(ControllerError::Server)?;
    if !version.git_version.ends_with(EMBEDDED) {
        return Err(ControllerError::NotEmbedded(version.git_version));
    }
    run_anywhere(client, injector, shutdown).await;
    Ok(())
}

/// [`run`] without a look at the server: for a control plane that a test started.
pub async fn run_anywhere(
    client: Client,
    injector: Arc<dyn Injector>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    use crate::api::{HTTPChaos, IOChaos, NetworkChaos, PodChaos, StressChaos, TimeChaos};
    let stop: Stop = shutdown.boxed().shared();
    let context = Arc::new(Context { client, injector });
    tokio::join!(
        experiment::run::<PodChaos>(context.clone(), stop.clone()),
        experiment::run::<NetworkChaos>(context.clone(), stop.clone()),
        experiment::run::<HTTPChaos>(context.clone(), stop.clone()),
        experiment::run::<StressChaos>(context.clone(), stop.clone()),
        experiment::run::<IOChaos>(context.clone(), stop.clone()),
        experiment::run::<TimeChaos>(context.clone(), stop.clone()),
        schedule::run(context.clone(), stop.clone()),
        workflow::run(context, stop),
    );
}
