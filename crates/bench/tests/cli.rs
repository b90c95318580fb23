//! The program itself, from its command line to its exit status, with fake peers in the place of real ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use bench::BenchResult;
use common::{assert_gone, ids};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A `bench` whose cargo and Python are those in `tests/fake`.
fn bench(target: &TempDir) -> Command {
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake");
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.env("CARGO", fake.join("cargo")).env("CARGO_TARGET_DIR", target.path());
    command.env("PATH", format!("{}:{path}", fake.display())).env("NO_COLOR", "1");
    command.stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What was printed, without the machine and the folder.
fn printed(stdout: &str, target: &TempDir) -> String {
    let stdout = stdout.replace(&target.path().display().to_string(), "TARGET");
    let rest = stdout.split_once("\n\n").map_or(stdout.as_str(), |(_machine, rest)| rest);
    rest.to_owned()
}

#[test]
fn the_engine_is_measured_beside_its_peer_and_the_result_is_kept() {
    let target = TempDir::new().unwrap();
    let plot = target.path().join("engine.svg");
    let output = bench(&target).args(["engine", "--quick", "--plot"]).arg(&plot).output().unwrap();
    let (status, stdout, stderr) = said(&output);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("installing llama.cpp: "), "{stderr}");
    insta::assert_snapshot!(printed(&stdout, &target));
    let saved = BenchResult::load(&target.path().join("bench/engine.json")).unwrap();
    assert_eq!(saved.rows[0].ours, [120.0; 3]);
    assert!(saved.command.starts_with("cargo xtask bench engine --quick"));
    let svg = std::fs::read_to_string(&plot).unwrap();
    assert!(svg.contains("ours 1.20x"), "{svg}");
    let mut again = bench(&target);
    let output = again.arg("show").arg(target.path().join("bench/engine.json")).output().unwrap();
    let (_, shown, _) = said(&output);
    assert!(stdout.starts_with(&shown), "{shown}");
}

#[test]
fn a_peer_is_installed_once() {
    let target = TempDir::new().unwrap();
    bench(&target).args(["engine", "--rounds", "1"]).output().unwrap();
    let output = bench(&target).args(["engine", "--rounds", "1"]).output().unwrap();
    let (status, _, stderr) = said(&output);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!stderr.contains("installing"), "{stderr}");
}

#[test]
fn a_peer_that_was_asked_for_and_cannot_be_installed_ends_the_bench_with_2() {
    let target = TempDir::new().unwrap();
    let mut command = bench(&target);
    command.args(["engine", "--against", "llama.cpp"]).env("FAKE_OFFLINE", "1");
    let (status, stdout, stderr) = said(&command.output().unwrap());
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!(stderr.replace(&target.path().display().to_string(), "TARGET"));
}

#[test]
fn a_control_plane_that_is_not_there_is_said_before_anything_is_built() {
    let target = TempDir::new().unwrap();
    let mut command = bench(&target);
    command.arg("cluster").arg("--control-plane").arg(target.path());
    let (status, stdout, stderr) = said(&command.output().unwrap());
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("crates/conformance/peer/install.sh"), "{stderr}");
    assert!(!target.path().join("bench").exists(), "nothing is measured");
}

#[test]
fn a_default_peer_that_cannot_be_installed_leaves_our_figures() {
    let target = TempDir::new().unwrap();
    let mut command = bench(&target);
    command.args(["engine", "--rounds", "1"]).env("FAKE_OFFLINE", "1");
    let (status, stdout, stderr) = said(&command.output().unwrap());
    assert_eq!(status, Some(2), "{stderr}");
    insta::assert_snapshot!(printed(&stdout, &target));
}

#[test]
fn without_the_model_the_command_that_fetches_it_is_named() {
    let target = TempDir::new().unwrap();
    let output = bench(&target).arg("engine").env("FAKE_NO_MODEL", "1").output().unwrap();
    let (status, _, stderr) = said(&output);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("cargo xtask model pull"), "{stderr}");
}

#[test]
fn an_unknown_peer_is_answered_with_those_there_are() {
    let target = TempDir::new().unwrap();
    let output = bench(&target).args(["engine", "--against", "gold"]).output().unwrap();
    let (status, _, stderr) = said(&output);
    assert_eq!(
        (status, stderr.as_str()),
        (Some(2), "engine knows no peer gold; it knows: llama.cpp\n")
    );
}

#[test]
fn the_list_names_every_bench_and_where_its_peers_come_from() {
    let target = TempDir::new().unwrap();
    let output = bench(&target).arg("--list").output().unwrap();
    let (status, stdout, _) = said(&output);
    assert_eq!(status, Some(0));
    insta::assert_snapshot!(stdout);
}

#[test]
fn ctrl_c_ends_what_was_started_and_exits_with_130() {
    let target = TempDir::new().unwrap();
    let file = target.path().join("ids");
    let mut running = bench(&target)
        .args(["engine", "--quick"])
        .env("FAKE_HANGS", &file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = ids(&file);
    let program = Pid::from_raw(i32::try_from(running.id()).unwrap());
    kill(program, Signal::SIGINT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_gone(&started);
}
