//! Takes an engine's place in a live check, and runs it as a Deployment on a cluster.
//!
//! It is called as the engine would be and speaks as the engine does: it prints where it listens, writes the engine's log to
//! standard error, and ends when its standard input does. So a check cannot tell a process from a pod. What it needs to
//! know beyond the engine's own flags comes from the environment:
//!
//! | variable | what |
//! |---|---|
//! | `LAB_ON` | the cluster, as after `--on` |
//! | `LAB_ROOT` | the repository |
//! | `LAB_PROGRAMS` | where cargo puts the course's programs |
//! | `LAB_PROGRAM` | the engine's program |
//! | `LAB_SESSION` | who starts it; `cluster sweep` takes away what a session leaves |
//! | `LAB_MANIFEST` | the manifest with its Deployment |

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cluster::{Forward, Paths, Run, State, Target, Workload, WorkloadError, provider};
use kube::api::LogParams;
use tokio::signal::unix::{SignalKind, signal};

/// The port that engines listen on inside their pods, as in the manifests.
const PORT: u16 = 8000;
/// The longest wait for a pod that serves: a model may have to be loaded.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// Lines of an engine's log that are shown when it does not come up.
const LOG_LINES: usize = 20;
/// The namespace of a check's engines.
const NAMESPACE: &str = "default";

fn main() -> ExitCode {
    if let Some(error) = go_home() {
        eprintln!("cannot start again with the user's home: {error}");
        return ExitCode::FAILURE;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = runtime.context("no runtime").and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A check's home is an empty folder; kubeconfigs and what they run to log in need the user's. So this program starts
/// itself again with it, once. Returns only if it need not, or cannot.
fn go_home() -> Option<std::io::Error> {
    use std::os::unix::process::CommandExt;
    let given = ["HOME", "KUBECONFIG"].map(|name| (name, std::env::var_os(format!("LAB_{name}"))));
    if given.iter().all(|(_, value)| value.is_none()) {
        return None;
    }
    let mut again = std::process::Command::new(std::env::current_exe().ok()?);
    again.args(std::env::args_os().skip(1));
    for (name, value) in given {
        again.env_remove(format!("LAB_{name}"));
        if let Some(value) = value {
            again.env(name, value);
        }
    }
    Some(again.exec())
}

async fn run() -> Result<()> {
    let target: Target = variable("LAB_ON")?.parse()?;
    let paths =
        Paths { root: variable("LAB_ROOT")?.into(), programs: variable("LAB_PROGRAMS")?.into() };
    let provider = provider(&target, &paths);
    let State::Up(access) = provider.state()? else {
        bail!("{target} is down: `cargo xtask cluster up --on {target}` brings it up");
    };
    let name = format!("engine-{}", std::process::id());
    let program = PathBuf::from(variable("LAB_PROGRAM")?);
    let image = format!("llm-lab/{name}");
    provider.load(&image, &program)?;
    let session = variable("LAB_SESSION")?;
    let run = Run { name, session, image, args: pod_args(std::env::args().skip(1))? };
    let deployment = run.of(variable("LAB_MANIFEST")?.as_ref())?;
    let client = access.client().await?;
    let workload = Workload::apply(&client, NAMESPACE, &deployment).await?;
    let served = serve(&workload).await;
    let deleted = workload.delete().await;
    served?;
    Ok(deleted?)
}

/// Until nobody wants it any more.
async fn serve(workload: &Workload) -> Result<()> {
    let pod = tokio::select! {
        pod = workload.ready(READY_LIMIT) => match pod {
            Ok(pod) => pod,
            Err(error) => {
                show_log(workload, &error).await;
                return Err(error.into());
            }
        },
        () = unwanted() => return Ok(()),
    };
    let forward = Forward::open(workload.pods().clone(), pod.clone(), PORT).await?;
    println!("listening on http://{}", forward.address());
    tokio::select! {
        () = follow(workload, &pod) => {}
        () = unwanted() => {}
    }
    Ok(())
}

/// Ready when standard input ends or somebody asks this process to end.
async fn unwanted() {
    let (sender, closed) = tokio::sync::oneshot::channel();
    // A thread of its own: tokio's would keep the process alive for as long as the input is open.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = sender.send(());
    });
    let asked = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = closed => {}
        () = asked => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// The pod's log, line by line, until the pod ends.
async fn follow(workload: &Workload, pod: &str) {
    use futures_util::io::AsyncBufReadExt;
    use futures_util::stream::StreamExt;
    let params = LogParams { follow: true, ..LogParams::default() };
    if let Ok(log) = workload.pods().log_stream(pod, &params).await {
        let mut lines = log.lines();
        while let Some(Ok(line)) = lines.next().await {
            eprintln!("{line}");
        }
    }
    // A log may end before its pod does.
    std::future::pending::<()>().await;
}

async fn show_log(workload: &Workload, error: &WorkloadError) {
    if matches!(error, WorkloadError::Hopeless { .. } | WorkloadError::NotReady { .. }) {
        for line in workload.last_log(LOG_LINES).await {
            eprintln!("{line}");
        }
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: `cargo xtask lab` sets it"))
}

/// The engine's arguments in its pod: it listens on the pod's address and on the manifest's port, and ends with the pod.
fn pod_args(args: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let mut kept =
        vec!["--host".to_owned(), "$(POD_IP)".to_owned(), "--port".to_owned(), PORT.to_string()];
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--exit-with-parent" => {}
            "--port" | "--host" => {
                args.next().with_context(|| format!("{arg} has no value"))?;
            }
            _ => kept.push(arg),
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_listens_on_its_own_address_whatever_the_check_said() {
        let args = ["--port", "0", "--exit-with-parent", "--model", "tiny", "--debug-timelines"];
        let args = pod_args(args.map(ToOwned::to_owned).into_iter()).unwrap();
        let expected = "--host $(POD_IP) --port 8000 --model tiny --debug-timelines";
        assert_eq!(args.join(" "), expected);
    }
}
