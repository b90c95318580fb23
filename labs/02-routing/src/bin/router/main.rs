//! The router as a process: this lab's policies and rules behind the course's data plane.

mod args;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use proxy::Router;
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
    let endpoints = args.endpoints()?;
    let router = Router::bind(args.settings(), args.dispatch())?;
    router.membership().set(endpoints);
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
        println!("listening on http://{}", router.address());
        let parent = parent_gone(args.exit_with_parent);
        router
            .run(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    () = parent => {}
                }
            })
            .await?;
        Ok(())
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
