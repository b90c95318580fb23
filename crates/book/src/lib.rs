//! Builds, checks and serves the course's book, with mdBook as a library: nobody installs anything and
//! nothing is fetched, neither when it is built nor when it is read.
//!
//! What mdBook does not do is added here: quizzes, pictures that follow the reader's theme and folded
//! reference solutions ([`preprocess`]), a check of every link, anchor, picture and include ([`check`]), the
//! list of commands that the text tells a reader to type ([`commands`]), and a server ([`serve`]).

pub mod check;
pub mod commands;
mod fences;
pub mod html;
mod includes;
mod live;
pub mod picture;
pub mod preprocess;
mod quiz;
mod render;
pub mod serve;
mod solution;
mod warnings;

use std::io;
use std::path::{Path, PathBuf};

pub use render::{Built, build};

/// The book could not be built, checked or served.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// A file could not be read or written.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The output folder is in use for something else; building would delete it.
    #[error("{out} holds something that is no built book: give an empty folder", out = out.display())]
    NotABook {
        /// The folder.
        out: PathBuf,
    },
    /// mdBook gave up.
    #[error("mdBook could not build {root}: {cause}", root = root.display())]
    Render {
        /// Folder of `book.toml`.
        root: PathBuf,
        /// mdBook's own chain of causes, in one line.
        cause: String,
    },
    /// The server could not listen.
    #[error("cannot listen on 127.0.0.1:{port}: {cause}; --port 0 takes any free port")]
    Listen {
        /// Port asked for.
        port: u16,
        /// What the system said.
        cause: io::Error,
    },
}

impl BookError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |cause| Self::Io { path: path.to_owned(), cause }
    }
}

/// Every file below `dir` whose name ends in `extension`, sorted.
///
/// # Errors
/// [`BookError::Io`] where a folder cannot be read.
pub(crate) fn files_below(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, BookError> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(BookError::io(&folder))? {
            let path = entry.map_err(BookError::io(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
