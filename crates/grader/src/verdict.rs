//! From the outcomes of checks to verdicts on tasks and on the lab. Pure.

use std::time::Duration;

use course::TaskId;

use crate::outcome::{CheckReport, CheckVerdict, Failure, Place};

/// The verdict on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Every check passed: all its points.
    Pass,
    /// A check failed: no points.
    Fail,
    /// The infrastructure failed: its points count neither way.
    Unknown,
    /// A task that it needs is not solved: its checks were not run.
    Wait,
}

impl Verdict {
    /// The word in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Unknown => "UNKNOWN",
            Self::Wait => "WAIT",
        }
    }
}

/// One task of a report.
#[derive(Debug, Clone)]
pub struct TaskReport {
    /// The task.
    pub task: course::Task,
    /// The verdict on it.
    pub verdict: Verdict,
    /// Its checks, pure ones first; empty for one that waits.
    pub checks: Vec<CheckReport>,
    /// Where the learner writes: the first region in the learner's own file.
    pub region: Option<Place>,
    /// Files of it that are missing from the learner's tree.
    pub missing: Vec<std::path::PathBuf>,
    /// Needs that are not solved.
    pub waits_for: Vec<TaskId>,
    /// Hints shown so far, of three.
    pub hints_shown: usize,
    /// What the outcome of its live checks depended on, as a hash; `None` where they were not due.
    pub live_key: Option<String>,
}

/// What a run of a lab came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// Number of the lab.
    pub number: u32,
    /// Its id: `01-triage`.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its first chapter, below `book/src`.
    pub chapter: std::path::PathBuf,
    /// Whether it is the reference solution that was graded.
    pub solution: bool,
    /// What the checks drew their random numbers from.
    pub seed: u64,
    /// What live checks ran on; `None` when none ran.
    pub model: Option<String>,
    /// The cluster on which the engines of live checks ran; `None` for processes of this machine.
    pub on: Option<String>,
    /// The tasks in their order.
    pub tasks: Vec<TaskReport>,
    /// Lines about the run as a whole.
    pub notes: Vec<String>,
    /// The lab did not compile: rustc's first error.
    pub compile_error: Option<crate::CompileError>,
    /// The lab could not be built for another reason.
    pub trouble: Option<String>,
    /// From start to end.
    pub duration: Duration,
    /// Whether the scores were saved.
    pub saved: bool,
}

/// Points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Earned.
    pub points: u32,
    /// Of this many; tasks without a verdict are left out.
    pub of: u32,
    /// Points left out.
    pub unknown: u32,
}

// === impl TaskReport ===

impl TaskReport {
    /// The check that the report tells about: the first that failed on what is written, else the first that met a `todo!`,
    /// else the first without a verdict.
    ///
    /// What is written comes first: of seven regions the learner writes one, and wants to know about that one.
    #[must_use]
    pub fn telling(&self) -> Option<&CheckReport> {
        let unknown = |check: &&CheckReport| matches!(check.verdict, CheckVerdict::Unknown(_));
        self.wrong()
            .next()
            .or_else(|| self.unsolved_check())
            .or_else(|| self.checks.iter().find(unknown))
    }

    /// The checks that failed on what is written, not on a `todo!` of this task.
    pub fn wrong(&self) -> impl Iterator<Item = &CheckReport> {
        let failed = |check: &&CheckReport| matches!(check.verdict, CheckVerdict::Fail(_));
        self.checks.iter().filter(failed).filter(|check| !self.met_todo(check))
    }

    /// How many checks hold.
    #[must_use]
    pub fn hold(&self) -> usize {
        self.checks.iter().filter(|check| check.verdict == CheckVerdict::Pass).count()
    }

    /// Why it failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self.telling().map(|check| &check.verdict) {
            Some(CheckVerdict::Fail(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Whether a part of it is still as the starter has it: a `todo!` of its own was met.
    #[must_use]
    pub fn unsolved(&self) -> bool {
        self.unsolved_check().is_some()
    }

    /// Where the first `todo!` of this task stands that a check met.
    #[must_use]
    pub fn unsolved_at(&self) -> Option<&Place> {
        match &self.unsolved_check()?.verdict {
            CheckVerdict::Fail(failure) => failure.place.as_ref(),
            _ => None,
        }
        .or(self.region.as_ref())
    }

    fn unsolved_check(&self) -> Option<&CheckReport> {
        self.checks.iter().find(|check| self.met_todo(check))
    }

    fn met_todo(&self, check: &CheckReport) -> bool {
        match &check.verdict {
            CheckVerdict::Fail(failure) => failure.unsolved == Some(self.task.id),
            _ => false,
        }
    }

    /// The place to look at: in the failure if it tells one, else where the learner writes.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.failure().and_then(|failure| failure.place.as_ref()).or(self.region.as_ref())
    }
}

// === impl Report ===

impl Report {
    /// Points of all tasks with a verdict.
    #[must_use]
    pub fn score(&self) -> Score {
        let mut score = Score { points: 0, of: 0, unknown: 0 };
        for task in &self.tasks {
            match task.verdict {
                Verdict::Pass => score.points += task.task.points,
                Verdict::Unknown => score.unknown += task.task.points,
                Verdict::Fail | Verdict::Wait => {}
            }
            score.of += task.task.points;
        }
        score.of -= score.unknown;
        score
    }

    /// 0 when all passed, 1 when something is left to the learner, 2 when only the infrastructure failed.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        let any = |verdict| self.tasks.iter().any(|task| task.verdict == verdict);
        if self.compile_error.is_some() || any(Verdict::Fail) || any(Verdict::Wait) {
            1
        } else if self.trouble.is_some() || any(Verdict::Unknown) {
            2
        } else {
            0
        }
    }

    /// The task to turn to: the first that is not solved, counting those that wait last.
    #[must_use]
    pub fn next(&self) -> Option<&TaskReport> {
        let first = |verdict| self.tasks.iter().find(|task| task.verdict == verdict);
        first(Verdict::Fail).or_else(|| first(Verdict::Wait))
    }
}

/// The verdict on a task whose checks were run.
pub(crate) fn of_checks(checks: &[CheckReport]) -> Verdict {
    let any = |is: fn(&CheckVerdict) -> bool| checks.iter().any(|check| is(&check.verdict));
    if any(|verdict| matches!(verdict, CheckVerdict::Fail(_))) {
        Verdict::Fail
    } else if checks.is_empty() || !checks.iter().all(|c| c.verdict == CheckVerdict::Pass) {
        Verdict::Unknown
    } else {
        Verdict::Pass
    }
}
