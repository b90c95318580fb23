//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser};

/// What any Kubernetes cluster must do, asked of the cluster that a kubeconfig names.
///
/// Exit status: 0 when all behaviours hold, 1 when one does not, 2 when nobody could find out.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
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
