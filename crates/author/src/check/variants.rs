//! What has to be rejected: the solution with a task emptied, and with a mutant.

use std::collections::BTreeMap;
use std::fmt;

use course::{Files, TaskId, empty_tasks};

use super::Proof;
use crate::mutants::{self, Loaded, Mutant};
use crate::schemata::Change;
use crate::{AuthorError, Finding};

/// A variant of the solution that has to be rejected.
pub(super) struct Variant {
    pub(super) what: What,
    /// The solution's files with it.
    pub(super) files: Files,
}

/// What is wrong with a variant.
pub(super) enum What {
    Emptied(TaskId),
    Mutant(Mutant),
}

/// Variants for one program, each with what it changes; the first is number 1.
pub(super) type Batch = Vec<(Variant, Vec<Change>)>;

impl Proof<'_> {
    /// The solution with only one task emptied, for each that is asked for.
    pub(super) fn emptied(&self, files: &Files) -> Result<Vec<Variant>, AuthorError> {
        let tasks = self.lab.tasks.iter().map(|task| task.id);
        let asked = tasks.filter(|task| self.options.asks_for(*task));
        let variants = asked.map(|id| {
            let files = empty_tasks(self.lab, files, &[id])?;
            Ok(Variant { what: What::Emptied(id), files })
        });
        variants.collect()
    }

    /// The mutants that are some: every task has enough.
    pub(super) fn mutants(&mut self, files: &Files) -> Result<Vec<Variant>, AuthorError> {
        let mut good: Vec<(Mutant, Files)> = Vec::new();
        let mut findings = Vec::new();
        let theirs = |mutant: &Loaded| match mutant {
            Ok(mutant) => self.options.asks_for(mutant.task),
            Err(_) => true,
        };
        for mutant in mutants::load(self.lab)?.into_iter().filter(theirs) {
            let applied = mutant.and_then(|mutant| match mutant.apply(self.lab, files) {
                Ok(files) => Ok((mutant, files)),
                Err(error) => Err((mutant.file, error)),
            });
            match applied {
                Ok(applied) => good.push(applied),
                Err((file, error)) => findings.push(Finding::BadMutant { file, error }),
            }
        }
        for task in &mut self.summary.tasks {
            task.mutants = good.iter().filter(|(mutant, _)| mutant.task == task.id).count();
            if task.mutants < crate::MIN_MUTANTS {
                findings.push(Finding::FewMutants { task: task.id, count: task.mutants });
            }
        }
        self.step("mutants", &format!("{} apply", good.len()), findings)?;
        let variant = |(mutant, files)| Variant { what: What::Mutant(mutant), files };
        Ok(good.into_iter().map(variant).collect())
    }
}

impl What {
    pub(super) fn task(&self) -> TaskId {
        match self {
            Self::Emptied(id) => *id,
            Self::Mutant(mutant) => mutant.task,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emptied(id) => write!(f, "only {id} emptied"),
            Self::Mutant(mutant) => mutant.fmt(f),
        }
    }
}

/// `42 variants of 2.1, 2.2`.
pub(super) fn named(batch: &Batch) -> String {
    let mut tasks: Vec<String> = Vec::new();
    for (variant, _) in batch {
        let task = variant.what.task().to_string();
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    format!("{} variants of {}", batch.len(), tasks.join(", "))
}

/// The variants of each task.
pub(super) fn by_task(batch: Batch) -> Vec<Batch> {
    let mut parts: BTreeMap<TaskId, Batch> = BTreeMap::new();
    for one in batch {
        parts.entry(one.0.what.task()).or_default().push(one);
    }
    parts.into_values().collect()
}
