//! One program as a Deployment: applied, awaited, reached, and taken away again. Plain `kube` code, the same on every cluster.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use crate::ClusterError;

/// Who applies, in `managedFields`.
const MANAGER: &str = "llm-lab";
/// The label by which a run's objects are found again.
pub const RUN_LABEL: &str = "llm-lab/run";
/// The label by which all that a session has made is found again.
pub const SESSION_LABEL: &str = "llm-lab/session";
/// Pause between two looks at a Deployment.
const POLL: Duration = Duration::from_millis(20);
/// Reasons of a waiting container that no patience mends.
const HOPELESS: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
];

/// Why a workload does not serve.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// It did not become ready in time.
    #[error("{name} was not ready within {limit:?}: {why}")]
    NotReady {
        /// The Deployment.
        name: String,
        /// How long was waited.
        limit: Duration,
        /// What its pods say.
        why: String,
    },
    /// Its container cannot run.
    #[error("{name} cannot run: {why}")]
    Hopeless {
        /// The Deployment.
        name: String,
        /// What its pods say.
        why: String,
    },
}

impl From<kube::Error> for WorkloadError {
    fn from(error: kube::Error) -> Self {
        Self::Cluster(error.into())
    }
}

/// A Deployment of ours on a cluster.
pub struct Workload {
    deployments: Api<Deployment>,
    pods: Api<Pod>,
    name: String,
}

impl Workload {
    /// Applies a Deployment. Its name and its pods' label [`RUN_LABEL`] must be its own.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn apply(
        client: &Client,
        namespace: &str,
        deployment: &Deployment,
    ) -> Result<Self, WorkloadError> {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let name = deployment.metadata.name.clone().unwrap_or_default();
        let params = PatchParams::apply(MANAGER).force();
        deployments.patch(&name, &params, &Patch::Apply(deployment)).await?;
        Ok(Self { deployments, pods: Api::namespaced(client.clone(), namespace), name })
    }

    /// Waits until a pod of it is ready, and names it.
    ///
    /// # Errors
    /// [`WorkloadError::Hopeless`] as soon as its container cannot run, [`WorkloadError::NotReady`] when the time is over.
    pub async fn ready(&self, limit: Duration) -> Result<String, WorkloadError> {
        let deadline = Instant::now() + limit;
        let selector = ListParams::default().labels(&format!("{RUN_LABEL}={}", self.name));
        loop {
            let pods = self.pods.list(&selector).await?.items;
            if let Some(pod) = pods.iter().find(|pod| is_ready(pod)) {
                return Ok(pod.metadata.name.clone().unwrap_or_default());
            }
            if let Some(why) = pods.iter().find_map(hopeless) {
                return Err(WorkloadError::Hopeless { name: self.name.clone(), why });
            }
            if Instant::now() >= deadline {
                let why = pods.first().map_or_else(|| "no pod was made".to_owned(), describe);
                return Err(WorkloadError::NotReady { name: self.name.clone(), limit, why });
            }
            sleep(POLL).await;
        }
    }

    /// The last lines of its pods' logs, of a container's earlier life where it has restarted.
    pub async fn last_log(&self, lines: usize) -> Vec<String> {
        let selector = ListParams::default().labels(&format!("{RUN_LABEL}={}", self.name));
        let Ok(pods) = self.pods.list(&selector).await else { return Vec::new() };
        let mut all = VecDeque::new();
        for pod in pods.items.iter().filter_map(|pod| pod.metadata.name.as_deref()) {
            for previous in [true, false] {
                let tail = i64::try_from(lines).ok();
                let params =
                    kube::api::LogParams { previous, tail_lines: tail, ..Default::default() };
                let text = self.pods.logs(pod, &params).await.unwrap_or_default();
                all.extend(text.lines().map(ToOwned::to_owned));
            }
        }
        all.into_iter().rev().take(lines).collect::<Vec<_>>().into_iter().rev().collect()
    }

    /// Its pods.
    #[must_use]
    pub fn pods(&self) -> &Api<Pod> {
        &self.pods
    }

    /// Takes it away with its pods, at once.
    ///
    /// # Errors
    /// What the cluster says, but for "not found".
    pub async fn delete(&self) -> Result<(), WorkloadError> {
        let at_once = DeleteParams::background().grace_period(0);
        match self.deployments.delete(&self.name, &at_once).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Takes away the Deployments that a session has left behind, as when it was interrupted. Returns how many there were.
///
/// # Errors
/// What the cluster says.
pub async fn sweep(client: &Client, namespace: &str, session: &str) -> Result<usize, ClusterError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let left = ListParams::default().labels(&format!("{SESSION_LABEL}={session}"));
    let names = deployments.list_metadata(&left).await?.items.into_iter();
    let mut count = 0;
    for name in names.filter_map(|one| one.metadata.name) {
        let at_once = DeleteParams::background().grace_period(0);
        match deployments.delete(&name, &at_once).await {
            Ok(_) => count += 1,
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Why a pod will never run, if that is so.
fn hopeless(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let message = waiting.message.as_deref().unwrap_or("no more is known");
        HOPELESS.contains(&reason).then(|| format!("{reason}: {message}"))
    })
}

/// What a pod says of itself.
fn describe(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return "its pod has no status yet".to_owned() };
    let unmet = status.conditions.iter().flatten().find(|one| one.status != "True");
    match unmet {
        Some(one) => format!(
            "{} is {}: {}",
            one.type_,
            one.status,
            one.message.as_deref().or(one.reason.as_deref()).unwrap_or("no reason given")
        ),
        None => status.phase.clone().unwrap_or_default(),
    }
}
