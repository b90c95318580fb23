//! `cargo xtask cluster`: brings a cluster up, takes it down, says how it is.

mod show;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use cluster::{Access, Capabilities, ClusterError, Paths, Provider, State, Target, provider};
use cluster_cli::{Cli, Command};
use serde_json::json;

/// Exit status where there is no cluster.
const DOWN: u8 = 1;
/// Exit status of trouble.
const TROUBLE: u8 = 2;
/// The longest wait for a cluster's answers about itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // One of ours says its cause itself.
            match error.downcast_ref::<ClusterError>() {
                Some(ours) => anstream::eprintln!("{ours}"),
                None => anstream::eprintln!("{error:#}"),
            }
            ExitCode::from(TROUBLE)
        }
    }
}

fn run(cli: &Cli) -> Result<u8> {
    let paths = paths(cli)?;
    let provider = provider(&cli.on, &paths);
    match &cli.command {
        Command::Up => {
            let started = Instant::now();
            let was_up = matches!(provider.state()?, State::Up(_));
            let access = provider.up()?;
            let capabilities = ask(&access)?;
            let took = started.elapsed();
            let up = show::Up {
                target: &cli.on,
                access: &access,
                capabilities: &capabilities,
                took,
                was_up,
            };
            if cli.json {
                println!("{}", up.json())
            } else {
                anstream::print!("{up}")
            }
            Ok(0)
        }
        Command::Down { forget } => {
            provider.down(*forget)?;
            match (cli.json, forget) {
                (true, _) => println!("{}", json!({"on": cli.on.to_string(), "up": false})),
                (false, true) => anstream::println!("{} is down, and its objects are gone", cli.on),
                (false, false) => anstream::println!("{} is down; its objects stay", cli.on),
            }
            Ok(0)
        }
        Command::Status => status(cli, provider.as_ref()),
        Command::Load { image, program } => {
            provider.load(image, program)?;
            anstream::println!("{image} runs {} on {}", program.display(), cli.on);
            Ok(0)
        }
        Command::Sweep { session, when_input_ends } => {
            if *when_input_ends {
                std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
            }
            if let State::Up(access) = provider.state()? {
                sweep(provider.as_ref(), &access, session, &cli.on)?;
            }
            Ok(0)
        }
        Command::Doctor => {
            let lacks = provider.lacks();
            if cli.json {
                let all = lacks.iter().map(|lack| json!({"what": lack.what, "mend": lack.mend}));
                println!("{}", json!({"on": cli.on.to_string(), "lacks": all.collect::<Vec<_>>()}));
            } else {
                anstream::print!("{}", show::Lacks { target: &cli.on, lacks: &lacks });
            }
            Ok(if lacks.is_empty() { 0 } else { DOWN })
        }
    }
}

/// Says whether it is up, and what it can do.
fn status(cli: &Cli, provider: &dyn Provider) -> Result<u8> {
    match provider.state()? {
        State::Up(access) => {
            let capabilities = ask(&access)?;
            let status =
                show::Status { target: &cli.on, access: &access, capabilities: &capabilities };
            if cli.json {
                println!("{}", status.json())
            } else {
                anstream::print!("{status}")
            }
            Ok(0)
        }
        State::Down(why) => {
            if cli.json {
                println!("{}", json!({"on": cli.on.to_string(), "up": false, "why": why}));
            } else {
                anstream::println!("{} is down: {why}", cli.on);
            }
            Ok(DOWN)
        }
    }
}

fn paths(cli: &Cli) -> Result<Paths> {
    let programs = match &cli.programs {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()?.parent().context("this program has no folder")?.to_owned(),
    };
    let root = match &cli.root {
        Some(root) => root.clone(),
        None => std::env::current_dir()?,
    };
    // What is printed is pasted into shells that stand elsewhere.
    Ok(Paths { root: std::path::absolute(root)?, programs: std::path::absolute(programs)? })
}

/// Takes a session away; where all sessions are of this machine, also those whose process is gone.
fn sweep(provider: &dyn Provider, access: &Access, session: &str, on: &Target) -> Result<()> {
    let dead = matches!(on, Target::Embedded | Target::Kind);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        cluster::sweep(&access.client().await?, provider, session, dead).await?;
        Ok(())
    })
}

/// What the cluster says of itself.
fn ask(access: &Access) -> Result<Capabilities> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = access.client().await?;
        let answer = tokio::time::timeout(ANSWER_LIMIT, Capabilities::ask(&client)).await;
        let answer =
            answer.with_context(|| format!("the cluster was silent for {ANSWER_LIMIT:?}"))?;
        Ok::<_, anyhow::Error>(answer.map_err(|error: ClusterError| error)?)
    })
}
