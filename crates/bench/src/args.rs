//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measures the course's own programs beside their peers, in the same run.
#[derive(Debug, Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench", version, arg_required_else_help = true)]
#[command(after_help = "Examples:
  cargo xtask bench --list                            the benches, their peers, and where those come from
  cargo xtask bench engine                            our engine beside llama.cpp
  cargo xtask bench engine --quick                    the same in less time, and with wider spreads
  cargo xtask bench loadgen --against wrk             only one peer
  cargo xtask bench cluster                           the embedded cluster beside its goals
  cargo xtask bench policy --live                     what the simulator says of policies, beside what clients see
  cargo xtask bench engine --plot engine.svg          draw it, too
  cargo xtask bench show target/bench/engine.json     what an earlier run found

A peer is installed the first time, under target/bench and nowhere else; deleting that folder undoes it.
Exit status: 0 measured, 2 something could not be measured, 130 interrupted.")]
pub(crate) struct Cli {
    /// List the benches and their peers
    #[arg(long)]
    pub(crate) list: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The engine's arithmetic beside llama.cpp: prefill and decode
    Engine {
        #[command(flatten)]
        run: RunArgs,
        /// Threads of either engine
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// A GGUF file; by default the model of the labs
        #[arg(long, value_name = "FILE")]
        model: Option<PathBuf>,
    },
    /// The load generator beside wrk, oha, aiperf and others: its cost, and whether it is on time
    Loadgen {
        #[command(flatten)]
        run: RunArgs,
    },
    /// Lab 2's routing policies on one simulated fleet, beside llm-d's published run
    Policy {
        /// Three rates of the ladder, and fewer conversations
        #[arg(long)]
        quick: bool,
        /// In real time through the router, beside the same requests in virtual time: a quarter of an hour
        #[arg(long)]
        live: bool,
        /// For maintainers: put result, tables and plot into the book
        #[arg(long)]
        book: bool,
    },
    /// The router beside nginx, haproxy, vllm-router and sglang-router: its cost, and what it adds to times
    Router {
        #[command(flatten)]
        run: RunArgs,
    },
    /// The simulator beside vllm-sr-sim and Vidur: requests simulated in a second
    Simulation {
        #[command(flatten)]
        run: RunArgs,
    },
    /// The embedded cluster: how soon it is up, what it answers in a second, what it holds
    Cluster {
        #[command(flatten)]
        run: RunArgs,
        /// A real control plane beside it: the folder of crates/conformance/peer/install.sh
        #[arg(long, value_name = "FOLDER")]
        control_plane: Option<PathBuf>,
    },
    /// Show a saved result as a table
    Show {
        /// What `--json` or an earlier run wrote
        #[arg(value_name = "FILE.json")]
        file: PathBuf,
        /// As Markdown, for the book
        #[arg(long)]
        markdown: bool,
        /// Draw it into this file
        #[arg(long, value_name = "FILE.svg")]
        plot: Option<PathBuf>,
    },
}

/// What every bench understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Only this peer; may be repeated
    #[arg(long, value_name = "PEER")]
    pub(crate) against: Vec<String>,
    /// Fewer and shorter rounds
    #[arg(long)]
    pub(crate) quick: bool,
    /// How often each program is measured; each bench has a default of its own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_ROUNDS))]
    pub(crate) rounds: Option<u16>,
    /// Where to save the result; by default in target/bench
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw it into this file
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// For maintainers: put result, table and plot into the book
    #[arg(long, conflicts_with_all = ["json", "plot"])]
    pub(crate) book: bool,
}

/// More rounds than this say no more.
const MAX_ROUNDS: i64 = 100;
