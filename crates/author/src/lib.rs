//! For maintainers: regenerates the starters, and proves that every lab's checks tell right from wrong.
//!
//! It builds and runs with the grader's own means, so that what is proved is what learners meet.

mod args;
mod bodies;
mod check;
mod error;
mod finding;
mod judge;
pub mod mutants;
mod schemata;
mod summary;
pub mod sync;
mod workshop;

pub use args::{CheckArgs, SyncArgs, run_check, run_sync};
pub use check::{CheckOptions, check};
pub use error::AuthorError;
pub use finding::Finding;
pub use summary::{LabSummary, TaskSummary, exit_status};

/// Fewest checks of a task.
pub const MIN_CHECKS: usize = 4;
/// Fewest mutants of a task.
pub const MIN_MUTANTS: usize = 5;
