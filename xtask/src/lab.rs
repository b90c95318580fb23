//! `cargo xtask lab N`: grade, print, remember.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use course::{Course, Lab};
use grader::{Live, OnCluster, Options, Report, RunLock, Source, State, Stop, Style};

use crate::cli::{GradeArgs, LabArgs};
use crate::on_cluster::Place;
use crate::{answers, programs, watch};

/// Carries out `cargo xtask lab ...`; returns the exit status.
pub(crate) fn run(root: &Path, args: LabArgs, stop: &Stop) -> Result<u8> {
    let json = args.grade.json;
    let outcome = graded(root, args, stop);
    if let (true, Err(error)) = (json, &outcome) {
        println!("{}", serde_json::json!({ "schema": 1, "error": format!("{error:#}") }));
    }
    outcome
}

fn graded(root: &Path, args: LabArgs, stop: &Stop) -> Result<u8> {
    let course = Course::discover(root)?;
    let lab = course.lab(args.number).with_context(|| {
        let known: Vec<String> = course.labs.iter().map(|lab| lab.number.to_string()).collect();
        format!("there is no lab {} yet; there is {}", args.number, known.join(", "))
    })?;
    if let Some(action) = args.action {
        let _lock = RunLock::take(root)?;
        return answers::run(lab, action);
    }
    if args.grade.watch {
        return watch::run(lab, &args.grade, stop);
    }
    grade_once(lab, &args.grade, stop).map(|report| report.exit_status())
}

/// Grades a lab once and prints the report.
pub(crate) fn grade_once(lab: &Lab, args: &GradeArgs, stop: &Stop) -> Result<Report> {
    let _lock = RunLock::take(&lab.root)?;
    let (mut state, moved_aside) = State::load(&lab.root)?;
    let model = || match args.offline {
        true => Ok(("tiny".to_owned(), "a tiny random one (--offline)".to_owned())),
        false => programs::lab_model(&lab.root, stop),
    };
    let place = args.on.as_deref().or(lab.on.as_deref()).map(|on| Place::new(lab, on, stop));
    let launcher = |engine: &Path| match &place {
        Some(place) => place.launcher(engine),
        None => Err("there is no cluster".to_owned()),
    };
    let on = place.as_ref().map(|place| OnCluster { name: place.on(), launcher: &launcher });
    let options = Options {
        source: if args.solution { Source::Solution } else { Source::Learner },
        target: grader::target_dir(&lab.root),
        seed: args.seed,
        task: args.task,
        live: Live::Model(&model),
        on,
        fresh: args.fresh,
        quiet: args.json,
    };
    let graded = grader::grade(lab, &options, &state, stop);
    drop(place);
    let mut report = graded?;
    report.notes.extend(moved_aside);
    if !args.solution && !report.tasks.is_empty() {
        state.record(&report);
        state.save(&lab.root)?;
        report.saved = true;
    }
    if args.json {
        println!("{}", grader::to_json(&report));
    } else {
        anstream::print!("{}", grader::render(&report, Style::Coloured));
    }
    Ok(report)
}

/// Whether a person is looking.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
