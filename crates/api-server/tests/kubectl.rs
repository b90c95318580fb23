//! The API server as kubectl sees it. Runs the `kubectl` of the path, and the one that `KUBECTL` names, if they are there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use support::Running;
use support::host::Host;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// What a call of kubectl may take.
const LIMIT: Duration = Duration::from_secs(60);

fn kubectls() -> Vec<String> {
    let named = std::env::var("KUBECTL").ok();
    let all = named.into_iter().chain(["kubectl".to_owned()]);
    let is_there = |program: &String| {
        let mut command = std::process::Command::new(program);
        let command = command.args(["version", "--client"]).stdout(Stdio::null());
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let found: Vec<String> = all.filter(is_there).collect();
    if found.is_empty() {
        println!("SKIPPED: no kubectl in the path, and none named by KUBECTL");
    }
    found
}

fn command(program: &str, config: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(config).args(arguments).kill_on_drop(true);
    command
}

async fn run(program: &str, config: &std::path::Path, arguments: &[&str]) -> String {
    let output = tokio::time::timeout(LIMIT, command(program, config, arguments).output());
    let output = output.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}{error}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_shows_scales_and_deletes() {
    for program in kubectls() {
        let server = Running::with_nodes(Arc::new(Host)).await;
        server.add_pod("main", "Running");
        let file = server.kubeconfig();
        let run = async |arguments: &[&str]| run(&program, file.path(), arguments).await;
        run(&["create", "deployment", "web", "--image=web", "--replicas=2"]).await;
        run(&["scale", "deployment", "web", "--replicas=3"]).await;
        let shown = run(&["get", "deployments", "--no-headers"]).await;
        assert!(
            shown.split_whitespace().eq([
                "web",
                "0/3",
                "0",
                "0",
                shown.split_whitespace().last().unwrap()
            ]),
            "{shown}"
        );
        run(&["autoscale", "deployment", "web", "--max=5", "--cpu-percent=50"]).await;
        let shown = run(&["get", "hpa", "web", "--no-headers"]).await;
        assert!(shown.contains("Deployment/web") && shown.contains("<unknown>/50%"), "{shown}");
        let shown = run(&["get", "pods", "-o", "wide", "--no-headers"]).await;
        assert!(shown.contains("1/1") && shown.contains("node-1"), "{shown}");
        assert!(run(&["explain", "deployment.spec.replicas"]).await.contains("<integer>"));
        assert!(run(&["auth", "can-i", "create", "pods"]).await.contains("yes"));
        assert!(run(&["top", "pod", "--no-headers"]).await.contains("250m"));
        run(&["delete", "deployment", "web"]).await;
        run(&["delete", "pod", "main", "--now", "--wait=false"]).await;
        drop(file);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_logs_and_runs_commands() {
    for program in kubectls() {
        let server = Running::with_nodes(Arc::new(Host)).await;
        server.add_pod("main", "Running");
        let file = server.kubeconfig();
        let run = async |arguments: &[&str]| run(&program, file.path(), arguments).await;
        assert_eq!(run(&["logs", "main", "--tail=1"]).await, "third of main\n");
        assert_eq!(run(&["exec", "main", "--", "echo", "hello"]).await, "hello\n");
        let arguments = ["exec", "-i", "main", "--", "sh", "-c", "cat; exit 7"];
        let mut child = command(&program, file.path(), &arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"input").await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(
            (output.stdout.as_slice(), output.status.code()),
            (b"input".as_slice(), Some(7))
        );
        drop(file);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_forwards_a_port_again_and_again() {
    for program in kubectls() {
        let server = Running::with_nodes(Arc::new(Host)).await;
        server.add_pod("main", "Running");
        let file = server.kubeconfig();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = [0; 5];
                stream.read_exact(&mut text).await.unwrap();
                text.reverse();
                stream.write_all(&text).await.unwrap();
            }
        });
        let mut child =
            command(&program, file.path(), &["port-forward", "pod/main", &format!(":{port}")])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
        let local = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
        let local: u16 = local.unwrap().parse().unwrap();
        for _ in 0..20 {
            let asked = async {
                let mut stream = TcpStream::connect(("127.0.0.1", local)).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).await.unwrap();
                text
            };
            assert_eq!(tokio::time::timeout(LIMIT, asked).await.unwrap(), "olleh");
        }
        child.kill().await.unwrap();
        drop(file);
        server.stop().await;
    }
}
