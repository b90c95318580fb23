//! The cluster's life: what is started, in which order, and how it ends.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use api_server::{Certificates, Config, NoNodes};
use object_store::{Store, System};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::file::ClusterFile;
use crate::state::Folder;

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
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(args, &file, &folder))
}

async fn serve(args: &crate::Run, file: &ClusterFile, folder: &Folder) -> Result<()> {
    let listener = listen(args.port, folder.last_port()).await?;
    let port = listener.local_addr()?.port();
    let token = folder.token()?;
    let certificates = folder.certificates()?;
    folder.write_kubeconfig(port, &certificates.authority, &token)?;
    let store = Store::open(&folder.join("objects"), System)?;
    object_store::bootstrap(&store, Ipv4Addr::LOCALHOST, port)?;
    let (stop, stopped) = watch::channel(false);
    let controllers = tokio::spawn(controllers::run(
        store.clone(),
        controllers_config(folder, &certificates),
        until(stopped),
    ));
    info!(port, nodes = file.nodes.len(), "the cluster is up");
    say_ready(port);
    let config = Config::new(token, certificates);
    api_server::serve(listener, store, config, Arc::new(NoNodes), asked_to_end()?).await?;
    stop.send_replace(true);
    controllers.await?;
    Ok(())
}

fn controllers_config(folder: &Folder, certificates: &Certificates) -> controllers::Config {
    controllers::Config {
        root_ca: Some(certificates.authority.clone()),
        volume_directory: folder.join("volumes"),
        ..controllers::Config::default()
    }
}

/// Ready when the cluster goes down.
async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the program is ending anyway.
    let _ = stopped.wait_for(|stopped| *stopped).await;
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
