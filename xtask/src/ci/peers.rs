//! Programs that others wrote, run against the engine and what watches it: Prometheus with promtool, and the openai client.
//!
//! They are installed where they are missing and may be: Prometheus by the system's packages, as root; the client into a
//! virtual environment under the target folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::steps::ok;
use super::{Bench, Outcome};
use crate::programs::BUILT;

/// The client that the tests are written for.
const OPENAI: &str = "openai==3.54.*";

pub(super) fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let python = match programs(&bench.target) {
        Ok(python) => python,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let mut command = bench.cargo(["test"]);
    command.args(bench.tested("sol01-triage", &["--features", "live"]));
    command.args(["--test", "wire", "--", "--ignored", "peer_"]).env("PEERS_PYTHON", python);
    let wire = ok(bench, command)?;
    if !matches!(wire, Outcome::Passed) {
        return Ok(wire);
    }
    // Rules, alerts, dashboard and scrape configuration of lab 2.
    let mut command = bench.cargo(["test"]);
    command.args(bench.tested("deploy", &[])).args(["--test", "observe", "--"]);
    command.args(["--ignored", "peer_"]);
    let rules = ok(bench, command)?;
    if !matches!(rules, Outcome::Passed) {
        return Ok(rules);
    }
    // Its router and two engines, under a collector and a Prometheus that scrapes them; with a catalogue; before an API server.
    let mut command = bench.cargo(["test"]);
    command.args(bench.tested("sol02-routing", &["--features", "live"]));
    command.args(["--test", "router", "--", "--ignored", "peer_"]);
    if bench.built.get() {
        // What the tests would build by themselves: the engine lies there, the API server after this.
        let mut server = bench.cargo(["build", "--quiet"]);
        server.args(["--example", "serve"]);
        match ok(bench, server)? {
            Outcome::Passed => command.env(BUILT, bench.programs()),
            other => return Ok(other),
        };
    }
    ok(bench, command)
}

/// The Python that has the client, once all are there; or why they are not.
fn programs(target: &Path) -> Result<PathBuf, String> {
    prometheus()?;
    openai(target).map_err(|error| format!("no openai client: {error:#}"))
}

fn prometheus() -> Result<(), String> {
    let there = || ["prometheus", "promtool"].iter().all(|program| works(program, "--version"));
    if there() {
        return Ok(());
    }
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends", "prometheus"]);
    let update = quiet(Command::new("apt-get").arg("update"));
    let installed = update && quiet(install.env("DEBIAN_FRONTEND", "noninteractive"));
    if installed && there() {
        return Ok(());
    }
    Err("prometheus and promtool are not here, and apt-get could not install them".to_owned())
}

fn openai(target: &Path) -> Result<PathBuf> {
    let folder = std::path::absolute(target)?.join("peers/openai");
    let python = folder.join("bin/python");
    let there = || works(&python.display().to_string(), "-c") && imports(&python);
    if !there() {
        let made = quiet(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        anyhow::ensure!(made, "python3 cannot make a virtual environment");
        let installed =
            quiet(Command::new(&python).args(["-m", "pip", "install", "--quiet", OPENAI]));
        anyhow::ensure!(installed && imports(&python), "pip cannot install {OPENAI}");
    }
    python.canonicalize().map(|_| python).context("the virtual environment is gone")
}

fn imports(python: &Path) -> bool {
    quiet(Command::new(python).args(["-c", "import openai"]))
}

fn works(program: &str, argument: &str) -> bool {
    let argument = if argument == "-c" { vec!["-c", ""] } else { vec![argument] };
    quiet(Command::new(program).args(argument))
}

/// Runs a command without a word; whether it succeeded.
fn quiet(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
