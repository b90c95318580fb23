//! What goes wrong before a cluster answers, each with what to do about it.

use std::path::PathBuf;
use std::time::Duration;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A program that is needed is not on this machine.
    #[error("{program} is not on this machine: {mend}")]
    Missing {
        /// The program.
        program: String,
        /// How to get it.
        mend: String,
    },
    /// A program ended with an error.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// What was run.
        command: String,
        /// The end of what it said.
        said: String,
    },
    /// A program could not be started.
    #[error("cannot start {program}: {cause}", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It did not come up in time.
    #[error("the cluster did not answer within {limit:?}; its log is {log}", log = log.display())]
    NotReady {
        /// How long was waited.
        limit: Duration,
        /// Where it writes.
        log: PathBuf,
    },
    /// It ended while it came up.
    #[error("the cluster ended while it came up: {said}\nits log is {log}", log = log.display())]
    Ended {
        /// The end of its log.
        said: String,
        /// Where it writes.
        log: PathBuf,
    },
    /// It did not go.
    #[error(
        "the cluster (process {pid}) did not end within {limit:?}: end it by hand, `kill -9 {pid}`"
    )]
    NotGone {
        /// Its process.
        pid: i32,
        /// How long was waited.
        limit: Duration,
    },
    /// No such context.
    #[error("there is no context {name:?} in your kubeconfig; it has: {known}")]
    NoContext {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// It is not up.
    #[error("{name} is down: {why}")]
    Down {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// A cluster of somebody else's is never started or stopped by us.
    #[error("{0:?} is a cluster of yours: the course neither starts nor stops it")]
    NotOurs(String),
    /// No kubeconfig can be read.
    #[error("your kubeconfig cannot be read: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client can be had.
    #[error(transparent)]
    Connect(#[from] kube_connect::ConnectError),
    /// The cluster does not answer.
    #[error("the cluster does not answer: {0}")]
    Unreachable(#[from] kube::Error),
    /// An image cannot be put together.
    #[error("no image: {0}")]
    Image(#[from] deploy::ImageError),
    /// A file of ours cannot be read or written.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}
