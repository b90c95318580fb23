//! What a lab is: `lab.toml`, tasks, the regions between anchors, and the starter made from a solution.
//!
//! Everything that handles a lab (grader, author tooling, book) asks here. This crate does not build,
//! run or grade anything, and it never writes a file.

mod error;
mod files;
mod format;
mod lab;
mod manifest;
mod readme;
pub mod regions;
mod starter;
mod task_id;

pub use error::CourseError;
pub use files::{Files, MUTANTS_DIR, TESTS_DIR, is_check, read_files, solution_files};
pub use format::formatted;
pub use lab::{Course, Lab, Side, Task, TaskRegion};
pub use manifest::{Built, ImageProgram, MANIFEST};
pub use regions::{Region, RegionError};
pub use starter::{as_lab, empty_tasks, starter, todo_line};
pub use task_id::{TaskId, TaskIdError};
