//! Where variants of a lab are built and run: one scratch package under `target/author/`, whose files change.
//!
//! Variants differ in a file or two, so that a build is one crate's incremental compilation. Building, sandbox
//! and judgement of a single check are the grader's own.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use course::{Files, Lab, Side, as_lab};
use grader::sandbox::Limits;
use grader::{
    BuildError, Check, CheckReport, GradeError, Package, Progress, RunContext, Stop, build_tests,
    cargo, list_checks, run_check, run_streaming, stage,
};

use crate::judge;

/// Most checks that run at once.
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
    /// Whether the first failure is answer enough.
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
            closed: AtomicBool::new(false),
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = cores.min(MAX_WORKERS).min(ask.checks.len());
        let mut reports = Vec::new();
        thread::scope(|scope| -> Result<(), GradeError> {
            let threads: Vec<_> =
                (0..workers).map(|_| scope.spawn(|| self.work(built, ask, &queue))).collect();
            for thread in threads {
                reports.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
            }
            Ok(())
        })?;
        reports.sort_by_key(|(index, _)| *index);
        Ok(reports.into_iter().map(|(_, report)| report).collect())
    }

    /// One worker: takes checks until there are none, or there is answer enough.
    fn work(
        &self,
        built: &Built,
        ask: &Ask<'_>,
        queue: &Queue<'_>,
    ) -> Result<Vec<(usize, CheckReport)>, GradeError> {
        let folder = self.lab.folder(Side::Learner);
        let mut context = RunContext::default();
        context.seed = ask.seed;
        context.learner_files =
            self.lab.learner_files().into_iter().map(|file| folder.join(file)).collect();
        let mut reports = Vec::new();
        while let Some((index, check)) = queue.next() {
            let report = self.run_one(built, check, &context)?;
            if ask.first_failure && judge::failed(&report) {
                queue.closed.store(true, Ordering::Relaxed);
            }
            reports.push((index, report));
        }
        Ok(reports)
    }

    fn run_one(
        &self,
        built: &Built,
        check: &Check,
        context: &RunContext,
    ) -> Result<CheckReport, GradeError> {
        let task = self.lab.task(check.task);
        let wall = task.map_or(DEFAULT_LIMIT, |task| task.time_limit);
        run_check(&built.program, check, &Limits::pure(wall), context, &self.stop)
    }
}

/// Checks that wait to be run, each with its place in the order.
struct Queue<'c> {
    waiting: Mutex<VecDeque<(usize, &'c Check)>>,
    /// Set when the rest need not be run.
    closed: AtomicBool,
}

impl<'c> Queue<'c> {
    fn next(&self) -> Option<(usize, &'c Check)> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// For a check of no task of the lab, which is reported elsewhere.
const DEFAULT_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
