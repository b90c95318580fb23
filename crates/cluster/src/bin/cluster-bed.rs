//! Gives a check a place on a cluster: orders come as lines of JSON on standard input, answers go to standard output, one line each
//! and in turn. Its environment says where: see [`cluster::Environment`].
//!
//! When standard input ends, everything that was made goes, and then this process. A first line on standard output says that the
//! place is there, and what it is called.

use std::process::ExitCode;

use anyhow::{Context, Result};
use cluster::{Bed, Environment, go_home};
use cluster_orders::{Order, Refusal, Reply};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    if let Some(error) = go_home() {
        eprintln!("cannot start again with the user's home: {error}");
        return ExitCode::FAILURE;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = runtime.context("no runtime").and_then(|runtime| {
        let outcome = runtime.block_on(run());
        // A thread that reads the input may still be at it.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut bed = Bed::make(Environment::read()?).await?;
    say(&Reply::Place(bed.session().namespace().to_owned()))?;
    let mut terminated = signal(SignalKind::terminate())?;
    let ended = tokio::select! {
        ended = obey(&mut bed) => ended,
        _ = terminated.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    let closed = bed.close().await;
    ended?;
    Ok(closed?)
}

/// Carries orders out until there are no more.
async fn obey(bed: &mut Bed) -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let reply = match serde_json::from_str::<Order>(&line) {
            Ok(order) => bed.obey(order).await,
            Err(error) => {
                Reply::Refused(Refusal { why: format!("no order: {error}"), log: Vec::new() })
            }
        };
        say(&reply)?;
    }
    Ok(())
}

fn say(reply: &Reply) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, reply)?;
    writeln!(out)?;
    Ok(out.flush()?)
}
