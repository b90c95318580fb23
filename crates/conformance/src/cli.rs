//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// What any Kubernetes cluster must do, asked of the cluster that a kubeconfig names.
///
/// Exit status: 0 when all behaviours hold, 1 when one does not, 2 when nobody could find out.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
    #[command(subcommand)]
    pub(crate) trial: Option<Trial>,
}

/// A longer trial, in place of the behaviours.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Trial {
    /// Bad bodies, paths and headers: each gets an answer, and never a fault of the server's own
    Fuzz {
        /// Requests to send
        #[arg(long, default_value_t = 2000)]
        cases: usize,
        /// Decides what is sent
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Count a 500 as a fault even if it names a mistake of the client, as Kubernetes' own do
        #[arg(long)]
        strict: bool,
    },
    /// Many pods and rolling updates under random kills; afterwards nothing is left over
    Soak {
        /// Deployments
        #[arg(long, default_value_t = 10)]
        deployments: usize,
        /// Pods of each Deployment
        #[arg(long, default_value_t = 20)]
        replicas: usize,
        /// Rolling updates in all
        #[arg(long, default_value_t = 50)]
        rollouts: usize,
        /// Milliseconds between two kills
        #[arg(long, default_value_t = 500)]
        kill_every_ms: u64,
        /// Decides which pods are killed
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Look for leaks in this process of this machine, which is the whole cluster
        #[arg(long, value_name = "PID")]
        host_checks: Option<u32>,
    },
    /// Reads, writes, watch latency and time to ready pods, as JSON
    Bench {
        /// Milliseconds of reads, and then of writes
        #[arg(long, default_value_t = 3000)]
        each_ms: u64,
        /// Requests under way at the same time
        #[arg(long, default_value_t = 16)]
        at_once: usize,
        /// Changes whose way to a watcher is timed
        #[arg(long, default_value_t = 500)]
        changes: usize,
        /// Report the memory of this process of this machine, before and after
        #[arg(long)]
        pid: Option<u32>,
    },
    /// How long a cluster takes to answer from now on
    Up {
        /// Start this program, which brings the cluster up, and end it afterwards
        #[arg(trailing_var_arg = true)]
        command: Vec<String>,
    },
}

/// Which behaviours, where, and how to report.
#[derive(Debug, Args)]
pub(crate) struct SuiteArgs {
    /// The kubeconfig; otherwise `$KUBECONFIG`, or the one in the home folder
    #[arg(long, global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Image of the course's stub program, for behaviours that need running pods
    #[arg(long, global = true, default_value = conformance::fixture::STUB_IMAGE)]
    pub(crate) image: String,
    /// Print the behaviours and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Print one JSON document
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Run only what contains this: a group (`watches:`) or words of a sentence
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// Run what this `kubectl` can find out, in place of the other groups
    #[arg(long, value_name = "PATH")]
    pub(crate) kubectl: Option<PathBuf>,
    /// Behaviours that run at the same time
    #[arg(long, default_value_t = 8)]
    pub(crate) jobs: usize,
}
