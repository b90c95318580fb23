//! The router as a process: this lab's policies and rules behind the course's data plane.

mod args;
mod canary;
mod catalogue;
mod http_route;
mod kubernetes;
mod picker;
mod route_backend;
mod shadow;
mod timed;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use proxy::Router;
use sol02_routing::route_plan::Planned;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use args::Args;
use catalogue::Deployed;

fn main() -> ExitCode {
    log_to_stderr();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the router's crates warn of, unless `RUST_LOG` asks for more or less.
fn log_to_stderr() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

fn run(args: &Args) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
    if let Some(listen) = args.picker.picker {
        return runtime.block_on(async {
            let settings = args.settings()?;
            let setup = picker::Setup {
                args: &args.picker,
                kubernetes: &args.kubernetes,
                endpoints: args.endpoints()?,
                policy: args.policy(),
                watching: settings.watching,
                listening: settings.kv_events,
            };
            picker::serve(listen, setup, ended(args.exit_with_parent)?).await
        });
    }
    let deployed = args.catalogue.as_deref().map(Deployed::read).transpose()?;
    let endpoints = args.members(deployed.as_ref())?;
    runtime.block_on(async {
        let planned = Planned::default();
        let dispatch = args.dispatch(&planned, deployed.as_ref())?;
        let router = Router::bind(args.settings()?, dispatch)?;
        let asks = deployed.as_ref().filter(|deployed| deployed.services().next().is_some());
        if args.route.is_asked() {
            args.route.follow(&args.kubernetes, planned, router.membership()).await?;
        } else if args.kubernetes.is_asked() || asks.is_some() {
            let followed = match asks {
                Some(deployed) => args.kubernetes.deployed(deployed).await?,
                None => args.kubernetes.followed(&args.canary).await?,
            };
            let zone = args.kubernetes.zone.clone();
            tokio::spawn(kubernetes::follow(followed, zone, router.membership()));
        } else {
            router.membership().set(endpoints);
        }
        let ended = ended(args.exit_with_parent)?;
        println!("listening on http://{}", router.address());
        router.run(ended).await?;
        Ok(())
    })
}

/// Ready when somebody wants an end.
fn ended(with_parent: bool) -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = parent_gone(with_parent) => {}
        }
    })
}

/// Ready when stdin closes, if that is asked for: nobody is left to read the answers.
async fn parent_gone(watched: bool) {
    if !watched {
        return std::future::pending().await;
    }
    let (gone, hears) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _end = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(gone);
    });
    let _gone = hears.await;
}
