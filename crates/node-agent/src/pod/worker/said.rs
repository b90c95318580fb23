//! What a pod's task is told, and what others may see of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectRef;
use tokio::sync::oneshot;

use crate::net::PodAddress;
use crate::pod::probe::{Outcome, ProbeKind};
use crate::sandbox::Sandbox;
use crate::supervisor::order::TaskId;

/// What a pod is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Its object has changed.
    Changed(ObjectRef),
    /// Its object is gone: end at once.
    Gone,
    /// Its node has died: end at once, and say nothing.
    NodeDied,
    /// A ConfigMap or Secret that it may use has changed.
    Refresh,
    /// A probe has something to say about a run.
    Probed { task: TaskId, kind: ProbeKind, outcome: Outcome },
    /// The `postStart` hook of a run is through.
    PostStart { task: TaskId, result: Result<(), String> },
    /// The `preStop` hook of a run is through.
    PreStop { task: TaskId, result: Result<(), String> },
    /// Kill one container, or all, and let the restart policy decide.
    Kill { container: Option<String>, done: oneshot::Sender<usize> },
    /// Stop every process, or let them go on.
    Freeze { frozen: bool, done: oneshot::Sender<()> },
    /// A container uses more memory than it may.
    OutOfMemory { container: String },
}

/// What others may know about a pod at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The supervisor and the containers that run.
    pub(crate) sandbox: Option<Sandbox>,
    /// By name.
    pub(crate) containers: BTreeMap<String, ContainerView>,
    /// Where its programs listen.
    pub(crate) address: Option<PodAddress>,
}

/// What others may know about a container.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerView {
    /// Its main process while it runs.
    pub(crate) pid: Option<u32>,
    /// The restart count of its newest run; none if it has not run.
    pub(crate) run: Option<i32>,
    /// Why it waits, if it does.
    pub(crate) waiting: Option<String>,
    /// Its variables.
    pub(crate) env: Arc<Vec<(String, String)>>,
    /// Its working directory.
    pub(crate) dir: PathBuf,
}
