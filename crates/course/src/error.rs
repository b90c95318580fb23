//! Everything that can be wrong with a course, each with the file and the key or line to look at.

use std::path::PathBuf;

use crate::RegionError;

/// A course that cannot be read, or does not hold together.
#[derive(Debug, thiserror::Error)]
pub enum CourseError {
    /// The folder holds no lab at all.
    #[error("no lab found: {} holds no {}", .0.display(), crate::MANIFEST)]
    NoLabs(PathBuf),
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `lab.toml` is not what its reader expects; the message names line and key.
    #[error("{}: {source}", file.display())]
    Toml {
        /// Path of the `lab.toml`.
        file: PathBuf,
        /// What toml says.
        source: Box<toml::de::Error>,
    },
    /// A key of a file has a value that cannot be right.
    #[error("{}: {key}: {problem}", file.display())]
    Key {
        /// Path of the file.
        file: PathBuf,
        /// Key, with the task it belongs to: `task 1.3, hints`.
        key: String,
        /// Found value and what was expected.
        problem: String,
    },
    /// The anchors of a source file are not well formed.
    #[error("{}:{}: {source}", file.display(), source.line())]
    Region {
        /// Path of the file.
        file: PathBuf,
        /// What is wrong, and in which line.
        source: RegionError,
    },
    /// A source file has something that cannot be turned into a starter.
    #[error("{}: {problem}", file.display())]
    Source {
        /// Path of the file.
        file: PathBuf,
        /// What, and what to do.
        problem: String,
    },
    /// rustfmt is missing or refused a generated file.
    #[error("rustfmt cannot format the generated {}: {problem}", file.display())]
    Rustfmt {
        /// Path in the lab folder.
        file: PathBuf,
        /// What it said.
        problem: String,
    },
}
