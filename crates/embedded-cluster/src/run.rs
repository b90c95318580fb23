//! The cluster's life: what is started, in which order, and how it ends.

use std::future::Future;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api_server::{Certificates, MetricsProvider};
use node_agent::NodeAgent;
use object_store::{Store, System, WriteOptions};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::faults::Faults;
use crate::file::ClusterFile;
use crate::nodes::Nodes;
use crate::scrape;
use crate::state::{Folder, write_secret};
use crate::usage::Usage;

/// Definitions of what a gateway reads. Nobody here is one: whoever routes by these objects runs in a pod.
const GATEWAYS: [&str; 2] = [
    include_str!("../../../clusters/schemas/gateway-api.yaml"),
    include_str!("../../../clusters/schemas/inference-extension.yaml"),
];

/// Threads of the runtime: the API on one does not wait for a pod's relay on the other.
const THREADS: usize = 2;

/// The longest that a part gets to end: pods have their grace. A part that never had the time to start may not see the end.
const STOP_LIMIT: Duration = Duration::from_secs(35);

/// Runs the cluster until it is asked to end.
pub(crate) fn run(args: &crate::Run) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let programs = match &args.programs {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()?.parent().context("no folder")?.to_owned(),
    };
    let file = ClusterFile::read(&args.config, &programs)?;
    let folder = Folder::take(&args.state)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(serve(args, file, &folder))
}

async fn serve(args: &crate::Run, file: ClusterFile, folder: &Folder) -> Result<()> {
    let listener = listen(args.port, folder.last_port()).await?;
    let port = listener.local_addr()?.port();
    if let Some(lost) = folder.lacks() {
        warn!("{lost}");
    }
    let token = folder.token()?;
    let certificates = folder.certificates()?;
    folder.write_kubeconfig(port, &certificates.authority, &token)?;
    let store = Store::open(&folder.join("objects"), System)?;
    object_store::bootstrap(&store, Ipv4Addr::LOCALHOST, port)?;
    define(&store)?;
    let nodes = file.nodes.len();
    // There is one user, so what a pod presents is his token.
    let pods = node_agent::Config { token: Some(token.clone()), ..file.agent_config(folder) };
    let agent = NodeAgent::new(store.clone(), pods)?;
    // Services keep their addresses only in the block that they were given in.
    if let Some(cell) = agent.addresses().cell() {
        write_secret(&folder.join("cell"), cell.to_string().as_bytes())?;
    }
    let mut parts = Parts::default();
    let usage =
        Usage { agent: agent.clone(), store: store.clone(), readings: scrape::Shared::default() };
    let metrics: Arc<dyn MetricsProvider> = Arc::new(usage.clone());
    let api = api_server::Config {
        metrics: Some(metrics),
        ..api_server::Config::new(token, certificates.clone())
    };
    let proxy = Arc::new(Nodes(agent.clone()));
    parts.start("API server", |stop| api_server::serve(listener, store.clone(), api, proxy, stop));
    let running = agent.clone();
    parts.start("node agent", |stop| async move { running.run(stop).await });
    let (pages, readings) = (store.clone(), usage.readings.clone());
    parts.start("reader of metrics", |stop| async move {
        scrape::run(pages, readings, stop).await;
        Ok::<(), std::convert::Infallible>(())
    });
    let config = controllers_config(folder, &certificates, usage);
    parts.start("controllers", |stop| async move {
        controllers::run(store, config, stop).await;
        Ok::<(), std::convert::Infallible>(())
    });
    let client = client(folder).await?;
    let faults = Arc::new(Faults::new(agent));
    parts.start("fault controller", |stop| async move {
        // Its watches may be in the middle of starting, and nothing of it needs an end: what it has made goes with the agent.
        tokio::select! {
            ended = chaos::controller::run(client, faults, std::future::pending()) => ended,
            () = stop => Ok(()),
        }
    });
    info!(port, nodes, "the cluster is up");
    say_ready(port);
    let failed = tokio::select! {
        name = parts.failed() => Some(name),
        () = asked_to_end()? => None,
        () = folder.gone() => {
            warn!("the cluster's folder was deleted: the cluster ends with it");
            None
        }
    };
    parts.stop().await?;
    match failed {
        None => Ok(()),
        Some(name) => bail!("the {name} ended by itself: the cluster went down with it"),
    }
}

/// What runs, in the order of starting. It is stopped in reverse: pods end before the API does, so that what they wrote
/// last can be read.
#[derive(Default)]
struct Parts {
    running: Vec<Part>,
    ended: JoinSet<&'static str>,
}

struct Part {
    name: &'static str,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Parts {
    /// Starts a part, which runs until the future that it is given is ready.
    fn start<F, E>(&mut self, name: &'static str, part: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        let (stop, stopped) = watch::channel(false);
        let running = part(until(stopped));
        let (ending, ended) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            // Dropped when the part ends, also by a panic.
            let _ending = ending;
            running.await.map_err(|error| anyhow::anyhow!("the {name}: {error}"))
        });
        self.ended.spawn(async move {
            let _ = ended.await;
            name
        });
        self.running.push(Part { name, stop, task });
    }

    /// The first part that ends though nobody asked it to.
    async fn failed(&mut self) -> &'static str {
        match self.ended.join_next().await {
            Some(Ok(name)) => name,
            _ => std::future::pending().await,
        }
    }

    /// Stops all parts, the last one first; returns the first trouble.
    async fn stop(self) -> Result<()> {
        let mut trouble = Ok(());
        for Part { name, stop, task } in self.running.into_iter().rev() {
            stop.send_replace(true);
            let mut task = task;
            let ended = match tokio::time::timeout(STOP_LIMIT, &mut task).await {
                Ok(ended) => ended.with_context(|| format!("the {name}")).and_then(|ended| ended),
                Err(_) => {
                    warn!(name, "it did not end in time, and is dropped");
                    task.abort();
                    Ok(())
                }
            };
            trouble = trouble.and(ended);
        }
        trouble
    }
}

/// Ready when a part should end.
type Stop = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn until(mut stopped: watch::Receiver<bool>) -> Stop {
    Box::pin(async move {
        // An error means that the program is ending anyway.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    })
}

/// Serves the kinds of Chaos Mesh, the Gateway API and its inference extension, as an installation of each would.
fn define(store: &Store) -> Result<()> {
    let kind = store.kind("apiextensions.k8s.io", "customresourcedefinitions");
    let mut definitions = Vec::new();
    for definition in chaos::crds::all() {
        definitions.push(serde_json::to_value(definition)?);
    }
    for file in GATEWAYS {
        definitions.extend(serde_saphyr::from_multiple::<Value>(file)?);
    }
    for definition in definitions.into_iter().filter(|definition| !definition.is_null()) {
        match store.create(&kind, definition, &WriteOptions::by("embedded-cluster")) {
            Ok(_) => {}
            Err(status) if status.code == 409 => {}
            Err(status) => return Err(status.into()),
        }
    }
    Ok(())
}

/// A client of this very cluster: what executes faults is plain client code.
async fn client(folder: &Folder) -> Result<kube::Client> {
    let config = kube_connect::config(Some(&folder.join("kubeconfig")), None).await?;
    Ok(kube_connect::client(config)?)
}

fn controllers_config(
    folder: &Folder,
    certificates: &Certificates,
    usage: Usage,
) -> controllers::Config {
    controllers::Config {
        root_ca: Some(certificates.authority.clone()),
        volume_directory: folder.join("volumes"),
        metrics: Arc::new(usage),
        ..controllers::Config::default()
    }
}

/// The port that was asked for, else that of last time if it is free, else any.
async fn listen(asked: Option<u16>, last: u16) -> Result<TcpListener> {
    if let Some(port) = asked {
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        return listener.with_context(|| format!("port {port} of 127.0.0.1"));
    }
    match TcpListener::bind(("127.0.0.1", last)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await.context("a free port of 127.0.0.1"),
    }
}

/// Whoever started this waits for this line, and may be gone by now.
fn say_ready(port: u16) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ready https://127.0.0.1:{port}").and_then(|()| out.flush());
}

fn asked_to_end() -> Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("the cluster is going down");
    })
}
