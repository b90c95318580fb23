//! Where variants of a lab are built and run: one scratch package under `target/author/`, whose files change.
//!
//! Variants differ in a file or two, so that a build is one crate's incremental compilation. Building, sandbox
//! and judgement of a single check are the grader's own.

use std::collections::VecDeque;
use std::fs;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use course::{Files, Lab, Side, as_lab};
use grader::sandbox::Limits;
use grader::{
    BuildError, Check, CheckReport, GradeError, Package, Progress, RunContext, Stop, build_tests,
    cargo, list_checks, run_check, run_streaming, stage,
};

use crate::judge;
use crate::schemata::SWITCH;

/// Variants that may be built while the checks of another run: one waits, one has just been built.
pub(crate) const AHEAD: usize = 2;
/// Most checks, or mutants, at once.
const MAX_WORKERS: usize = 8;

/// Builds and runs variants of one lab.
pub(crate) struct Workshop<'l> {
    lab: &'l Lab,
    workspace: PathBuf,
    target: PathBuf,
    stop: Stop,
    quiet: bool,
}

/// Checks to run on a variant, and when to stop.
pub(crate) struct Ask<'c> {
    pub(crate) checks: &'c [Check],
    pub(crate) seed: u64,
    /// Whether the first failure is answer enough. What runs beside it is ended then.
    pub(crate) first_failure: bool,
}

/// A variant that was built.
pub(crate) struct Built {
    pub(crate) program: PathBuf,
    package: Package,
}

impl<'l> Workshop<'l> {
    pub(crate) fn new(lab: &'l Lab, target: PathBuf, quiet: bool, stop: &Stop) -> Self {
        let workspace = lab.root.join("target/author").join(&lab.id);
        Self { lab, workspace, target, stop: stop.clone(), quiet }
    }

    /// Builds the checks over these files, which are shaped as the solution's.
    pub(crate) fn build(&self, solution_shaped: Files) -> Result<Built, BuildError> {
        let files = as_lab(self.lab, solution_shaped).map_err(GradeError::from)?;
        self.build_lab(&files)
    }

    /// Builds the checks over the files of a generated lab.
    pub(crate) fn build_lab(&self, files: &Files) -> Result<Built, BuildError> {
        let package = stage(self.lab, &self.workspace, &self.target, files)?;
        let program = build_tests(&package, &Progress::start(self.quiet, "building"), &self.stop)?;
        Ok(Built { program, package })
    }

    /// Moves a built program out of the way of the next build. Variants that are built ahead need a place of their own, by
    /// their number: at most [`AHEAD`] others may be in use.
    pub(crate) fn set_aside(&self, built: Built, number: usize) -> Result<Built, BuildError> {
        let folder = self.target.join("aside");
        let program = folder.join(format!("{}-{}", self.lab.id, number % (AHEAD + 1)));
        let moved = fs::create_dir_all(&folder).and_then(|()| fs::rename(&built.program, &program));
        moved.map_err(|error| BuildError::Trouble(format!("{}: {error}", program.display())))?;
        Ok(Built { program, ..built })
    }

    /// What the compiler complains about in a variant that compiles: the first warning.
    pub(crate) fn first_warning(&self, built: &Built) -> Result<Option<String>, GradeError> {
        // Nothing is compiled again: cargo repeats what the compiler said.
        let mut command = cargo(&built.package.workspace, &built.package.target);
        command.args(["test", "--lib", "--no-run", "-p", &built.package.name]);
        let (_, said) = run_streaming(&mut command, &self.stop, |_| {})?;
        let text: Vec<&str> = said.lines().collect();
        let folder = built.package.folder.display().to_string();
        let own = |block: &&[&str]| {
            block.first().is_some_and(|line| line.starts_with("warning:"))
                && block.iter().any(|line| line.contains("-->") && line.contains(&folder))
        };
        let mut blocks = text.split(|line| line.trim().is_empty());
        Ok(blocks.find(own).map(|block| block.join("\n")))
    }

    /// All checks of a variant.
    pub(crate) fn checks(&self, built: &Built) -> Result<Vec<Check>, GradeError> {
        list_checks(&built.program, &self.stop)
    }

    /// Runs checks, several at once. The reports are in the order of the checks; those after a first failure
    /// that is answer enough may be missing.
    pub(crate) fn run(&self, built: &Built, ask: &Ask<'_>) -> Result<Vec<CheckReport>, GradeError> {
        let queue = Queue {
            waiting: Mutex::new(ask.checks.iter().enumerate().collect()),
            enough: self.stop.of_a_part(),
        };
        in_order(workers(ask.checks.len()), || self.work(built, ask, &queue))
    }

    /// One worker: takes checks until there are none, or there is answer enough.
    fn work(
        &self,
        built: &Built,
        ask: &Ask<'_>,
        queue: &Queue<'_>,
    ) -> Result<Vec<(usize, CheckReport)>, GradeError> {
        let context = self.context(ask.seed);
        let mut reports = Vec::new();
        while let Some((index, check)) = queue.next() {
            let report = match self.run_one(built, check, &context, &queue.enough) {
                Err(GradeError::Interrupted) if !self.stop.is_set() => break,
                report => report?,
            };
            if ask.first_failure && judge::failed(&report) {
                queue.enough.set();
            }
            reports.push((index, report));
        }
        Ok(reports)
    }

    /// Runs checks on the variants of a program that holds many: what is asked of number 1, of number 2 and so on. Several
    /// variants at once, and of each one check after the other; where the first failure is answer enough, until that is
    /// settled.
    pub(crate) fn run_switched(
        &self,
        built: &Built,
        asks: &[Ask<'_>],
    ) -> Result<Vec<Vec<CheckReport>>, GradeError> {
        let waiting = Mutex::new((1_usize..).zip(asks));
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            let mut tried = Vec::new();
            while let Some((number, ask)) = next() {
                let mut context = self.context(ask.seed);
                context.env = vec![(SWITCH.to_owned(), number.to_string())];
                let mut reports = Vec::new();
                for check in ask.checks {
                    reports.push(self.run_one(built, check, &context, &self.stop)?);
                    if ask.first_failure && judge::is_settled(&reports) {
                        break;
                    }
                }
                tried.push((number, reports));
            }
            Ok(tried)
        };
        in_order(workers(asks.len()), work)
    }

    fn context(&self, seed: u64) -> RunContext {
        let folder = self.lab.folder(Side::Learner);
        let mut context = RunContext::default();
        context.seed = seed;
        context.learner_files =
            self.lab.learner_files().into_iter().map(|file| folder.join(file)).collect();
        context
    }

    fn run_one(
        &self,
        built: &Built,
        check: &Check,
        context: &RunContext,
        stop: &Stop,
    ) -> Result<CheckReport, GradeError> {
        let task = self.lab.task(check.task);
        let own = task.map_or(DEFAULT_LIMIT, |task| task.time_limit);
        run_check(&built.program, check, &Limits::pure(own), context, stop)
    }
}

/// How many are at work on so much.
fn workers(waiting: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    cores.min(MAX_WORKERS).min(waiting)
}

/// What workers beside each other come to, by the place of each result in the order.
fn in_order<P: Ord + Send, T: Send>(
    workers: usize,
    work: impl Fn() -> Result<Vec<(P, T)>, GradeError> + Sync,
) -> Result<Vec<T>, GradeError> {
    let mut results = Vec::new();
    thread::scope(|scope| -> Result<(), GradeError> {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(&work)).collect();
        for thread in threads {
            results.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(())
    })?;
    results.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// Checks that wait to be run, each with its place in the order.
struct Queue<'c> {
    waiting: Mutex<VecDeque<(usize, &'c Check)>>,
    /// Set when the rest need not be run.
    enough: Stop,
}

impl<'c> Queue<'c> {
    fn next(&self) -> Option<(usize, &'c Check)> {
        if self.enough.is_set() {
            return None;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// For a check of no task of the lab, which is reported elsewhere.
const DEFAULT_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
