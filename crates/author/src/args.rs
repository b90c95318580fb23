//! `cargo xtask author sync` and `cargo xtask author check`: flags in, lines and an exit status out.

use std::io::Write;
use std::path::Path;

use course::{Course, TaskId};
use grader::{RunLock, Stop, target_dir};

use crate::{AuthorError, CheckOptions, check, exit_status, sync};

/// Seeds of `--full`.
const FULL_SEEDS: u64 = 100;
/// Repeats of `--full`.
const FULL_REPEATS: usize = 100;

/// Regenerate labs/ from solutions/.
#[derive(Debug, Clone, clap::Args)]
pub struct SyncArgs {
    /// Write nothing; show what would change, and exit with 1 if anything would.
    #[arg(long)]
    pub check: bool,
    /// Overwrite edits in labs/ that are not committed.
    #[arg(long, conflicts_with = "check")]
    pub force: bool,
}

/// Prove that the checks pass what is right and reject what is wrong.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// Only this lab.
    #[arg(value_name = "LAB")]
    pub lab: Option<u32>,
    /// Only this task, and others named like it: its checks, its region, its mutants.
    #[arg(long = "task", value_name = "TASK")]
    pub tasks: Vec<TaskId>,
    /// Seeds that the solutions must pass.
    #[arg(long, default_value_t = 5)]
    pub seeds: u64,
    /// Runs of each pure check with one seed, which must agree.
    #[arg(long, default_value_t = 5)]
    pub repeats: usize,
    /// 100 seeds and 100 repeats.
    #[arg(long)]
    pub full: bool,
    /// Build each mutant alone, as those are that cannot share a program with others.
    #[arg(long)]
    pub apart: bool,
}

/// Carries out `author sync`; returns the exit status: 1 where `--check` finds a difference, or strangers stay.
///
/// # Errors
/// [`AuthorError`] where a starter cannot be generated or written, or an edit would be lost.
pub fn run_sync(root: &Path, args: &SyncArgs, out: &mut dyn Write) -> Result<u8, AuthorError> {
    let course = Course::discover(root)?;
    let report = sync::compare(&course)?;
    let mut lines = String::new();
    for change in &report.changes {
        match (args.check, &change.found) {
            (true, _) => lines += &change.diff(),
            (false, Some(_)) => lines += &format!("changed {}\n", change.path.display()),
            (false, None) => lines += &format!("added   {}\n", change.path.display()),
        }
    }
    for stranger in &report.strangers {
        lines += &format!("{} comes from no solution: remove it\n", stranger.display());
    }
    if !args.check {
        sync::write(&course, &report, args.force)?;
    }
    let up_to_date = report.is_clean() || (!args.check && report.strangers.is_empty());
    if up_to_date {
        lines += "labs/ is what the solutions give\n";
    } else if args.check && !report.changes.is_empty() {
        lines += "labs/ is out of date: run `cargo xtask author sync`\n";
    }
    out.write_all(lines.as_bytes()).map_err(AuthorError::Print)?;
    Ok(u8::from(!up_to_date))
}

/// Carries out `author check`; returns the exit status: 0, 1 where a lab is wrong, 2 where only the machine
/// is in trouble.
///
/// # Errors
/// [`AuthorError`] where the proofs cannot be carried out, or others are being carried out here.
pub fn run_check(
    root: &Path,
    args: &CheckArgs,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<u8, AuthorError> {
    let course = Course::discover(root)?;
    let target = target_dir(root).join("author");
    // Two proofs at once would build their variants over each other's.
    let _lock = RunLock::take(&target)?;
    let options = CheckOptions {
        lab: args.lab,
        tasks: args.tasks.clone(),
        seeds: if args.full { FULL_SEEDS } else { args.seeds },
        repeats: if args.full { FULL_REPEATS } else { args.repeats },
        apart: args.apart,
        target,
        quiet: false,
    };
    Ok(exit_status(&check(&course, &options, stop, out)?))
}
