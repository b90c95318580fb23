//! What keeps the grader from a verdict. None of it is the learner's answer being wrong.

use std::path::PathBuf;

/// Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum GradeError {
    /// The course itself does not hold together.
    #[error(transparent)]
    Course(#[from] course::CourseError),
    /// A file or folder could not be read or written.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried: `cannot write`.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// This machine does not start processes, or loses them.
    #[error("cannot start a process: {0}. Is the machine out of memory or processes?")]
    Sandbox(std::io::Error),
    /// Another run holds the lock.
    #[error("another run is at work here (process {0}); wait for it or end it")]
    Busy(String),
    /// Ctrl-C.
    #[error("stopped: what was running has been ended, nothing was saved")]
    Interrupted,
    /// A file of the repository is not what it should be.
    #[error("{}: {problem}", path.display())]
    Repository {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A task that the lab does not have.
    #[error("lab {lab} has no task {task}; it has {known}")]
    NoTask {
        /// Number of the lab.
        lab: u32,
        /// What was asked for.
        task: course::TaskId,
        /// What could have been.
        known: String,
    },
}

impl GradeError {
    /// A closure for `map_err` on file operations.
    pub(crate) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
