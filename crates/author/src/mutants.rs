//! Mutants: plausible wrong answers, each a unified diff against the solution that some check must reject.
//!
//! A mutant is a file `mutants/<task>…/<name>.patch`, or `mutants/<task>…<name>.patch`, where `<task>` is
//! written `1.3` or `task_1_3`. It opens with plain lines that say what the learner misunderstood.

use std::fmt;
use std::path::{Path, PathBuf};

use course::{Files, Lab, MUTANTS_DIR, Side, TaskId, read_files};
use diffy::patch_set::{FileOperation, ParseOptions, PatchSet};

use crate::AuthorError;

/// A wrong answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// The task that it gets wrong.
    pub task: TaskId,
    /// Name of its file without the extension.
    pub name: String,
    /// Path relative to the solution's folder.
    pub file: PathBuf,
    /// What the learner who writes this believes.
    pub misconception: String,
    /// The unified diff.
    patch: String,
}

/// Why a mutant is no wrong answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MutantError {
    /// The name does not say which task.
    #[error("its path names no task of the lab (as in mutants/1.3/name.patch)")]
    NoTask,
    /// It does not say what is wrong.
    #[error("says no misconception: begin with lines of plain text")]
    NoMisconception,
    /// It is no unified diff.
    #[error("is no unified diff: {0}")]
    NoDiff(String),
    /// It changes what a learner cannot change for this task.
    #[error("changes {0}, which is no file of its task")]
    ForeignFile(String),
    /// The solution has moved on.
    #[error("does not apply to {file}: {reason}")]
    DoesNotApply {
        /// Relative to the solution's folder.
        file: PathBuf,
        /// What diffy says.
        reason: String,
    },
    /// It makes no difference.
    #[error("changes nothing")]
    NoChange,
}

/// A mutant, or a file that cannot be one: its path in the solution's folder and the reason.
pub type Loaded = Result<Mutant, (PathBuf, MutantError)>;

/// All files among the mutants of a lab, by path.
///
/// # Errors
/// [`AuthorError::Course`] where a file cannot be read.
pub fn load(lab: &Lab) -> Result<Vec<Loaded>, AuthorError> {
    let folder = lab.dir(Side::Solution).join(MUTANTS_DIR);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut mutants = Vec::new();
    for (path, content) in read_files(&folder)? {
        if path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        let file = Path::new(MUTANTS_DIR).join(&path);
        let text = String::from_utf8_lossy(&content).into_owned();
        mutants.push(parse(lab, &path, &file, text).map_err(|error| (file, error)));
    }
    Ok(mutants)
}

fn parse(lab: &Lab, path: &Path, file: &Path, text: String) -> Result<Mutant, MutantError> {
    let task = task_of(path).filter(|id| lab.task(*id).is_some()).ok_or(MutantError::NoTask)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let is_diff = |line: &str| line.starts_with("--- ") || line.starts_with("diff --git ");
    let preamble: Vec<&str> = text.lines().take_while(|line| !is_diff(line)).collect();
    let misconception = preamble.join(" ").trim().to_owned();
    if misconception.is_empty() {
        return Err(MutantError::NoMisconception);
    }
    Ok(Mutant { task, name, file: file.to_owned(), misconception, patch: text })
}

/// The task that the first telling part of a path names: `1.3/x`, `1.3-x`, `task_1_3_x`.
fn task_of(path: &Path) -> Option<TaskId> {
    path.iter().find_map(|part| {
        let part = part.to_string_lossy();
        let number = |c: char| c.is_ascii_digit() || c == '.';
        let dotted = part.split(|c| !number(c)).next().unwrap_or_default();
        let stem = part.strip_suffix(".patch").unwrap_or(&part);
        dotted.trim_end_matches('.').parse().ok().or_else(|| TaskId::of_name(stem))
    })
}

impl Mutant {
    /// The solution's files as this mutant has them.
    ///
    /// # Errors
    /// [`MutantError`] where the patch is broken, touches a file that the task does not list, does not
    /// apply, or changes nothing.
    pub fn apply(&self, lab: &Lab, files: &Files) -> Result<Files, MutantError> {
        let allowed = lab.task(self.task).map(|task| task.files.as_slice()).unwrap_or_default();
        let mut changed = files.clone();
        for patch in PatchSet::parse(&self.patch, ParseOptions::unidiff()) {
            let patch = patch.map_err(|error| MutantError::NoDiff(error.to_string()))?;
            let operation = patch.operation().strip_prefix(1);
            let FileOperation::Modify { modified, .. } = &operation else {
                return Err(MutantError::ForeignFile(format!("{:?}", patch.operation())));
            };
            let file = PathBuf::from(modified.as_ref());
            let content = changed
                .get_mut(&file)
                .filter(|_| allowed.contains(&file))
                .ok_or_else(|| MutantError::ForeignFile(modified.to_string()))?;
            let text = String::from_utf8_lossy(content);
            let Some(hunks) = patch.patch().as_text() else {
                return Err(MutantError::NoDiff("it is binary".to_owned()));
            };
            let applied = diffy::apply(&text, hunks)
                .map_err(|error| MutantError::DoesNotApply { file, reason: error.to_string() })?;
            *content = applied.into_bytes();
        }
        if changed == *files { Err(MutantError::NoChange) } else { Ok(changed) }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mutant {} {}", self.task, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_task() {
        let task = |path: &str| task_of(Path::new(path)).map(|id| id.to_string());
        for path in ["1.3/a.patch", "1.3-a.patch", "1.3.patch", "task_1_3/a.patch"] {
            assert_eq!(task(path).as_deref(), Some("1.3"), "{path}");
        }
        assert_eq!(task("task_1_3_a.patch").as_deref(), Some("1.3"));
        assert_eq!(task("task_1_10.patch").as_deref(), Some("1.10"));
        assert_eq!(task("evicts_newest.patch"), None);
    }
}
