//! One run over a built lab: which checks run, in which order, and what becomes of each task.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use course::{Lab, Task, TaskId};

use crate::check::list_checks;
use crate::grade::{Options, region};
use crate::outcome::{CheckReport, CheckVerdict, run_check};
use crate::ready::Ready;
use crate::sandbox::Limits;
use crate::verdict::of_checks;
use crate::{Check, GradeError, Progress, Report, State, Stop, TaskReport, Verdict};

/// One run over a built lab.
pub(crate) struct Run<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) options: &'a Options<'a>,
    pub(crate) ready: &'a Ready,
    /// What was asked for, in the lab's order.
    pub(crate) tasks: Vec<&'a Task>,
    pub(crate) state: &'a State,
    pub(crate) stop: &'a Stop,
    pub(crate) progress: Progress,
    /// The built checks.
    pub(crate) program: PathBuf,
}

/// The outcomes so far, by task; a task that waits has none.
pub(crate) type Outcomes = BTreeMap<TaskId, Vec<CheckReport>>;

impl Run<'_> {
    pub(crate) fn all(&self, report: &mut Report) -> Result<(), GradeError> {
        self.progress.set("looking for checks");
        let mut checks = list_checks(&self.program, self.stop)?;
        // The authors' order goes from the simple to the subtle; the program's is that of the alphabet.
        let place =
            |check: &Check| self.ready.expected.iter().position(|name| name == check.function());
        checks.sort_by_key(|check| (check.task, check.live, place(check)));
        let mut outcomes = self.pure(&checks)?;
        let live_keys = self.live(&checks, &mut outcomes, report)?;
        for (id, missing) in self.unlisted(&checks) {
            if let Some(outcome) = outcomes.get_mut(&id) {
                outcome.push(missing);
            }
        }
        for task in &self.tasks {
            let mut graded = self.task_report(task, &outcomes);
            graded.live_key = live_keys.get(&task.id).cloned();
            report.tasks.push(graded);
        }
        Ok(())
    }

    /// Pure checks, a wave at a time: first of the tasks that need nothing, then of those that need them.
    fn pure(&self, checks: &[Check]) -> Result<Outcomes, GradeError> {
        let mut outcomes = Outcomes::new();
        loop {
            let may_run = |task: &&&Task| {
                !outcomes.contains_key(&task.id)
                    && task.needs.iter().all(|need| passes(&outcomes, *need))
            };
            let wave: Vec<&Task> = self.tasks.iter().filter(may_run).copied().collect();
            if wave.is_empty() {
                return Ok(outcomes);
            }
            let jobs: Vec<(&Task, &Check)> = wave
                .iter()
                .flat_map(|task| {
                    let own = checks.iter().filter(|check| check.task == task.id && !check.live);
                    own.map(|check| (*task, check))
                })
                .collect();
            outcomes.extend(wave.iter().map(|task| (task.id, Vec::new())));
            for done in self.side_by_side(&jobs)? {
                outcomes.entry(done.check.task).or_default().push(done);
            }
        }
    }

    /// Runs checks on all cores; the outcomes come in the order of the checks.
    fn side_by_side(&self, jobs: &[(&Task, &Check)]) -> Result<Vec<CheckReport>, GradeError> {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(jobs.len());
        let next = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
        let slow: Mutex<BTreeSet<TaskId>> = Mutex::default();
        let work = || {
            let mut outcomes = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((task, check)) = jobs.get(index) else { break };
                if slow.lock().is_ok_and(|slow| slow.contains(&task.id)) {
                    outcomes.push((index, not_run(check, "another check ran out of time")));
                    continue;
                }
                let limits = Limits::pure(task.time_limit);
                let context = &self.ready.context;
                let outcome = run_check(&self.program, check, &limits, context, self.stop)?;
                let timed_out = match &outcome.verdict {
                    CheckVerdict::Fail(failure) => failure.timed_out,
                    CheckVerdict::Unknown(_) => outcome.duration >= limits.wall,
                    CheckVerdict::Pass | CheckVerdict::NotRun(_) => false,
                };
                if timed_out && let Ok(mut slow) = slow.lock() {
                    slow.insert(task.id);
                }
                outcomes.push((index, outcome));
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                self.progress.set(format!("checking: {done} of {}", jobs.len()));
            }
            Ok(outcomes)
        };
        let results: Result<Vec<_>, GradeError> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let joined = threads.into_iter().map(|thread| {
                let lost = || GradeError::Sandbox(std::io::Error::other("a worker was lost"));
                thread.join().map_err(|_| lost())?
            });
            joined.collect()
        });
        let mut outcomes: Vec<(usize, CheckReport)> = results?.into_iter().flatten().collect();
        outcomes.sort_by_key(|(index, _)| *index);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// Checks of the course that the built program does not have.
    fn unlisted(&self, checks: &[Check]) -> Vec<(TaskId, CheckReport)> {
        let listed: BTreeSet<&str> = checks.iter().map(Check::function).collect();
        let missing = self.ready.expected.iter().filter(|name| !listed.contains(name.as_str()));
        let reports = missing.filter_map(|name| {
            let check = Check::of_path(&format!("tests::{name}"))?;
            let verdict = CheckVerdict::Unknown("the build has no such check".to_owned());
            Some((check.task, CheckReport { verdict, ..not_run(&check, "") }))
        });
        reports.collect()
    }

    fn task_report(&self, task: &Task, outcomes: &Outcomes) -> TaskReport {
        let waits_for: Vec<TaskId> =
            task.needs.iter().copied().filter(|need| !passes(outcomes, *need)).collect();
        let checks = outcomes.get(&task.id).cloned().unwrap_or_default();
        let verdict = match of_checks(&checks) {
            Verdict::Unknown if !waits_for.is_empty() => Verdict::Wait,
            verdict => verdict,
        };
        let missing = task.files.iter().filter(|file| self.ready.missing.contains(file));
        TaskReport {
            verdict,
            checks,
            region: region(self.lab, task, &self.ready.package.folder),
            missing: missing.map(|file| self.ready.package.folder.join(file)).collect(),
            waits_for,
            hints_shown: self.state.task(task.id).hints_shown,
            live_key: None,
            task: task.clone(),
        }
    }
}

/// Whether a task stands in nobody's way: passed so far, or without a verdict for no fault of the learner's.
pub(crate) fn passes(outcomes: &Outcomes, need: TaskId) -> bool {
    let harmless = |check: &CheckReport| {
        matches!(check.verdict, CheckVerdict::Pass | CheckVerdict::Unknown(_))
    };
    outcomes.get(&need).is_some_and(|checks| checks.iter().all(harmless))
}

/// A check that was not run, for this reason.
pub(crate) fn not_run(check: &Check, reason: &str) -> CheckReport {
    CheckReport {
        check: check.clone(),
        verdict: CheckVerdict::NotRun(reason.to_owned()),
        notes: Vec::new(),
        duration: std::time::Duration::ZERO,
    }
}
