//! Takes an engine's place in a live check, and runs it as a Deployment on a cluster.
//!
//! It is called as the engine would be and speaks as the engine does: it prints where it listens, writes the engine's log to
//! standard error, and ends when its standard input does. So a check cannot tell a process from a pod. What it needs to
//! know beyond the engine's own flags comes from the environment: see [`cluster::Environment`], and `LAB_PROGRAM`, the engine's
//! program.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cluster::{Bed, BedError, Environment, go_home, variable};
use cluster_orders::{End, Manifests, ObjectName, Order, Reply};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::signal::unix::{SignalKind, signal};

/// The port that engines listen on inside their pods, as in the manifests.
const PORT: u16 = 8000;
/// The longest wait for a pod that serves: a model may have to be loaded.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// Lines of an engine's log that are shown when it does not come up.
const LOG_LINES: usize = 20;
/// The lab's manifest of the engine, its object, and its image.
const MANIFEST: &str = "engine.yaml";
const OBJECT: &str = "Deployment/engine";
const IMAGE: &str = "llm-lab/engine";

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

async fn run() -> Result<()> {
    let mut environment = Environment::read()?;
    environment.images.insert(IMAGE.to_owned(), variable("LAB_PROGRAM")?.into());
    let args = pod_args(std::env::args().skip(1))?;
    let mut bed = Bed::make(environment).await?;
    let served = serve(&mut bed, args).await;
    let closed = bed.close().await;
    served?;
    Ok(closed?)
}

/// Until nobody wants it any more.
async fn serve(bed: &mut Bed, args: Vec<String>) -> Result<()> {
    let pod = tokio::select! {
        pod = start(bed, args) => pod?,
        () = unwanted() => return Ok(()),
    };
    let end = End::Pod(pod.clone());
    let Reply::Address(address) = bed.carry_out(Order::Reach { end, port: PORT }).await? else {
        bail!("nobody knows where the engine's pod is");
    };
    println!("listening on http://{address}");
    let pods = bed.session().api();
    tokio::select! {
        () = follow(&pods, &pod) => {}
        () = unwanted() => {}
    }
    Ok(())
}

/// Starts the engine, and names its pod once that is ready.
async fn start(bed: &mut Bed, args: Vec<String>) -> Result<String> {
    let manifests = Manifests::deploy(MANIFEST).only(OBJECT).args(OBJECT, args);
    let manifests = manifests.set(OBJECT, "/spec/replicas", 1);
    bed.carry_out(Order::Apply { manifests }).await?;
    let object: ObjectName = OBJECT.parse().map_err(anyhow::Error::msg)?;
    if let Err(error) = bed.carry_out(Order::Ready { object, limit: READY_LIMIT }).await {
        if let BedError::NotSo { .. } = &error {
            show_log(bed).await;
        }
        return Err(error.into());
    }
    let pods = bed.carry_out(Order::Pods { selector: String::new() }).await?;
    let Reply::Pods(pods) = pods else { bail!("nobody knows the engine's pod") };
    let pod = pods.into_iter().find(|pod| pod.ready).context("the engine's pod is gone")?;
    Ok(pod.name)
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
async fn follow(pods: &Api<Pod>, pod: &str) {
    use futures_util::io::AsyncBufReadExt;
    use futures_util::stream::StreamExt;
    let params = LogParams { follow: true, ..LogParams::default() };
    if let Ok(log) = pods.log_stream(pod, &params).await {
        let mut lines = log.lines();
        while let Some(Ok(line)) = lines.next().await {
            eprintln!("{line}");
        }
    }
    // A log may end before its pod does.
    std::future::pending::<()>().await;
}

async fn show_log(bed: &mut Bed) {
    let Ok(Reply::Pods(pods)) = bed.carry_out(Order::Pods { selector: String::new() }).await else {
        return;
    };
    for pod in pods {
        let order = Order::Log { pod: pod.name, lines: LOG_LINES };
        if let Ok(Reply::Lines(lines)) = bed.carry_out(order).await {
            lines.iter().for_each(|line| eprintln!("{line}"));
        }
    }
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
