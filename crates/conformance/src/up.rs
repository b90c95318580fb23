//! How long a cluster takes from the start of its program to its first answer.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::connect;
use crate::unmet::{Met, Unmet};

/// The longest that a cluster may take.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to end after it was asked to.
const DOWN_WITHIN: Duration = Duration::from_secs(40);
/// Time between two attempts.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Starts `command`, if there is one, and waits until the cluster that `kubeconfig` names tells its version. Ends the program
/// afterwards.
///
/// # Errors
/// [`Unmet::Fail`] when the program cannot be started, ends, or answers too late.
pub async fn run(kubeconfig: &Path, command: &[String]) -> Met<Value> {
    let begun = Instant::now();
    let mut child = match command {
        [] => None,
        [program, args @ ..] => Some(start(program, args)?),
    };
    let took = loop {
        if answers(kubeconfig).await {
            break begun.elapsed();
        }
        if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
            return Err(Unmet::fail("a cluster that stays up", status.to_string()));
        }
        if begun.elapsed() > UP_WITHIN {
            return Err(Unmet::fail(format!("an answer within {UP_WITHIN:?}"), "none"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    if let Some(child) = child {
        end(child).await;
    }
    Ok(json!({"first_answer_ms": took.as_secs_f64() * 1e3}))
}

fn start(program: &str, args: &[String]) -> Met<Child> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command.spawn().map_err(|error| Unmet::fail(format!("{program} to start"), error.to_string()))
}

/// Whether there is a kubeconfig, and somebody behind it who says who he is.
async fn answers(kubeconfig: &Path) -> bool {
    let Ok(config) = connect::config(Some(kubeconfig)).await else { return false };
    let Ok(client) = kube_connect::client(config) else { return false };
    client.apiserver_version().await.is_ok()
}

/// Asks it to end; kills it when it does not.
async fn end(mut child: Child) {
    #[cfg(unix)]
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let pid = nix::unistd::Pid::from_raw(pid);
        // It may be gone by itself.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        if tokio::time::timeout(DOWN_WITHIN, child.wait()).await.is_ok() {
            return;
        }
    }
    let _ = child.kill().await;
}
