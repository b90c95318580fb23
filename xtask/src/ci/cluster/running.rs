//! The cluster of the step: started, and killed with pods running, after which nothing may be left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use grader::target_dir;

/// How long the last process of a killed cluster may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks.
const TICK: Duration = Duration::from_millis(50);

/// A cluster of this step's own. Killed when dropped.
pub(super) struct Cluster {
    child: Child,
    state: PathBuf,
}

impl Cluster {
    pub(super) fn start(root: &Path, programs: &Path) -> Result<Self> {
        let state = target_dir(root).join("ci-cluster");
        if state.exists() {
            fs::remove_dir_all(&state)?;
        }
        fs::create_dir_all(&state)?;
        let state = std::path::absolute(state)?;
        let log = fs::File::create(state.join("log"))?;
        let child = Command::new(programs.join("embedded-cluster"))
            .args(["run", "--state"])
            .arg(&state)
            .arg("--config")
            .arg(root.join("clusters/embedded/cluster.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("embedded-cluster does not start")?;
        let mut cluster = Self { child, state };
        let mut ready = String::new();
        if let Some(stdout) = cluster.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready)?;
        }
        ensure!(
            ready.starts_with("ready "),
            "the cluster ended at once: see {}",
            cluster.state.join("log").display()
        );
        Ok(cluster)
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with pods running, and returns what is left of them.
    pub(super) fn killed(mut self) -> Result<Option<String>> {
        let deploy = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "left"},
            "spec": {"containers": [{"name": "main", "image": "lab/stub:1", "args": ["sleep", "600000"]}]},
        });
        let manifest = self.state.join("pod.json");
        fs::write(&manifest, deploy.to_string())?;
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(self.kubeconfig());
        let asked = kubectl.arg("apply").arg("-f").arg(&manifest).stdout(Stdio::null()).status();
        let deadline = Instant::now() + END_LIMIT;
        if asked.is_ok_and(|status| status.success()) {
            while self.processes().len() < 2 && Instant::now() < deadline {
                std::thread::sleep(TICK);
            }
        }
        self.child.kill()?;
        self.child.wait()?;
        let deadline = Instant::now() + END_LIMIT;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                return Ok(Some(format!("left behind by a killed cluster: {}", left.join(", "))));
            }
            std::thread::sleep(TICK);
        }
    }

    /// Processes that name this cluster's folder, in their command line or their environment.
    fn processes(&self) -> Vec<String> {
        let state = self.state.display().to_string();
        let folders = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        folders
            .map(|folder| folder.path())
            .filter(|path| {
                ["cmdline", "environ"].iter().any(|file| {
                    let text = fs::read(path.join(file)).unwrap_or_default();
                    String::from_utf8_lossy(&text).contains(&state)
                }) || fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&self.state))
            })
            .map(|path| path.display().to_string())
            .filter(|path| *path != format!("/proc/{}", std::process::id()) && path != "/proc/self")
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Both fail only where it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
