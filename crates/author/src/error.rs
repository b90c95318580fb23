//! What keeps author tooling from finishing. What it finds wrong in a lab is a `Finding`, not an error.

use std::path::PathBuf;

/// Author tooling cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// The course itself does not hold together.
    #[error(transparent)]
    Course(#[from] course::CourseError),
    /// The grader cannot go on.
    #[error(transparent)]
    Grade(#[from] grader::GradeError),
    /// Nobody reads what it says.
    #[error("cannot print: {0}")]
    Print(std::io::Error),
    /// Neither the current folder nor one above it has a course.
    #[error("this is not the course: no Cargo.toml with solutions/ beside it here or above")]
    NoCourse,
    /// No such lab.
    #[error("there is no lab {0}")]
    NoLab(u32),
    /// No such task among the labs to check.
    #[error("there is no task {0} to check")]
    NoTask(course::TaskId),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `sync` would overwrite somebody's work.
    #[error(
        "labs/ has edits that are not committed: {}. \
         `cargo xtask author sync --force` gives them up",
        list(.0)
    )]
    Edited(Vec<PathBuf>),
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    names.join(", ")
}
