//! Live checks on a cluster: brings it up if it is down, builds what its pods run, and takes away what a run leaves there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use course::{Built, Lab};
use grader::{Launcher, Stop, cargo, target_dir};
use serde_json::Value;

use crate::programs::{build_cluster, cluster_command, run};

/// The longest wait until what a run has left is taken away.
const SWEEP_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks at whether it is.
const TICK: Duration = Duration::from_millis(10);

/// A run's place on a cluster. What it leaves there goes when this is dropped, and also when this process is killed.
pub(crate) struct Place<'a> {
    lab: &'a Lab,
    on: &'a str,
    stop: &'a Stop,
    /// Waits for our end, in whatever way it comes, and sweeps then.
    sweeper: Mutex<Option<Child>>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(lab: &'a Lab, on: &'a str, stop: &'a Stop) -> Self {
        Self { lab, on, stop, sweeper: Mutex::default() }
    }

    /// The cluster.
    pub(crate) fn on(&self) -> &'a str {
        self.on
    }

    /// Brings the cluster up, and says how to run the lab's engine and manifests there.
    pub(crate) fn launcher(&self, engine: &Path) -> Result<Launcher, String> {
        self.prepare(engine).map_err(|error| format!("{error:#}"))
    }

    fn prepare(&self, engine: &Path) -> Result<Launcher> {
        let Self { lab, on, stop, .. } = *self;
        let root = &lab.root;
        ensure!(build_cluster(root, stop)?.success(), "the cluster's programs could not be built");
        let images = self.images(engine)?;
        self.up()?;
        *self.sweeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.sweeper()?);
        let programs = std::path::absolute(target_dir(root).join("debug"))?;
        let deploy = root.join("solutions").join(&lab.id).join("deploy");
        let text = |path: &Path| path.display().to_string();
        let mut env = vec![
            ("LAB_ON".to_owned(), on.to_owned()),
            ("LAB_SESSION".to_owned(), session()),
            ("LAB_ROOT".to_owned(), text(root)),
            ("LAB_PROGRAMS".to_owned(), text(&programs)),
            ("LAB_PROGRAM".to_owned(), text(engine)),
            ("LAB_IMAGES".to_owned(), serde_json::to_string(&images)?),
            ("LAB_DEPLOY".to_owned(), text(&deploy)),
            ("LAB_CLUSTER".to_owned(), text(&programs.join("cluster-bed"))),
        ];
        // A check's home is empty; a kubeconfig and what it runs to log in are not there.
        for name in ["HOME", "KUBECONFIG"] {
            env.extend(std::env::var(name).ok().map(|value| (format!("LAB_{name}"), value)));
        }
        Ok(Launcher { program: programs.join("cluster-engine"), env })
    }

    /// Builds the programs behind the lab's images, and says where they are.
    fn images(&self, engine: &Path) -> Result<BTreeMap<String, PathBuf>> {
        let target = target_dir(&self.lab.root);
        let mut images = BTreeMap::new();
        for image in &self.lab.images {
            let program = match &image.from {
                None => engine.to_owned(),
                Some(Built { package, bin, features }) => {
                    let program = std::path::absolute(target.join("debug").join(bin))?;
                    if !program.exists() {
                        anstream::eprintln!("building {bin}, which pods of this lab run");
                    }
                    let mut build = cargo(&self.lab.root, &target);
                    build.args(["build", "--quiet", "-p", package, "--bin", bin]);
                    build.args(["--features", &features.join(",")]);
                    let built = run(&mut build, self.stop)?;
                    ensure!(built.success(), "{bin} could not be built");
                    program
                }
            };
            images.insert(image.name.clone(), program);
        }
        Ok(images)
    }

    /// Brings the cluster up, and says so if it was down.
    fn up(&self) -> Result<()> {
        let on = self.on;
        let failed = || {
            format!("cluster {on} did not come up: `cargo xtask cluster up --on {on}` says more")
        };
        let mut up = cluster_command(&self.lab.root);
        up.args(["up", "--json", "--on", on]).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = up.output().context("the cluster's program does not start")?;
        ensure!(output.status.success(), failed());
        let answer: Value = serde_json::from_slice(&output.stdout).with_context(failed)?;
        if answer["was_up"] == false {
            let seconds = answer["took_ms"].as_f64().unwrap_or(0.0) / 1e3;
            anstream::eprintln!(
                "brought cluster {on} up in {seconds:.2} s; it stays up: `cargo xtask cluster down --on {on}` ends it"
            );
        }
        Ok(())
    }

    /// A process that sweeps when the pipe to it closes: Ctrl-C does not reach it, and nor does our end.
    fn sweeper(&self) -> Result<Child> {
        let mut command: Command = cluster_command(&self.lab.root);
        command.args(["sweep", &session(), "--when-input-ends", "--on", self.on]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().context("the cluster's program does not start")
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let sweeper = self.sweeper.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut sweeper) = sweeper else { return };
        drop(sweeper.stdin.take());
        let deadline = Instant::now() + SWEEP_LIMIT;
        // One that needs longer goes on by itself.
        while matches!(sweeper.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
    }
}

/// What this run's namespaces are labelled with. It ends with our process id, so that others can tell whether we live.
fn session() -> String {
    format!("xtask-{}", std::process::id())
}
