//! Grades a lab: build, pure checks side by side, live checks one after the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use course::{Lab, Task, TaskId, regions};

use crate::outcome::Place;
use crate::ready::{Ready, prepare};
use crate::run::Run;
use crate::{BuildError, GradeError, Progress, Report, State, Stop, build_tests};

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

/// A program that takes the engine's place in live checks, and runs it somewhere else: on a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launcher {
    /// It is called as the engine would be.
    pub program: PathBuf,
    /// What it finds in its environment.
    pub env: Vec<(String, String)>,
}

/// The cluster on which the engines of live checks run.
pub struct OnCluster<'a> {
    /// What the report calls it.
    pub name: &'a str,
    /// Asked for once, with the engine's program, when the first live check is about to run: what to call instead; or why
    /// nothing can run there.
    pub launcher: &'a (dyn Fn(&Path) -> Result<Launcher, String> + Sync),
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
    /// Where the engines of live checks run; as processes of this machine if absent.
    pub on: Option<OnCluster<'a>>,
    /// Run live checks again, even those that passed before and to which nothing has changed since.
    pub fresh: bool,
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
            let run = Run { lab, options, ready: &ready, tasks, state, stop, progress, program };
            run.all(&mut report)?;
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

fn empty_report(lab: &Lab, options: &Options<'_>, ready: &Ready) -> Report {
    Report {
        number: lab.number,
        id: lab.id.clone(),
        title: lab.title.clone(),
        chapter: lab.chapter.clone(),
        solution: options.source == Source::Solution,
        seed: options.seed,
        model: None,
        on: None,
        tasks: Vec::new(),
        notes: ready.notes.clone(),
        compile_error: None,
        trouble: None,
        duration: std::time::Duration::ZERO,
        saved: false,
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
