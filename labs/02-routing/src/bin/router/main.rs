//! The router as a process: this lab's policies and rules behind the course's data plane.

mod args;
mod kubernetes;
mod picker;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use proxy::{Member, Router};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use args::Args;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
    if let Some(listen) = args.kubernetes.picker {
        return runtime.block_on(async {
            let ended = ended(args.exit_with_parent)?;
            let watching = args.settings().watching;
            picker::serve(listen, &args.kubernetes, args.policy(), watching, ended).await
        });
    }
    let endpoints = args.endpoints()?;
    let router = Router::bind(args.settings(), args.dispatch())?;
    runtime.block_on(async {
        if args.kubernetes.is_asked() {
            let (wanted, zone) = (args.kubernetes.wanted(), args.kubernetes.zone.clone());
            let events = args.kubernetes.watch().await?;
            tokio::spawn(kubernetes::follow(events, wanted, zone, router.membership()));
        } else {
            router.membership().set(Member::fixed(&endpoints));
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
