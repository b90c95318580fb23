//! The programs that are built when they are first needed: model store, load generator, book, benches, the authors' proofs.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use grader::{GradeError, Stop, cargo, target_dir};

use crate::cli::ModelCommand;

/// How often a wait looks at the stop flag.
const TICK: Duration = Duration::from_millis(50);
/// How long a program may take to end by itself after Ctrl-C.
const GRACE: Duration = Duration::from_secs(2);

/// Where `cargo xtask test` has built every program of the course; set for the commands that it tries out, so that they
/// do not build them again one by one, with fewer features each.
pub(crate) const BUILT: &str = "COURSE_BUILT";

/// `cargo xtask model ...`.
pub(crate) fn model(root: &Path, command: &ModelCommand, stop: &Stop) -> Result<u8> {
    let arguments = match command {
        ModelCommand::Pull { name } => ("pull", name.as_deref()),
        ModelCommand::List => ("list", None),
        ModelCommand::Path { name } => ("path", name.as_deref()),
        ModelCommand::Calibrate { threads } => return calibrate(root, *threads, stop),
    };
    let mut command = program(root, "model-store", "half a minute");
    command.arg(arguments.0).args(arguments.1);
    status(run(&mut command, stop)?)
}

/// `cargo xtask model calibrate`: with the reference, so that the device does not depend on what a learner counts.
fn calibrate(root: &Path, threads: Option<NonZeroUsize>, stop: &Stop) -> Result<u8> {
    let (model, _) = lab_model(root, stop).map_err(anyhow::Error::msg)?;
    let target = target_dir(root);
    if !target.join("debug/sol01-calibrate").exists() {
        anstream::eprintln!("building the engine: some minutes the first time");
    }
    let mut command = cargo(root, &target);
    command.args(["run", "--quiet", "-p", "sol01-triage", "--bin", "sol01-calibrate"]);
    command.args(["--features", "live", "--", "--model", &model]);
    if let Some(threads) = threads {
        command.args(["--threads", &threads.to_string()]);
    }
    status(run(&mut command, stop)?)
}

/// `cargo xtask load ...`.
pub(crate) fn load(root: &Path, arguments: &[OsString], stop: &Stop) -> Result<u8> {
    let mut command = program(root, "loadgen", "half a minute");
    command.args(arguments);
    status(run(&mut command, stop)?)
}

/// `cargo xtask book`.
pub(crate) fn book(root: &Path, open: bool, port: u16, stop: &Stop) -> Result<u8> {
    let mut command = program(root, "book", "about a minute");
    command.args(["serve", "--port", &port.to_string()]).args(open.then_some("--open"));
    status(run(&mut command, stop)?)
}

/// `cargo xtask bench`: what stands behind it is the program's own business.
pub(crate) fn bench(root: &Path, args: &[String], stop: &Stop) -> Result<u8> {
    let mut command = program(root, "bench", "half a minute");
    status(run(command.args(args), stop)?)
}

/// `cargo xtask simulate`: a fleet around the learner's own code of a lab, or around the reference's.
pub(crate) fn simulate(
    root: &Path,
    lab: u32,
    solution: bool,
    args: &[String],
    stop: &Stop,
) -> Result<u8> {
    let (package, bin) = match (lab, solution) {
        (2, true) => ("sol02-routing", "sol02-fleet"),
        (2, false) => ("lab02-routing", "lab02-fleet"),
        (_, true) => ("sol01-triage", "sol01-simulate"),
        (_, false) => ("lab01-triage", "lab01-simulate"),
    };
    if solution && let Some(mut built) = built(root, bin) {
        return status(run(built.args(args), stop)?);
    }
    let mut command = cargo(root, &target_dir(root));
    command.args(["run", "--quiet", "-p", package, "--bin", bin, "--features", "cli"]);
    // Nobody wants to know how fast a program is that was not optimised.
    let asks_for_speed = args.iter().any(|arg| arg == "--bench" || arg == "--cost");
    command.args(asks_for_speed.then_some("--release"));
    status(run(command.arg("--").args(args), stop)?)
}

/// `cargo xtask cluster ...`. The cluster's own program is built beside: it is what `up` starts. Nothing is built for help, nor for
/// what cannot be done.
pub(crate) fn cluster(root: &Path, args: &[String], stop: &Stop) -> Result<u8> {
    let typed = ["cluster"].into_iter().chain(args.iter().map(String::as_str));
    if let Err(told) = cluster_cli::Cli::try_parse_from(typed) {
        told.print()?;
        return Ok(u8::try_from(told.exit_code()).unwrap_or(crate::TROUBLE));
    }
    let built = build_cluster(root, stop)?;
    if !built.success() {
        return status(built);
    }
    status(run(cluster_command(root).args(args), stop)?)
}

/// `cargo xtask doctor --on CLUSTER`.
pub(crate) fn cluster_doctor(root: &Path, on: &str, json: bool, stop: &Stop) -> Result<u8> {
    let mut args = vec!["doctor".to_owned(), "--on".to_owned(), on.to_owned()];
    args.extend(json.then(|| "--json".to_owned()));
    cluster(root, &args, stop)
}

/// Builds what drives clusters, and the cluster of this machine.
pub(crate) fn build_cluster(root: &Path, stop: &Stop) -> Result<ExitStatus> {
    if std::env::var_os(BUILT).is_some() {
        return Ok(ExitStatus::default());
    }
    let target = target_dir(root);
    if !target.join("debug/embedded-cluster").exists() {
        anstream::eprintln!("building the cluster: two minutes the first time");
    }
    let mut build = cargo(root, &target);
    build.args(["build", "--quiet", "-p", "cluster", "-p", "embedded-cluster"]);
    run(&mut build, stop)
}

/// The program that drives clusters.
pub(crate) fn cluster_command(root: &Path) -> Command {
    let mut command = Command::new(target_dir(root).join("debug/cluster"));
    command.arg("--root").arg(root);
    command
}

/// Whether the program that drives clusters has been built.
pub(crate) fn has_cluster(root: &Path) -> bool {
    target_dir(root).join("debug/cluster").exists()
}

/// The program that makes faults.
pub(crate) fn fault(root: &Path, args: &[String], stop: &Stop) -> Result<u8> {
    let mut command = program(root, "chaos", "two minutes");
    status(run(command.args(args), stop)?)
}

/// `cargo xtask conform ...`.
pub(crate) fn conform(root: &Path, args: &[String], stop: &Stop) -> Result<u8> {
    let mut command = program(root, "conformance", "two minutes");
    status(run(command.args(args), stop)?)
}

/// `cargo xtask author ...`.
pub(crate) fn author(root: &Path, args: &[String], stop: &Stop) -> Result<u8> {
    let mut command = program(root, "author", "some seconds");
    status(run(command.args(args), stop)?)
}

/// What to hand to an engine's `--model`, and what to call it. Fetches the model if it is not here yet.
pub(crate) fn lab_model(root: &Path, stop: &Stop) -> Result<(String, String), String> {
    if let Some(path) = model_path(root, stop)? {
        return Ok(path);
    }
    let mut pull = program(root, "model-store", "half a minute");
    // Standard output may be somebody's JSON.
    pull.arg("pull").stdout(Stdio::null());
    let pulled = run(&mut pull, stop).map_err(|error| error.to_string())?;
    let found = if pulled.success() { model_path(root, stop)? } else { None };
    found.ok_or_else(|| {
        "the language model could not be fetched.\n\
         `cargo xtask model pull` tries again and says more;\n\
         `--offline` runs the live checks on a tiny random model instead."
            .to_owned()
    })
}

fn model_path(root: &Path, stop: &Stop) -> Result<Option<(String, String)>, String> {
    let mut command = program(root, "model-store", "half a minute");
    command.arg("path").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("cargo does not start: {error}"))?;
    let mut path = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        // One line, then the end: the program closes it.
        std::io::Read::read_to_string(&mut stdout, &mut path).map_err(|error| error.to_string())?;
    }
    let status = wait(&mut child, stop).map_err(|error| error.to_string())?;
    let path = path.trim();
    if !status.success() || path.is_empty() {
        return Ok(None);
    }
    let name = Path::new(path).file_stem().map(|name| name.to_string_lossy().into_owned());
    Ok(Some((path.to_owned(), name.unwrap_or_default())))
}

/// One of the course's programs, by cargo. Says so when it has to be built first.
fn program(root: &Path, package: &str, about: &str) -> Command {
    if let Some(built) = built(root, package) {
        return built;
    }
    let target = target_dir(root);
    if !target.join("debug").join(package).exists() {
        anstream::eprintln!("building {package}: {about} the first time");
    }
    let mut command = cargo(root, &target);
    command.args(["run", "--quiet", "-p", package, "--"]);
    command
}

/// One of the course's programs where all of them were built; `None` where cargo has to see to it.
fn built(root: &Path, program: &str) -> Option<Command> {
    let mut command = Command::new(Path::new(&std::env::var_os(BUILT)?).join(program));
    command.current_dir(root).env("CARGO_TARGET_DIR", target_dir(root));
    Some(command)
}

/// Runs a program that shares our terminal.
pub(crate) fn run(command: &mut Command, stop: &Stop) -> Result<ExitStatus> {
    let mut child = command.spawn().context("cargo does not start")?;
    wait(&mut child, stop)
}

fn wait(child: &mut Child, stop: &Stop) -> Result<ExitStatus> {
    let mut stopped: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return if stop.is_set() { Err(GradeError::Interrupted.into()) } else { Ok(status) };
        }
        if stop.is_set() && stopped.get_or_insert_with(Instant::now).elapsed() > GRACE {
            child.kill()?;
        }
        std::thread::sleep(TICK);
    }
}

fn status(status: ExitStatus) -> Result<u8> {
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::TROUBLE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn help_about_clusters_and_mistakes_in_what_was_typed_need_no_build() {
        // Nothing can be built in an empty folder, and a build that fails ends with 101.
        let folder = tempfile::tempdir().unwrap();
        let cluster = |typed: &[&str]| {
            let args: Vec<String> = typed.iter().map(|&word| word.to_owned()).collect();
            cluster(folder.path(), &args, &Stop::new()).unwrap()
        };
        assert_eq!([cluster(&["--help"]), cluster(&["help"]), cluster(&["up", "--help"])], [0; 3]);
        assert_eq!([cluster(&[]), cluster(&["upp"]), cluster(&["up", "--onn", "kind"])], [2; 3]);
        assert_eq!(cluster(&["status"]), 101);
    }
}
