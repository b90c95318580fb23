//! Proves the checks of a lab: that they pass what is right and reject what is wrong. One step, one line.

mod trial;
mod variants;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use course::{Course, Files, Lab, TaskId, solution_files, starter};
use grader::{BuildError, Check, CheckReport, Stop};

use crate::summary::{LabSummary, TaskSummary};
use crate::workshop::{Ask, Built, Workshop};
use crate::{AuthorError, Finding, judge, sync};

/// What to prove, and how thoroughly.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Only this lab; all where `None`.
    pub lab: Option<u32>,
    /// Only these tasks, and only the labs that have them; all where empty.
    pub tasks: Vec<TaskId>,
    /// Seeds that the reference must pass, from 1.
    pub seeds: u64,
    /// Runs of every pure check with one seed, which must agree.
    pub repeats: usize,
    /// Build every variant as a program of its own.
    pub apart: bool,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
    /// Show no spinner while something is built.
    pub quiet: bool,
}

impl CheckOptions {
    fn asks_for(&self, task: TaskId) -> bool {
        self.tasks.is_empty() || self.tasks.contains(&task)
    }
}

/// The seed of every run that is not about seeds: what learners are graded with by default.
const SEED: u64 = 7;

/// Runs all proofs; writes a line to `out` for each step and a table at the end of each lab.
///
/// # Errors
/// [`AuthorError`] where the proofs cannot be carried out. What they find is in the summaries.
pub fn check(
    course: &Course,
    options: &CheckOptions,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<Vec<LabSummary>, AuthorError> {
    let labs: Vec<&Lab> = match options.lab {
        Some(number) => vec![course.lab(number).ok_or(AuthorError::NoLab(number))?],
        None => course.labs.iter().collect(),
    };
    let known = |id: &&TaskId| labs.iter().any(|lab| lab.task(**id).is_some());
    if let Some(&stranger) = options.tasks.iter().find(|id| !known(id)) {
        return Err(AuthorError::NoTask(stranger));
    }
    let mut summaries = Vec::new();
    let asked = |lab: &&Lab| lab.tasks.iter().any(|task| options.asks_for(task.id));
    for lab in labs.into_iter().filter(asked) {
        let mut proof = Proof::new(lab, options, stop, out);
        proof.sync(course)?;
        proof.chapters()?;
        proof.run()?;
        let summary = proof.summary;
        write!(out, "{summary}").map_err(AuthorError::Print)?;
        summaries.push(summary);
    }
    Ok(summaries)
}

/// The proof of one lab, as far as it has come.
struct Proof<'a> {
    lab: &'a Lab,
    options: &'a CheckOptions,
    workshop: Workshop<'a>,
    stop: Stop,
    summary: LabSummary,
    out: &'a mut dyn Write,
    /// When the step began whose line comes next.
    began: Instant,
}

impl<'a> Proof<'a> {
    fn new(lab: &'a Lab, options: &'a CheckOptions, stop: &Stop, out: &'a mut dyn Write) -> Self {
        let workshop = Workshop::new(lab, options.target.clone(), options.quiet, stop);
        let mut summary = LabSummary::new(lab);
        summary.tasks.retain(|task| options.asks_for(task.id));
        let stop = stop.clone();
        Self { lab, options, workshop, stop, summary, out, began: Instant::now() }
    }

    /// Ends a step: its line, and what it found.
    fn step(&mut self, what: &str, ok: &str, findings: Vec<Finding>) -> Result<(), AuthorError> {
        let seconds = self.began.elapsed().as_secs_f64();
        let written = match &findings[..] {
            [] => writeln!(self.out, " ok    {what}: {ok} ({seconds:.1} s)"),
            found => found.iter().try_for_each(|finding| {
                let word = if finding.is_about_the_lab() { "WRONG" } else { "UNKNOWN" };
                let text = finding.to_string().replace('\n', "\n       ");
                writeln!(self.out, "{word:<6} {text}")
            }),
        };
        written.and_then(|()| self.out.flush()).map_err(AuthorError::Print)?;
        self.summary.findings.extend(findings);
        self.began = Instant::now();
        Ok(())
    }

    /// Says that a variant will be tried alone, or several in smaller programs, and why. No step ends here.
    fn apart(&mut self, what: &dyn Display, why: &dyn Display) -> Result<(), AuthorError> {
        writeln!(self.out, " apart {what}: {why}").map_err(AuthorError::Print)
    }

    fn sync(&mut self, course: &Course) -> Result<(), AuthorError> {
        let report = sync::compare(course)?;
        let changes = report.changes.into_iter().map(|change| Finding::OutOfSync(change.path));
        let strangers = report.strangers.into_iter().map(Finding::Stranger);
        self.step("labs/", "is what the solutions give", changes.chain(strangers).collect())
    }

    /// The book has every chapter that the lab names.
    fn chapters(&mut self) -> Result<(), AuthorError> {
        let book = self.lab.root.join("book/src");
        let of_tasks = self.lab.tasks.iter().map(|task| &task.chapter);
        let missing = std::iter::once(&self.lab.chapter)
            .chain(of_tasks)
            .filter(|chapter| !book.join(chapter).is_file())
            .map(|chapter| Finding::NoChapter(chapter.clone()))
            .collect();
        self.step("chapters", "all there", missing)
    }

    fn run(&mut self) -> Result<(), AuthorError> {
        let solution = solution_files(self.lab)?;
        let Some(sound) = self.solution(&solution)? else { return Ok(()) };
        self.starter(&sound)?;
        self.trial(&solution, &sound)
    }

    /// The reference passes, with every seed and every time. Returns the pure checks to go on with: those that
    /// do. `None` where there is nothing to go on with.
    fn solution(&mut self, files: &Files) -> Result<Option<Vec<Check>>, AuthorError> {
        let Some(built) = self.build("the solution", |shop| shop.build(files.clone()))? else {
            return Ok(None);
        };
        let (pure, live): (Vec<Check>, Vec<Check>) =
            self.checks(&built)?.into_iter().partition(|check| !check.live);
        self.summary.live_checks = live.len();
        let findings = self.count(&pure, &live);
        self.step("checks", &format!("{} pure, {} live", pure.len(), live.len()), findings)?;

        let mut runs = vec![self.reports(&built, &pure, SEED)?];
        let mut findings = judge::unknown("the solution", &runs[0]);
        findings.extend(judge::solution(SEED, &runs[0]));
        self.step("the solution", &format!("all green with seed {SEED}"), findings)?;
        let passed = |report: &&CheckReport| report.verdict == grader::CheckVerdict::Pass;
        let sound: Vec<Check> =
            runs[0].iter().filter(passed).map(|report| report.check.clone()).collect();

        let unsound_seeds = self.seeds(&built, &sound)?;
        for _ in 1..self.options.repeats {
            runs.push(self.reports(&built, &sound, SEED)?);
        }
        let mut findings = judge::flaky(SEED, &sound, &runs);
        findings.extend(runs[1..].iter().flat_map(|run| judge::unknown("the solution", run)));
        let flaky: BTreeSet<&str> = findings.iter().filter_map(Finding::check).collect();
        let keep = |check: &Check| {
            !flaky.contains(check.function()) && !unsound_seeds.contains(check.function())
        };
        let sound: Vec<Check> = sound.iter().filter(|check| keep(check)).cloned().collect();
        self.summary.repeats = self.options.repeats;
        self.step("repeats", &format!("{} runs agree", self.options.repeats), findings)?;
        Ok(Some(sound))
    }

    /// The checks of the tasks that are asked for.
    fn checks(&self, built: &Built) -> Result<Vec<Check>, AuthorError> {
        let mut checks = self.workshop.checks(built)?;
        checks.retain(|check| self.options.asks_for(check.task));
        Ok(checks)
    }

    /// Runs the solution with every seed; returns the names of the checks that fail with some.
    fn seeds(&mut self, built: &Built, checks: &[Check]) -> Result<BTreeSet<String>, AuthorError> {
        let mut findings = Vec::new();
        for seed in 1..=self.options.seeds {
            let reports = self.reports(built, checks, seed)?;
            findings.extend(judge::unknown("the solution", &reports));
            findings.extend(judge::solution(seed, &reports));
        }
        let unsound = findings.iter().filter_map(Finding::check).map(str::to_owned).collect();
        self.summary.seeds = self.options.seeds;
        let ok = format!("the solution passes {0} of {0}", self.options.seeds);
        self.step("seeds", &ok, findings)?;
        Ok(unsound)
    }

    /// Enough checks for each task, and each of a task of the lab.
    fn count(&mut self, pure: &[Check], live: &[Check]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let all = || pure.iter().chain(live);
        for check in all().filter(|check| self.lab.task(check.task).is_none()) {
            findings.push(Finding::NoSuchTask { check: check.function().to_owned() });
        }
        for task in &mut self.summary.tasks {
            task.checks = all().filter(|check| check.task == task.id).count();
            if task.checks < crate::MIN_CHECKS {
                findings.push(Finding::FewChecks { task: task.id, count: task.checks });
            }
        }
        findings
    }

    /// The starter compiles without a word, and every task of it is red.
    fn starter(&mut self, checks: &[Check]) -> Result<(), AuthorError> {
        let files = starter(self.lab)?;
        let Some(built) = self.build("the starter", |shop| shop.build_lab(&files))? else {
            return Ok(());
        };
        let reports = self.reports(&built, checks, SEED)?;
        let mut findings = judge::unknown("the starter", &reports);
        findings.extend(self.asked(judge::starter(self.lab, &reports)));
        findings.extend(self.workshop.first_warning(&built)?.map(Finding::Warns));
        for task in &mut self.summary.tasks {
            task.red_on_starter = judge::red(&reports).contains(&task.id);
        }
        let red = reports.iter().filter(|report| judge::failed(report)).count();
        let ok = format!("no warning, every task red ({red} of {} checks)", reports.len());
        self.step("the starter", &ok, findings)
    }

    /// Without what is only said because no check of a task was run that nobody asked for.
    fn asked(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        findings.retain(|finding| match finding {
            Finding::GreenStarter(task) | Finding::NeedlessNeed { task, .. } => {
                self.options.asks_for(*task)
            }
            _ => true,
        });
        findings
    }

    /// A variant, built; `None`, and a finding, where it does not compile.
    fn build(
        &mut self,
        variant: &str,
        build: impl FnOnce(&Workshop<'_>) -> Result<Built, BuildError>,
    ) -> Result<Option<Built>, AuthorError> {
        let variant = variant.to_owned();
        let finding = match build(&self.workshop) {
            Ok(built) => return Ok(Some(built)),
            Err(BuildError::Compile(error)) => {
                Finding::DoesNotCompile { variant: variant.clone(), text: error.to_string() }
            }
            Err(BuildError::Trouble(reason)) => {
                Finding::Unknown { variant: variant.clone(), reason }
            }
            Err(BuildError::Grade(error)) => return Err(error.into()),
        };
        self.step(&variant, "", vec![finding])?;
        Ok(None)
    }

    fn reports(
        &self,
        built: &Built,
        checks: &[Check],
        seed: u64,
    ) -> Result<Vec<CheckReport>, AuthorError> {
        Ok(self.workshop.run(built, &Ask { checks, seed, first_failure: false })?)
    }

    fn task(&mut self, id: TaskId) -> &mut TaskSummary {
        let found = self.summary.tasks.iter_mut().find(|task| task.id == id);
        found.expect("ids come from the lab, and so do the summaries")
    }
}
