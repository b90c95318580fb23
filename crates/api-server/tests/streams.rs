//! Logs, commands and ports over real connections, by the `kube` crate's WebSockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams};
use support::Running;
use support::host::Host;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn pods() -> (Running, Api<Pod>) {
    let server = Running::with_nodes(Arc::new(Host)).await;
    server.add_pod("main", "Running");
    let pods = Api::default_namespaced(server.client());
    (server, pods)
}

async fn text(from: impl tokio::io::AsyncRead) -> String {
    let mut text = String::new();
    std::pin::pin!(from).read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_log_is_read_to_its_end_or_followed_until_the_server_stops() {
    let (server, pods) = pods().await;
    let tail = LogParams { tail_lines: Some(1), ..LogParams::default() };
    assert_eq!(pods.logs("main", &tail).await.unwrap(), "third of main\n");
    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut lines = pods.log_stream("main", &follow).await.unwrap();
    let mut first = [0; 14];
    lines.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first of main\n");
    let rest = tokio::spawn(async move {
        let mut rest = String::new();
        let _ = lines.read_to_string(&mut rest).await;
        rest
    });
    server.stop().await;
    assert_eq!(rest.await.unwrap(), "second of main\nthird of main\n");
}

#[tokio::test]
async fn a_container_must_be_one_that_the_pod_has() {
    let (server, pods) = pods().await;
    let params = LogParams { container: Some("other".to_owned()), ..LogParams::default() };
    let error = pods.logs("main", &params).await.unwrap_err();
    assert!(error.to_string().contains("container other is not valid for pod main"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_command_has_input_output_errors_and_an_exit_code() {
    let (server, pods) = pods().await;
    let params = AttachParams::default().stdin(true).stdout(true).stderr(true);
    let script = ["sh", "-c", "read line; echo \"got $line\"; echo oops >&2; exit 3"];
    let mut running = pods.exec("main", script, &params).await.unwrap();
    let mut stdin = running.stdin().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    let (stdout, stderr) = (running.stdout().unwrap(), running.stderr().unwrap());
    let (stdout, stderr) = tokio::join!(text(stdout), text(stderr));
    assert_eq!((stdout.as_str(), stderr.as_str()), ("got hello\n", "oops\n"));
    let status = running.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    assert_eq!(status.details.unwrap().causes.unwrap()[0].message.as_deref(), Some("3"));
    server.stop().await;
}

#[tokio::test]
async fn a_command_ends_when_its_client_leaves() {
    let (server, pods) = pods().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 60", file.display());
    let params = AttachParams::default().stdout(true).stderr(false);
    let running = pods.exec("main", ["sh", "-c", &script], &params).await.unwrap();
    let pid = loop {
        match std::fs::read_to_string(&file) {
            Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    running.abort();
    drop(running);
    let process = format!("/proc/{pid}");
    let gone = async {
        while std::path::Path::new(&process).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if cfg!(target_os = "linux") {
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn a_forwarded_port_carries_bytes_both_ways() {
    let (server, pods) = pods().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap();
    });
    let mut forwarder = pods.portforward("main", &[port]).await.unwrap();
    let mut stream = forwarder.take_stream(port).unwrap();
    let sent = vec![7; 300_000];
    let (mut from, mut to) = tokio::io::split(&mut stream);
    let mut back = vec![0; sent.len()];
    let (written, read) = tokio::join!(to.write_all(&sent), from.read_exact(&mut back));
    written.unwrap();
    read.unwrap();
    assert_eq!(back, sent);
    server.stop().await;
}

#[tokio::test]
async fn a_port_where_nobody_listens_says_so() {
    let (server, pods) = pods().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut forwarder = pods.portforward("main", &[port]).await.unwrap();
    let error = forwarder.take_error(port).unwrap().await.unwrap();
    assert!(error.contains(&format!("forwarding to port {port}")), "{error}");
    server.stop().await;
}
