//! From a learner's files to a verdict: mirror, build, sandbox, checks, report, state.
//!
//! It trusts nothing from the learner's tree but the files that a task lists, and runs those as processes with
//! limits. It knows no lab by name and prints nothing itself but progress: programs print what it returns.

mod answers;
mod build;
mod cargo;
mod check;
mod error;
mod files;
mod grade;
mod json;
mod live;
mod live_key;
mod mirror;
mod outcome;
mod panics;
mod progress;
mod ready;
mod report;
mod run;
pub mod sandbox;
mod state;
mod stop;
mod verdict;

pub use answers::{Hint, Reset, SolutionText, hint, reset, solution};
pub use build::{BuildError, CompileError, Package, build_engine, build_program, build_tests};
pub use cargo::{cargo, run_streaming, target_dir};
pub use check::{Check, list_checks};
pub use error::GradeError;
pub use grade::{Launcher, Live, OnCluster, Options, Source, grade};
pub use json::to_json;
pub use mirror::{Mirror, mirror, stage};
pub use outcome::{CheckReport, CheckVerdict, Failure, Place, RunContext, run_check};
pub use progress::Progress;
pub use report::{Style, render, render_compile_error};
pub use sandbox::this_program;
pub use state::{RunLock, State, TaskState, saved_verdict};
pub use stop::Stop;
pub use verdict::{Report, Score, TaskReport, Verdict};
