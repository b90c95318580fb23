//! The embedded cluster as a whole: named behaviours, real kubectl, bad requests, a soak, and a sudden end that leaves nothing
//! behind.

mod running;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use grader::{run_streaming, target_dir};
use serde_json::Value;

use super::{Bench, Outcome};
use running::Cluster;

/// Behaviours that run at the same time: most of their time is waiting.
const JOBS: &str = "24";
/// Requests of the fuzz run.
const FUZZ_CASES: &str = "500";
/// The soak: seconds on an idle machine, and enough that what leaks at each pod shows.
const SOAK: [&str; 8] =
    ["--deployments", "3", "--replicas", "6", "--rollouts", "6", "--kill-every-ms", "400"];

pub(super) fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let mut build = bench.cargo(["build", "--quiet"]);
    build.args(["embedded-cluster", "stub", "conformance"].map(|name| format!("--package={name}")));
    let building = Instant::now();
    let (status, said) = run_streaming(&mut build, bench.stop, |_| ())?;
    if !status.success() {
        return Ok(Outcome::Failed(said.lines().collect::<Vec<_>>().join("\n")));
    }
    tell("built", building);
    let programs = std::path::absolute(target_dir(bench.root).join("debug"))?;
    let on = On {
        bench,
        conformance: programs.join("conformance"),
        cluster: Cluster::start(bench.root, &programs)?,
    };
    let known = known_differences(bench.root)?;
    let mut wrong = on.trial(&["--jobs", JOBS], &known)?;
    match kubectl() {
        Ok(path) => wrong.extend(on.trial(&["--jobs", JOBS, "--kubectl", &path], &known)?),
        Err(why) => anstream::println!("           kubectl: {why}"),
    }
    wrong.extend(on.fuzz()?);
    wrong.extend(on.soak()?);
    let killing = Instant::now();
    match on.cluster.killed()? {
        None => tell("killed while a pod ran, and nothing is left", killing),
        left => wrong.extend(left),
    }
    Ok(if wrong.is_empty() { Outcome::Passed } else { Outcome::Failed(wrong.join("\n")) })
}

/// Says what was done, and how long it took.
fn tell(what: &str, since: Instant) {
    anstream::println!("           {what} ({:.1} s)", since.elapsed().as_secs_f64());
}

/// Sentences of behaviours that are known not to hold.
fn known_differences(root: &Path) -> Result<BTreeSet<String>> {
    let path = root.join("clusters/embedded/known-differences.txt");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

/// What the trials run on.
struct On<'a> {
    bench: &'a Bench<'a>,
    conformance: PathBuf,
    cluster: Cluster,
}

impl On<'_> {
    /// Runs behaviours. Returns what is wrong.
    fn trial(&self, args: &[&str], known: &BTreeSet<String>) -> Result<Vec<String>> {
        let running = Instant::now();
        let outcomes = self.outcomes(args)?;
        let mut wrong = Vec::new();
        let (mut passed, mut skipped, mut differ) = (0, 0, 0);
        for outcome in &outcomes {
            let sentence = outcome["behaviour"].as_str().unwrap_or_default();
            let group = outcome["group"].as_str().unwrap_or_default();
            match (outcome["outcome"].as_str(), known.contains(sentence)) {
                (Some("PASS"), false) => passed += 1,
                (Some("PASS"), true) => {
                    wrong.push(format!("{sentence}: holds now; take it off the known differences"));
                }
                (Some("SKIP"), _) => {
                    skipped += 1;
                    let why = outcome["reason"].as_str().unwrap_or("no reason given");
                    anstream::println!("           skipped {group}: {sentence}: {why}");
                }
                (_, true) => differ += 1,
                (_, false) => {
                    let (expected, seen) = (&outcome["expected"], &outcome["seen"]);
                    wrong
                        .push(format!("{group}: {sentence}\n  expected {expected}\n  seen {seen}"));
                }
            }
        }
        tell(
            &format!("{passed} behaviours hold, {differ} are known to differ, {skipped} skipped"),
            running,
        );
        Ok(wrong)
    }

    fn outcomes(&self, args: &[&str]) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.conformance);
        command.args(["--json", "--kubeconfig"]).arg(self.cluster.kubeconfig()).args(args);
        let mut json = String::new();
        let (_, said) = run_streaming(&mut command, self.bench.stop, |line| {
            json.push_str(line);
            json.push('\n');
        })?;
        let mut report: Value = serde_json::from_str(&json)
            .with_context(|| said.lines().collect::<Vec<_>>().join("\n"))
            .context("conformance printed no report")?;
        match report["behaviours"].take() {
            Value::Array(all) => Ok(all),
            other => anyhow::bail!("behaviours: {other}"),
        }
    }

    /// Sends bad requests. Returns what is wrong.
    fn fuzz(&self) -> Result<Option<String>> {
        let sending = Instant::now();
        let (figures, wrong) = self.longer(&["fuzz", "--strict", "--cases", FUZZ_CASES])?;
        if wrong.is_none() {
            tell(&format!("{} bad requests, none a fault of the server", figures["sent"]), sending);
        }
        Ok(wrong)
    }

    /// Rolls pods while some are killed, and looks for what is left of them. Returns what is wrong.
    fn soak(&self) -> Result<Option<String>> {
        let rolling = Instant::now();
        let id = self.cluster.id().to_string();
        let args = [&["soak", "--host-checks", &id][..], &SOAK].concat();
        let (figures, wrong) = self.longer(&args)?;
        if wrong.is_none() {
            let (pods, rollouts, kills) =
                (&figures["pods"], &figures["rollouts"], &figures["kills"]);
            let memory = |when: &str| figures[when]["memory_kib"].as_u64().unwrap_or(0) / 1024;
            let (before, after) = (memory("before"), memory("after"));
            let what = format!(
                "soak: {pods} pods, {rollouts} rollouts, {kills} kills; nothing is left, memory {before} then {after} MiB"
            );
            tell(&what, rolling);
        }
        Ok(wrong)
    }

    /// Runs a longer trial: its figures, and what is wrong.
    fn longer(&self, args: &[&str]) -> Result<(Value, Option<String>)> {
        let mut command = Command::new(&self.conformance);
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig()).args(args);
        let mut text = String::new();
        let (status, said) = run_streaming(&mut command, self.bench.stop, |line| {
            text.push_str(line);
            text.push('\n');
        })?;
        let said = said.lines().collect::<Vec<_>>().join("\n");
        let wrong = (!status.success()).then(|| format!("{}: {text}{said}", args[0]));
        Ok((serde_json::from_str(&text).unwrap_or_default(), wrong))
    }
}

/// A kubectl: the machine's, or Debian's, installed where that may be done.
fn kubectl() -> Result<String, String> {
    let works = || {
        let mut version = Command::new("kubectl");
        version.args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    if works() {
        return Ok("kubectl".to_owned());
    }
    for args in
        [vec!["update"], vec!["install", "--yes", "--no-install-recommends", "kubernetes-client"]]
    {
        let mut apt = Command::new("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        apt.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Whether it helped is seen below.
        let _ = apt.status();
    }
    if works() {
        return Ok("kubectl".to_owned());
    }
    Err("skipped: it is not here, and apt-get could not install it".to_owned())
}
