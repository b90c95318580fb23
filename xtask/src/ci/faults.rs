//! Places for checks on a cluster, and faults on real pods: tests that need the cluster's programs, on embedded clusters of their own.

use std::process::Command;

use anyhow::Result;
use grader::{run_streaming, target_dir};

use super::{Bench, Outcome, steps};

/// What the tests start.
const PROGRAMS: [&str; 3] = ["embedded-cluster", "cluster", "stub"];
/// Packages and their tests that need them.
const TESTS: [(&str, &str); 1] = [("testbed", "cluster")];

pub(super) fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let mut build = bench.cargo(["build", "--quiet"]);
    build.args(PROGRAMS.map(|name| format!("--package={name}")));
    let (status, said) = run_streaming(&mut build, bench.stop, |_| ())?;
    if !status.success() {
        return Ok(Outcome::Failed(said.lines().collect::<Vec<_>>().join("\n")));
    }
    let programs = std::path::absolute(target_dir(bench.root).join("debug"))?;
    for (package, test) in TESTS {
        let mut command: Command = bench.cargo(["test", "--quiet", "-p", package, "--test", test]);
        command.args(["--", "--ignored", "--test-threads", "1"]).env("CLUSTER_PROGRAMS", &programs);
        match steps::ok(bench, command)? {
            Outcome::Passed => {}
            other => return Ok(other),
        }
    }
    Ok(Outcome::Passed)
}
