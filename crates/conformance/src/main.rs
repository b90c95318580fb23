//! `conformance`: runs the behaviours, or one of the longer trials, against the cluster that a kubeconfig names.

mod cli;
mod trial;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use tokio::sync::watch;

use cli::{Cli, SuiteArgs};
use conformance::place::Settings;
use conformance::report::{self, Tally};
use conformance::{connect, kubectl, runner, suite};

/// Exit status when a behaviour does not hold.
const FAILED: u8 = 1;
/// Exit status of trouble that is no behaviour's fault.
const TROUBLE: u8 = 2;
/// Exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let stop = stop_by_signal();
    match run(cli, stop).await {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            anstream::eprintln!("conformance: {error:#}");
            ExitCode::from(TROUBLE)
        }
    }
}

async fn run(cli: Cli, stop: watch::Receiver<bool>) -> anyhow::Result<u8> {
    match cli.trial {
        None => run_suite(cli.suite, stop).await,
        Some(trial) => trial::run(trial, cli.suite, stop).await,
    }
}

/// Turns true at the first Ctrl-C or SIGTERM; the second one ends the program.
fn stop_by_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        signal().await;
        anstream::eprintln!("stopping: removing what this run has created; once more to leave now");
        let _ = sender.send(true);
        signal().await;
        std::process::exit(i32::from(INTERRUPTED));
    });
    receiver
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}

async fn run_suite(args: SuiteArgs, stop: watch::Receiver<bool>) -> anyhow::Result<u8> {
    if args.list {
        let all = [suite::GROUPS, &[suite::KUBECTL]].concat();
        anstream::print!("{}", report::list(&all));
        return Ok(0);
    }
    let config = connect::config(args.kubeconfig.as_deref()).await?;
    let client = kube_connect::client(config.clone())?;
    let server = connect::server_version(&client).await?;
    let home = tempfile::tempdir()?;
    let kubectl = match args.kubectl {
        Some(path) => {
            let home = home.path().to_owned();
            let found = kubectl::Program::find(path.clone(), args.kubeconfig, home).await;
            Some(found.with_context(|| format!("cannot run {}", path.display()))?)
        }
        None => None,
    };
    let groups = if kubectl.is_some() { &[suite::KUBECTL] } else { suite::GROUPS };
    let settings = Arc::new(Settings {
        run: uuid::Uuid::new_v4().simple().to_string()[..8].to_owned(),
        image: args.image,
        live_node: connect::live_node(&client).await?,
        config: Some(config),
        kubectl,
    });
    let chosen = runner::choose(groups, args.filter.as_deref());
    anyhow::ensure!(!chosen.is_empty(), "no behaviour's name contains {:?}", args.filter);
    let started = Instant::now();
    let quiet = args.json;
    let outcomes = runner::run(&client, settings, chosen, args.jobs, stop, |outcome| {
        if !quiet {
            anstream::print!("{}", report::lines(outcome));
        }
    })
    .await;
    let tally = Tally::of(&outcomes);
    if args.json {
        anstream::println!("{:#}", report::to_json(&outcomes, &server));
    } else {
        anstream::println!("{}", report::summary(tally, &server, started.elapsed()));
    }
    Ok(match tally {
        Tally { interrupted: 1.., .. } => INTERRUPTED,
        Tally { failed: 1.., .. } => FAILED,
        _ => 0,
    })
}
