//! What the router's crates warn of reaches whoever runs it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use crate::common::LIMIT;

/// A kubeconfig of a cluster where nobody listens.
const NOBODY: &str = "\
apiVersion: v1
kind: Config
current-context: nobody
contexts: [{name: nobody, context: {cluster: nobody, user: nobody}}]
clusters: [{name: nobody, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: nobody, user: {}}]
";

/// Lines that wait to be looked at.
const LINES: usize = 64;

/// A router that follows a Service of that cluster; it ends with the test.
struct Alone(Child);

impl Alone {
    /// And what it says on standard error.
    fn start(kubeconfig: &std::path::Path) -> (Self, Receiver<String>) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lab02-router"))
            .args(["--port", "0", "--exit-with-parent", "--service", "default/large"])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, said) = sync_channel(LINES);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            // Nobody listens once the test has seen enough.
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        (Self(child), said)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn a_watch_that_is_cut_is_told_on_standard_error() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(NOBODY.as_bytes()).unwrap();
    let (_router, said) = Alone::start(file.path());
    let mut lines = Vec::new();
    while let Ok(line) = said.recv_timeout(LIMIT) {
        if line.contains("WARN") && line.contains("discovery") && line.contains("was cut") {
            return;
        }
        lines.push(line);
    }
    panic!("no warning, but {lines:?}");
}
