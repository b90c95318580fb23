//! `cargo xtask fault`: finds the cluster that is meant, and hands the rest to the program that makes faults.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use grader::Stop;
use serde_json::Value;

use crate::programs;

/// Commands that need no cluster.
const ALONE: [&str; 5] = ["list", "check", "help", "--help", "-h"];

/// Carries out `cargo xtask fault ...`; returns the exit status.
pub(crate) fn run(root: &Path, args: &[String], stop: &Stop) -> Result<u8> {
    let (on, mut rest) = split(args)?;
    let alone = rest.is_empty() || rest.iter().any(|arg| ALONE.contains(&arg.as_str()));
    let prints = rest.iter().any(|arg| arg == "crds") && !rest.iter().any(|arg| arg == "--apply");
    let named = rest.iter().any(|arg| arg.starts_with("--context"));
    ensure!(on.is_none() || !named, "--on names a cluster, and --context another: leave one out");
    if !alone && !prints && !named {
        rest.extend(place(root, on.as_deref(), stop)?);
    }
    programs::fault(root, &rest, stop)
}

/// What stands after `--on`, and everything else.
fn split(args: &[String]) -> Result<(Option<String>, Vec<String>)> {
    let (mut on, mut rest) = (None, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.strip_prefix("--on") {
            Some("") => on = Some(args.next().context("--on: which cluster?")?.clone()),
            Some(value) if value.starts_with('=') => on = Some(value[1..].to_owned()),
            _ => rest.push(arg.clone()),
        }
    }
    Ok((on, rest))
}

/// How the program reaches the cluster. Without a name: the embedded one if it is up, else the user's own.
fn place(root: &Path, on: Option<&str>, stop: &Stop) -> Result<Vec<String>> {
    let Some(on) = on else {
        let seen = programs::has_cluster(root).then(|| status(root, "embedded")).transpose()?;
        let up = seen.filter(|status| status["up"] == true);
        return up.map_or(Ok(Vec::new()), |status| words("embedded", &status));
    };
    ensure!(
        programs::build_cluster(root, stop)?.success(),
        "the cluster's programs could not be built"
    );
    let status = status(root, on)?;
    if status["up"] != true {
        bail!("{on} is down: {}", status["why"].as_str().unwrap_or("nobody knows why"));
    }
    words(on, &status)
}

fn words(on: &str, status: &Value) -> Result<Vec<String>> {
    let mut words = vec!["--on".to_owned(), on.to_owned()];
    for (flag, key) in [("--kubeconfig", "kubeconfig"), ("--context", "context")] {
        let value = status[key].as_str();
        words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_owned()]));
    }
    Ok(words)
}

/// What the cluster's program says of a cluster.
fn status(root: &Path, on: &str) -> Result<Value> {
    let mut command = programs::cluster_command(root);
    command.args(["status", "--json", "--on", on]).stdin(Stdio::null());
    let output = command.output().context("the cluster's program does not start")?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    serde_json::from_slice(&output.stdout).with_context(|| said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_told_from_the_rest() {
        let split = |text: &str| split(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let (on, rest) = split("run hung-engine --on kind --json").unwrap();
        assert_eq!(
            (on.as_deref(), rest.join(" ").as_str()),
            (Some("kind"), "run hung-engine --json")
        );
        assert_eq!(split("clear --on=gke").unwrap().0.as_deref(), Some("gke"));
        assert_eq!(split("list").unwrap().0, None);
        assert!(split("clear --on").is_err());
    }
}
