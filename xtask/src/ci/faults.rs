//! Places for checks on a cluster, and faults on real pods: tests that need the cluster's programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use grader::{run_streaming, target_dir};

use super::{Bench, Outcome, steps};

/// What the tests start.
const PROGRAMS: [&str; 3] = ["embedded-cluster", "cluster", "stub"];
/// Tests at once: most of their time they wait.
const AT_ONCE: &str = "4";

pub(super) fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let mut build = bench.cargo(["build", "--quiet"]);
    build.args(PROGRAMS.map(|name| format!("--package={name}")));
    let (status, said) = run_streaming(&mut build, bench.stop, |_| ())?;
    if !status.success() {
        return Ok(Outcome::Failed(said.lines().collect::<Vec<_>>().join("\n")));
    }
    // An engine with predicted steps.
    let mut engine =
        bench.cargo(["build", "--quiet", "-p", "sol01-triage", "--bin", "sol01-engine"]);
    engine.args(["--features", "serve"]);
    match steps::ok(bench, engine)? {
        Outcome::Passed => {}
        other => return Ok(other),
    }
    let programs = std::path::absolute(target_dir(bench.root).join("debug"))?;
    // These bring clusters of their own up and down.
    let mut places = ignored(bench, "testbed", "cluster", "1");
    places.env("CLUSTER_PROGRAMS", &programs);
    match steps::ok(bench, places)? {
        Outcome::Passed => {}
        other => return Ok(other),
    }
    let cluster = Cluster::up(bench, programs)?;
    for test in ["pods", "engines"] {
        let mut command = ignored(bench, "chaos", test, AT_ONCE);
        cluster.describe(&mut command);
        command.env("LAB_DEPLOY", bench.root.join("solutions/01-triage/deploy"));
        match steps::ok(bench, command)? {
            Outcome::Passed => {}
            other => return Ok(other),
        }
    }
    Ok(Outcome::Passed)
}

/// The tests of one program that need what this step brings.
fn ignored(bench: &Bench<'_>, package: &str, test: &str, at_once: &str) -> Command {
    let mut command = bench.cargo(["test", "--quiet"]);
    command.args(bench.tested(package, &[])).args(["--test", test, "--", "--ignored"]);
    command.args(["--test-threads", at_once]);
    command
}

/// An embedded cluster of this step's own. It goes with its objects when dropped.
struct Cluster {
    root: PathBuf,
    programs: PathBuf,
}

impl Cluster {
    fn up(bench: &Bench<'_>, programs: PathBuf) -> Result<Self> {
        let root = std::path::absolute(target_dir(bench.root).join("ci-faults"))?;
        let file = Path::new("clusters/embedded/cluster.toml");
        std::fs::create_dir_all(root.join("clusters/embedded"))?;
        std::fs::copy(bench.root.join(file), root.join(file)).context("the cluster file")?;
        let cluster = Self { root, programs };
        // One of a run that was killed.
        cluster.command(&["down", "--forget"])?;
        cluster.command(&["up"])?;
        Ok(cluster)
    }

    fn command(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new(self.programs.join("cluster"));
        command.arg("--root").arg(&self.root).arg("--programs").arg(&self.programs);
        let status = command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "cluster {}: {status}", args.join(" "));
        Ok(())
    }

    /// What a check finds in its environment.
    fn describe(&self, command: &mut Command) {
        command.env("LAB_ON", "embedded").env("LAB_ROOT", &self.root);
        command.env("LAB_PROGRAMS", &self.programs);
        command.env("LAB_CLUSTER", self.programs.join("cluster-bed"));
        command.env("LAB_SESSION", format!("ci-{}", std::process::id()));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It goes with its folder at the latest.
        let _ = self.command(&["down", "--forget"]);
    }
}
