//! The program as people and scripts use it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::double::{Double, answer, whole};

fn loadgen(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments).env("OPENAI_API_KEY", "s3cr3t").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SHORT: &[&str] =
    &["--rate", "500", "--requests", "20", "--input", "9", "--output", "3", "--seed", "5"];

fn with<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--url", url], SHORT, more].concat()
}

#[test]
fn a_run_writes_everything_that_was_asked_and_no_secret() {
    let server = Double::start(answer);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, records, html) = (path("out.json"), path("out.jsonl"), path("report.html"));
    let files = ["--json", &json, "--records", &records, "--html", &html];
    let output = loadgen(&with(&server.url(), &[&files[..], &["--slo", "e2e=1h"]].concat()));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap();
    let summary: Value = serde_json::from_str(&read(&json)).unwrap();
    assert_eq!(summary["requests"]["ok"], 20);
    assert_eq!(summary["requests"]["good"], 20);
    assert_eq!(summary["run"]["model"], "double");
    assert_eq!(summary["run"]["asked_rate"], 500.0);
    assert_eq!(summary["latency_ms"]["ttft"]["count"], 20);
    assert_eq!(summary["latency_ms"]["itl"]["count"], 40);
    assert_eq!(summary["answers"]["output_tokens"], 3.0);
    assert!(summary["arrivals"]["lateness_ms"]["p99"].is_number());
    let lines: Vec<Value> =
        read(&records).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 20);
    assert!(lines.iter().all(|line| line["ok"] == true && line["itl_ms"][1].is_number()));
    assert!(read(&html).contains("<svg"));
    assert!(text(&output.stdout).contains("20 scheduled  20 sent  20 ok  0 failed"));

    let sent = server.seen();
    assert!(sent.iter().all(|r| r.head.contains("Authorization: Bearer s3cr3t\r\n")));
    for written in [read(&json), read(&records), read(&html), text(&output.stdout)] {
        assert!(!written.contains("s3cr3t"));
    }
}

#[test]
fn json_alone_goes_to_standard_output() {
    let server = Double::start(answer);
    let output = loadgen(&with(&server.url(), &["--json", "-", "--quiet", "--warmup", "2"]));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["requests"]["ok"], 20, "the warm-up is not counted");
    assert!(output.stderr.is_empty());
    // The list of models, the warm-up, and the run.
    assert_eq!(server.seen().len(), 1 + 2 + 20);
}

#[test]
fn the_exit_status_says_how_it_went() {
    let good = Double::start(answer);
    let half = Double::start(|request, stream| match request.number % 2 {
        0 => answer(request, stream),
        _ => whole(stream, "500 Internal Server Error", ""),
    });
    let bad = Double::start(|_, stream| whole(stream, "500 Internal Server Error", ""));
    let named = ["--model", "m"];
    for (server, more, status) in [
        (&good, &[][..], 0),
        (&half, &[], 0),
        (&half, &["--fail-on", "errors=60%"], 0),
        (&half, &["--fail-on", "errors=1%"], 1),
        (&good, &["--slo", "ttft=1h", "--fail-on", "goodput=100%"], 0),
        (&good, &["--slo", "ttft=1us", "--fail-on", "goodput=1%"], 1),
        (&bad, &[], 1),
        (&good, &["--fail-on", "goodput=95%"], 2),
        (&good, &["--no-stream", "--slo", "ttft=1s"], 2),
        (&good, &["--url", "https://127.0.0.1"], 2),
        (&good, &["--url", "http://127.0.0.1:1"], 2),
        (&good, &["--json", "/nowhere/out.json"], 2),
        (&good, &["--closed", "3"], 2),
    ] {
        let url = server.url();
        let url = if more.contains(&"--url") { vec![] } else { vec!["--url", &url] };
        let output = loadgen(&[&url, SHORT, &named, more].concat());
        assert_eq!(output.status.code(), Some(status), "{more:?}: {}", text(&output.stderr));
        assert_eq!(output.stderr.is_empty(), status == 0 || server.address == bad.address);
    }
}

#[test]
fn the_same_seed_sends_the_same_requests() {
    let prompts = |seed: &str| {
        let server = Double::start(answer);
        let arguments = ["--model", "m", "--arrivals", "constant", "--seed", seed];
        let arguments: Vec<&str> = with("", &[])[2..8].iter().copied().chain(arguments).collect();
        loadgen(&[&["--url", &server.url()], &arguments[..]].concat());
        let mut prompts: Vec<_> =
            server.seen().into_iter().map(|r| r.body["prompt"].to_string()).collect();
        prompts.sort();
        prompts
    };
    let first = prompts("5");
    assert_eq!(first.len(), 20);
    assert_eq!(first, prompts("5"));
    assert_ne!(first, prompts("6"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_with_its_summary() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let server = Double::start(answer);
    let url = server.url();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    let hour = ["--url", &url, "--rate", "100", "--duration", "1h", "--json", "-", "--quiet"];
    let child = command.args(hour).args(["--output", "3"]).stdout(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    while server.seen().len() < 10 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["requests"]["scheduled"], 360_000);
    assert!(summary["requests"]["ok"].as_u64().unwrap() >= 5);
}
