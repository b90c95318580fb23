//! Where the course is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder with the course: the current one or the nearest above it.
pub(crate) fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().context("there is no current folder")?;
    let is_root = |dir: &&Path| dir.join("Cargo.toml").is_file() && dir.join("solutions").is_dir();
    let found = here.ancestors().find(is_root).map(Path::to_owned);
    found.context("this is not the course: no Cargo.toml with solutions/ beside it here or above")
}
