//! `cargo xtask test`: everything that CI runs, step by step, with a table at the end that hides nothing.

mod cluster;
mod commands;
mod faults;
mod peers;
mod steps;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};
use course::Course;
use grader::{GradeError, Stop, target_dir};

use crate::cli::TestArgs;

/// What became of a step.
pub(crate) enum Outcome {
    /// It passed.
    Passed,
    /// It failed, with what it said; the last lines say best what is wrong.
    Failed(String),
    /// It could not be done here, for this reason.
    Skipped(String),
}

/// Last lines of a failed step that are told again after the table.
const TOLD_AGAIN: usize = 12;

/// What steps work on.
pub(crate) struct Bench<'a> {
    pub(crate) root: &'a Path,
    pub(crate) target: PathBuf,
    pub(crate) course: Course,
    pub(crate) stop: &'a Stop,
    /// Whether all steps run.
    pub(crate) whole: bool,
    /// Whether the step `tests` has built everything: see [`Bench::cargo`].
    pub(crate) built: Cell<bool>,
}

/// A step: a name to select it by, what it is for, how it is done.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&Bench<'_>) -> Result<Outcome>,
}

/// Runs the steps; returns 1 if one failed.
pub(crate) fn run(root: &Path, args: &TestArgs, stop: &Stop) -> Result<u8> {
    if args.list {
        steps::ALL.iter().for_each(|step| anstream::println!("{:10} {}", step.name, step.what));
        return Ok(0);
    }
    let names: Vec<&str> = steps::ALL.iter().map(|step| step.name).collect();
    if let Some(unknown) = args.only.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("there is no step {unknown}; there are {}", names.join(", "));
    }
    let course = Course::discover(root)?;
    let (whole, built) = (args.only.is_empty(), Cell::new(false));
    let bench = Bench { root, target: target_dir(root), course, stop, whole, built };
    let chosen = |step: &&Step| args.only.is_empty() || args.only.iter().any(|n| n == step.name);
    let mut done = Vec::new();
    for step in steps::ALL.iter().filter(chosen) {
        anstream::println!("{:10} {}", step.name, step.what);
        let started = Instant::now();
        let outcome = match (step.run)(&bench) {
            Ok(outcome) => outcome,
            Err(error) if matches!(error.downcast_ref(), Some(GradeError::Interrupted)) => {
                return Err(error);
            }
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        if let Outcome::Failed(said) = &outcome {
            anstream::println!("{said}");
        }
        done.push((step, outcome, started.elapsed()));
    }
    Ok(summary(&done))
}

fn summary(done: &[(&Step, Outcome, Duration)]) -> u8 {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    anstream::println!();
    for (step, outcome, took) in done {
        let (count, word, colour, why) = match outcome {
            Outcome::Passed => (&mut passed, "passed", AnsiColor::Green, String::new()),
            Outcome::Failed(_) => (&mut failed, "FAILED", AnsiColor::Red, String::new()),
            Outcome::Skipped(why) => (&mut skipped, "skipped", AnsiColor::Yellow, why.clone()),
        };
        *count += 1;
        let colour = Style::new().fg_color(Some(colour.into()));
        let took = took.as_secs_f64();
        anstream::println!(" {colour}{word:8}{colour:#} {:10} {took:7.1} s  {why}", step.name);
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    // Once more at the very end: it is what is kept of a long log.
    for (step, outcome, _) in done {
        if let Outcome::Failed(said) = outcome {
            let said: Vec<&str> = said.lines().collect();
            let end = &said[said.len().saturating_sub(TOLD_AGAIN)..];
            anstream::println!("\n{} ended with:\n{}", step.name, end.join("\n"));
        }
    }
    u8::from(failed > 0)
}
