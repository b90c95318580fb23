//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::Target;

/// Bring a cluster up, take it down, see how it is
#[derive(Debug, Parser)]
#[command(name = "cluster", bin_name = "cargo xtask cluster")]
#[command(after_help = "Examples:
  cargo xtask cluster up                 the course's own cluster: no Docker, ready in under a second
  cargo xtask cluster up --on kind       a Kubernetes on this machine, by Docker and kind
  cargo xtask cluster status --on gke    how a context of your kubeconfig is doing
  cargo xtask cluster down --forget      end it, and delete its objects and volumes

Exit status: 0 the cluster is there, 1 it is not, 2 trouble.")]
pub struct Cli {
    /// embedded, kind, or a context of your kubeconfig
    #[arg(long, global = true, default_value = "embedded", value_name = "CLUSTER")]
    pub on: Target,
    /// One JSON object on standard output and nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// The repository; by default the current folder
    #[arg(long, global = true, hide = true)]
    pub root: Option<PathBuf>,
    /// Where the course's programs are; by default beside this one
    #[arg(long, global = true, hide = true)]
    pub programs: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring it up; one that is up stays as it is
    Up,
    /// Take it down, with all that runs on it; its objects stay for the next time
    Down {
        /// Delete its objects and volumes, too
        #[arg(long)]
        forget: bool,
    },
    /// Say whether it is up, and what it can do
    Status,
    /// Make a program of this machine runnable as an image
    Load {
        /// The image's name, like llm-lab/engine
        image: String,
        /// The program
        program: PathBuf,
    },
    /// Say what this machine lacks for it
    Doctor,
    /// Take away what a session of live checks has left
    #[command(hide = true)]
    Sweep {
        /// The session
        session: String,
        /// Wait until standard input ends: whoever holds it may be killed, and what it made goes all the same
        #[arg(long)]
        when_input_ends: bool,
    },
}
