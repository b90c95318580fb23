//! What can go wrong while measuring. Nothing here is a result: a slow program is a figure, not an error.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Ctrl-C, or a signal that asks to end.
    #[error("interrupted")]
    Interrupted,
    /// A program could not be started.
    #[error("cannot start {program}: {cause}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A program was ended at its time limit.
    #[error("{program} took longer than {} s and was ended; its output ends:\n{tail}", limit.as_secs_f64())]
    TimeLimit {
        /// The program.
        program: String,
        /// Its limit.
        limit: Duration,
        /// The end of what it printed.
        tail: String,
    },
    /// A program ended with another status than 0.
    #[error("{program} ended with {status}; its output ends:\n{tail}")]
    Failed {
        /// The program.
        program: String,
        /// `exit status: 3`, or the signal.
        status: String,
        /// The end of what it printed.
        tail: String,
    },
    /// A program ended well but printed something else than expected.
    #[error("{program} printed what cannot be read: {what}")]
    Output {
        /// The program.
        program: String,
        /// What was expected, and what was seen.
        what: String,
    },
    /// There is no peer of this name in this bench.
    #[error("{bench} knows no peer {name}; it knows: {known}")]
    UnknownPeer {
        /// The bench.
        bench: String,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// There is no control plane where somebody said that there is one.
    #[error(
        "no control plane is built in {}: {cause}\nBuild one, with Go and nine minutes of processor time: crates/conformance/peer/install.sh {}",
        folder.display(), folder.display()
    )]
    ControlPlane {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A peer is not here and cannot be put here.
    #[error("{peer} is not here: {why}\n{how}")]
    Peer {
        /// Its name.
        peer: String,
        /// What failed.
        why: String,
        /// What a person can do.
        how: String,
    },
    /// Something of ours that has to be there first.
    #[error("{what}\n{how}")]
    Missing {
        /// What is not there.
        what: String,
        /// What a person can do.
        how: String,
    },
    /// A saved result of another version of this program.
    #[error("{}: schema {found}; this program reads {known}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A file could not be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A saved result that is not one.
    #[error("{}: {cause}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        cause: serde_json::Error,
    },
}

impl BenchError {
    /// For `map_err`: trouble with a file.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |cause| Self::Io { path, cause }
    }
}
