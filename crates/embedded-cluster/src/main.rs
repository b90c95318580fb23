//! A teaching subset of Kubernetes in one process: what `cargo xtask cluster up` starts.

mod faults;
mod file;
mod nodes;
mod readings;
mod run;
mod scrape;
mod state;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A teaching subset of Kubernetes in one process
#[derive(Debug, Parser)]
#[command(after_help = "Usually started by `cargo xtask cluster up`. By hand:
  embedded-cluster run --state /tmp/lab --config clusters/embedded/cluster.toml")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or Ctrl-C; the first line on standard output says where it answers
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The folder of the cluster's objects, volumes, logs and kubeconfig
    #[arg(long, value_name = "FOLDER")]
    state: PathBuf,
    /// The cluster file: nodes and images
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What stands for {programs} in the cluster file; by default this program's folder
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// The API server's port; by default that of last time, or any free one
    #[arg(long)]
    port: Option<u16>,
}

fn main() -> ExitCode {
    // A pod's supervisor is this program, too.
    node_agent::maybe_run_supervisor();
    let Command::Run(args) = Cli::parse().command;
    match run::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
