//! What is wrong with a lab, in words that say which file or check to look at.

use std::path::PathBuf;

use course::TaskId;

use crate::mutants::MutantError;

/// One thing that a lab's author has to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// `labs/` is not what the solution gives.
    #[error("{} is out of date: run `cargo xtask author sync`", .0.display())]
    OutOfSync(PathBuf),
    /// A file of `labs/` that comes from no solution.
    #[error("{} comes from no solution: remove it", .0.display())]
    Stranger(PathBuf),
    /// A chapter that the book does not have.
    #[error("lab.toml names the chapter {}, which is not in book/src", .0.display())]
    NoChapter(PathBuf),
    /// A variant of the lab does not compile.
    #[error("{variant} does not compile:\n{text}")]
    DoesNotCompile {
        /// Which: `the starter`, `mutant 1.3 evicts_newest`.
        variant: String,
        /// What rustc says.
        text: String,
    },
    /// The starter compiles, but the compiler complains.
    #[error("the starter compiles with warnings, the first of them:\n{0}")]
    Warns(String),
    /// A check of a task that the lab does not have.
    #[error("{check} is a check of no task of the lab")]
    NoSuchTask {
        /// The check.
        check: String,
    },
    /// Too few checks for a task.
    #[error("task {task} has {count} checks: expected at least {}", crate::MIN_CHECKS)]
    FewChecks {
        /// Which task.
        task: TaskId,
        /// How many there are.
        count: usize,
    },
    /// Too few mutants for a task.
    #[error("task {task} has {count} mutants: expected at least {}", crate::MIN_MUTANTS)]
    FewMutants {
        /// Which task.
        task: TaskId,
        /// How many there are.
        count: usize,
    },
    /// The reference does not pass.
    #[error("{check} fails on the solution with seed {seed}: {why}")]
    RedSolution {
        /// The check.
        check: String,
        /// The seed.
        seed: u64,
        /// First line of the failure.
        why: String,
    },
    /// One seed, two verdicts.
    #[error("{check} is flaky: {failed} of {runs} runs with seed {seed} failed on the solution")]
    Flaky {
        /// The check.
        check: String,
        /// The seed of all runs.
        seed: u64,
        /// Runs that failed.
        failed: usize,
        /// Runs in all.
        runs: usize,
    },
    /// A task is solved before it is begun.
    #[error("task {0} is green on the starter: none of its checks meets the learner's code")]
    GreenStarter(TaskId),
    /// A task is solved without its code.
    #[error("task {0} is green when only its own regions are emptied")]
    GreenEmptied(TaskId),
    /// A declared need that is none.
    #[error("task {task} needs {need}, but is green when {need} is emptied: drop the need")]
    NeedlessNeed {
        /// The task.
        task: TaskId,
        /// What it says it needs.
        need: TaskId,
    },
    /// A need that is not declared.
    #[error(
        "{check} fails when only {emptied} is emptied, but {task} does not need {emptied}: \
         declare the need, or make the check independent"
    )]
    HiddenNeed {
        /// The check.
        check: String,
        /// Its task.
        task: TaskId,
        /// The task whose regions were emptied.
        emptied: TaskId,
    },
    /// A mutant that is none.
    #[error("{}: {error}", file.display())]
    BadMutant {
        /// Relative to the solution's folder.
        file: PathBuf,
        /// Why.
        error: MutantError,
    },
    /// A wrong answer that passes.
    #[error("mutant {task} {name} survives: no check rejects it ({misconception})")]
    Survivor {
        /// Its task.
        task: TaskId,
        /// Its name.
        name: String,
        /// What it gets wrong.
        misconception: String,
    },
    /// A wrong answer that only another task's check rejects.
    #[error("mutant {task} {name} is rejected only by {check}, a check of another task")]
    StrangeKill {
        /// Its task.
        task: TaskId,
        /// Its name.
        name: String,
        /// The check that rejects it.
        check: String,
    },
    /// The infrastructure failed; this alone is no fault of the lab.
    #[error("no verdict on {variant}: {reason}")]
    Unknown {
        /// Which variant or check.
        variant: String,
        /// Why.
        reason: String,
    },
}

impl Finding {
    /// Whether the lab is wrong, and not merely the machine in trouble.
    #[must_use]
    pub fn is_about_the_lab(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }

    /// The check that this says to fail on the solution, at times or always.
    pub(crate) fn check(&self) -> Option<&str> {
        match self {
            Self::RedSolution { check, .. } | Self::Flaky { check, .. } => Some(check),
            _ => None,
        }
    }
}
