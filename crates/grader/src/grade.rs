//! Grades a lab: build, pure checks side by side, live checks one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use course::{Lab, Side, Task, TaskId, regions};

use crate::check::{expected_functions, list_checks};
use crate::mirror::mirror;
use crate::outcome::{CheckReport, CheckVerdict, Place, RunContext, run_check};
use crate::sandbox::Limits;
use crate::verdict::of_checks;
use crate::{
    BuildError, Check, GradeError, Package, Progress, Report, State, Stop, TaskReport, Verdict,
    build_engine, build_tests,
};

/// Whose code is graded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The learner's, in a mirror that takes only the files of the tasks.
    Learner,
    /// The reference, where it lies.
    Solution,
}

/// What live checks run on.
pub enum Live<'a> {
    /// They do not run.
    Off,
    /// Asked for once, when the first live check is about to run: what to hand to the engine's `--model`, and how
    /// to call it in the report; or why there is none.
    Model(&'a (dyn Fn() -> Result<(String, String), String> + Sync)),
}

/// How to grade.
pub struct Options<'a> {
    /// Whose code.
    pub source: Source,
    /// Where builds go.
    pub target: PathBuf,
    /// What checks draw their random numbers from.
    pub seed: u64,
    /// One task, with those it needs; all if absent.
    pub task: Option<TaskId>,
    /// Live checks.
    pub live: Live<'a>,
    /// No progress line.
    pub quiet: bool,
}

/// Grades a lab. Trouble is part of the report wherever one can still be made.
///
/// # Errors
/// [`GradeError`] when there can be no report: the course is broken, or it was stopped.
pub fn grade(
    lab: &Lab,
    options: &Options<'_>,
    state: &State,
    stop: &Stop,
) -> Result<Report, GradeError> {
    let started = Instant::now();
    let tasks = selected(lab, options.task)?;
    let ready = prepare(lab, options)?;
    let mut report = empty_report(lab, options, &ready);
    let progress = Progress::start(options.quiet, "building");
    match build_tests(&ready.package, &progress, stop) {
        Ok(program) => {
            let mut run = Run { lab, options, ready: &ready, tasks, stop, progress, program };
            run.all(&mut report, state)?;
        }
        Err(BuildError::Compile(error)) => report.compile_error = Some(error),
        Err(BuildError::Trouble(reason)) => report.trouble = Some(reason),
        Err(BuildError::Grade(error)) => return Err(error),
    }
    report.duration = started.elapsed();
    Ok(report)
}

/// The tasks to grade: all, or one with all that it needs.
fn selected(lab: &Lab, only: Option<TaskId>) -> Result<Vec<&Task>, GradeError> {
    let Some(only) = only else { return Ok(lab.tasks.iter().collect()) };
    crate::answers::task(lab, only)?;
    let mut wanted = BTreeSet::from([only]);
    for task in lab.tasks.iter().rev().filter(|task| task.id <= only) {
        if wanted.contains(&task.id) {
            wanted.extend(&task.needs);
        }
    }
    Ok(lab.tasks.iter().filter(|task| wanted.contains(&task.id)).collect())
}

/// A tree to build, whoever's it is.
struct Ready {
    package: Package,
    context: RunContext,
    expected: Vec<String>,
    missing: Vec<PathBuf>,
    notes: Vec<String>,
}

fn prepare(lab: &Lab, options: &Options<'_>) -> Result<Ready, GradeError> {
    let context = RunContext { seed: options.seed, ..RunContext::default() };
    if options.source == Source::Solution {
        let folder = lab.folder(Side::Solution);
        let learner_files = lab.learner_files().iter().map(|file| folder.join(file)).collect();
        return Ok(Ready {
            expected: expected_functions(&course::solution_files(lab)?),
            package: Package {
                workspace: lab.root.clone(),
                target: options.target.clone(),
                name: lab.package(Side::Solution),
                folder,
            },
            context: RunContext { learner_files, ..context },
            missing: Vec::new(),
            notes: Vec::new(),
        });
    }
    let mirror = mirror(lab, &options.target)?;
    let mut notes = Vec::new();
    if let Some(first) = mirror.ignored.first() {
        let more = match mirror.ignored.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let first = mirror.package.folder.join(first);
        notes.push(format!(
            "graded with the course's own files; your changes to {}{more} do not count",
            first.display()
        ));
    }
    let context =
        RunContext { learner_files: mirror.learner_files, sentinel: mirror.sentinel, ..context };
    let (package, expected, missing) = (mirror.package, mirror.expected, mirror.missing);
    Ok(Ready { package, context, expected, missing, notes })
}

fn empty_report(lab: &Lab, options: &Options<'_>, ready: &Ready) -> Report {
    Report {
        number: lab.number,
        id: lab.id.clone(),
        title: lab.title.clone(),
        chapter: lab.chapter.clone(),
        solution: options.source == Source::Solution,
        seed: options.seed,
        model: None,
        tasks: Vec::new(),
        notes: ready.notes.clone(),
        compile_error: None,
        trouble: None,
        duration: std::time::Duration::ZERO,
        saved: false,
    }
}

/// One run over a built lab.
struct Run<'a> {
    lab: &'a Lab,
    options: &'a Options<'a>,
    ready: &'a Ready,
    tasks: Vec<&'a Task>,
    stop: &'a Stop,
    progress: Progress,
    program: PathBuf,
}

/// The outcomes so far, by task; a task that waits has none.
type Outcomes = BTreeMap<TaskId, Vec<CheckReport>>;

impl Run<'_> {
    fn all(&mut self, report: &mut Report, state: &State) -> Result<(), GradeError> {
        self.progress.set("looking for checks");
        let mut checks = list_checks(&self.program, self.stop)?;
        // The authors' order goes from the simple to the subtle; the program's is that of the alphabet.
        let place =
            |check: &Check| self.ready.expected.iter().position(|name| name == check.function());
        checks.sort_by_key(|check| (check.task, check.live, place(check)));
        let mut outcomes = self.pure(&checks)?;
        self.live(&checks, &mut outcomes, report)?;
        for (id, missing) in self.unlisted(&checks) {
            if let Some(outcome) = outcomes.get_mut(&id) {
                outcome.push(missing);
            }
        }
        for task in &self.tasks {
            let graded = self.task_report(task, &outcomes, state);
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
                if matches!(&outcome.verdict, CheckVerdict::Fail(failure) if failure.timed_out)
                    && let Ok(mut slow) = slow.lock()
                {
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

    /// Live checks of the tasks whose pure checks all passed, one after the other.
    fn live(
        &self,
        checks: &[Check],
        outcomes: &mut Outcomes,
        report: &mut Report,
    ) -> Result<(), GradeError> {
        let mut engine: Option<Result<RunContext, String>> = None;
        for task in &self.tasks {
            let live: Vec<&Check> =
                checks.iter().filter(|check| check.task == task.id && check.live).collect();
            let Some(pure) = outcomes.get(&task.id) else { continue };
            let all_pass = pure.iter().all(|check| check.verdict == CheckVerdict::Pass);
            let needs_pass = task.needs.iter().all(|need| passes(outcomes, *need));
            for check in live {
                let done = if !all_pass {
                    not_run(check, "the checks without an engine come first")
                } else if !needs_pass {
                    not_run(check, "a task that it needs did not pass")
                } else {
                    let engine = match &mut engine {
                        Some(engine) => engine,
                        None => engine.insert(self.engine(report)?),
                    };
                    self.live_check(task, check, engine)?
                };
                outcomes.entry(task.id).or_default().push(done);
            }
        }
        Ok(())
    }

    fn live_check(
        &self,
        task: &Task,
        check: &Check,
        engine: &Result<RunContext, String>,
    ) -> Result<CheckReport, GradeError> {
        self.progress.set(format!("{} live: {}", task.id, check.sentence()));
        match engine {
            Ok(context) => {
                let limits = Limits::live(task.live_time_limit);
                run_check(&self.program, check, &limits, context, self.stop)
            }
            Err(reason) => {
                let verdict = CheckVerdict::Unknown(reason.clone());
                Ok(CheckReport { verdict, ..not_run(check, "") })
            }
        }
    }

    /// Builds the engine and finds it a model. The inner error is a reason for UNKNOWN.
    fn engine(&self, report: &mut Report) -> Result<Result<RunContext, String>, GradeError> {
        let side = match self.options.source {
            Source::Learner => Side::Learner,
            Source::Solution => Side::Solution,
        };
        let model = match self.options.live {
            Live::Off => return Ok(Err("live checks are switched off".to_owned())),
            Live::Model(model) => self.progress.suspend(model),
        };
        if self.stop.is_set() {
            return Err(GradeError::Interrupted);
        }
        let (model, label) = match model {
            Ok(model) => model,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(bin) = self.lab.engine_bin(side) else {
            return Ok(Err("this lab has no engine".to_owned()));
        };
        self.announce(&bin);
        match build_engine(&self.ready.package, &bin, &self.progress, self.stop) {
            Ok(engine) => {
                report.model = Some(label);
                let context = self.ready.context.clone();
                Ok(Ok(RunContext { engine: Some(engine), model: Some(model), ..context }))
            }
            Err(BuildError::Grade(error)) => Err(error),
            Err(other) => Ok(Err(format!("the engine could not be built: {other}"))),
        }
    }

    /// Says once why the next minutes are quiet.
    fn announce(&self, bin: &str) {
        let built = self.ready.package.target.join("debug").join(bin);
        if !built.exists() {
            self.progress.say(
                "building the engine for the live checks: your code around a real language model. \
                 The first time takes 2 to 5 minutes, later ones seconds.",
            );
        }
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

    fn task_report(&self, task: &Task, outcomes: &Outcomes, state: &State) -> TaskReport {
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
            hints_shown: state.task(task.id).hints_shown,
            task: task.clone(),
        }
    }
}

/// Whether a task stands in nobody's way: passed so far, or without a verdict for no fault of the learner's.
fn passes(outcomes: &Outcomes, need: TaskId) -> bool {
    let harmless = |check: &CheckReport| {
        matches!(check.verdict, CheckVerdict::Pass | CheckVerdict::Unknown(_))
    };
    outcomes.get(&need).is_some_and(|checks| checks.iter().all(harmless))
}

fn not_run(check: &Check, reason: &str) -> CheckReport {
    CheckReport {
        check: check.clone(),
        verdict: CheckVerdict::NotRun(reason.to_owned()),
        notes: Vec::new(),
        duration: std::time::Duration::ZERO,
    }
}

/// Where the code of a task goes: the line after the opening marker of its first region.
pub(crate) fn region(lab: &Lab, task: &Task, folder: &Path) -> Option<Place> {
    let first = task.regions.first()?;
    let file = folder.join(&first.file);
    let text = fs::read_to_string(lab.root.join(&file)).ok()?;
    let line = regions::find(&text, &first.region.name).map_or(1, |region| region.begin_line + 1);
    Some(Place { file, line })
}
