//! A real control plane of Kubernetes beside ours: what `crates/conformance/peer` builds and runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use grader::Stop;

use super::{Client, LIMIT, SERVER_CORE, UP_LIMIT, clear};
use crate::compare::{Contender, Measured};
use crate::run::Process;
use crate::used::Used;
use crate::{BenchError, Places, Task};

/// Run by the control plane's script once it is up: says so, and stays until it is ended.
const HOLD: [&str; 3] = ["sh", "-c", "echo ready; exec sleep 600"];
/// The same, where nobody reads.
const STAY: [&str; 2] = ["sleep", "600"];

/// What `install.sh` has built in a folder: etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
pub(super) struct Programs {
    folder: PathBuf,
    /// Of kube-apiserver, as it says it: `Kubernetes v1.34.3`.
    version: String,
}

impl Programs {
    /// Those of a folder.
    ///
    /// # Errors
    /// [`BenchError::ControlPlane`] when nothing is built in it.
    pub(super) fn in_folder(folder: &Path) -> Result<Self, BenchError> {
        let found = || {
            let said = Command::new(folder.join("bin/kube-apiserver")).arg("--version").output()?;
            let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            Ok(Self { folder: folder.canonicalize()?, version })
        };
        found().map_err(|cause| BenchError::ControlPlane { folder: folder.to_owned(), cause })
    }
}

/// These programs, run for a measurement.
pub(super) struct ControlPlane {
    programs: Programs,
    /// `run.sh`.
    script: PathBuf,
    state: PathBuf,
    client: Client,
}

// === impl ControlPlane ===

impl ControlPlane {
    pub(super) fn new(programs: Programs, places: &Places, client: &Client) -> Self {
        let script = places.root.join("crates/conformance/peer/run.sh");
        let state = places.bench().join("cluster/control-plane");
        Self { programs, script, state, client: client.clone() }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Starts it in an empty folder, and waits until it is up.
    fn started(&self, kept: bool, stop: &Stop) -> Result<Process, BenchError> {
        clear(&self.state)?;
        let task = Task::new(&self.script, LIMIT).args([&self.programs.folder]).args(HOLD);
        let task = task.env("STATE", &self.state.to_string_lossy());
        let cluster = Process::start(&if kept { task.on_core(SERVER_CORE) } else { task })?;
        cluster.announced("ready", UP_LIMIT, stop)?;
        Ok(cluster)
    }
}

impl Contender for ControlPlane {
    fn name(&self) -> String {
        self.programs.version.clone()
    }

    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError> {
        clear(&self.state)?;
        let kubeconfig = self.kubeconfig();
        let state = format!("STATE={}", self.state.display());
        let script = [Path::new("env"), Path::new(&state), &self.script, &self.programs.folder];
        let command = [&script[..], &STAY.map(Path::new)].concat();
        let up = self.client.first_answer(&kubeconfig, &command, stop)?;
        let cluster = self.started(false, stop)?;
        let idle = Used::by(cluster.id()).map(|used| used.rss_bytes as f64 / 1e6);
        let free = self.client.bench(&kubeconfig, cluster.id(), false, stop)?;
        drop(cluster);
        let cluster = self.started(true, stop)?;
        let kept = self.client.bench(&kubeconfig, cluster.id(), true, stop)?;
        Ok(vec![up, free.ready_ms, kept.reads, kept.writes, free.event_ms, idle])
    }
}
