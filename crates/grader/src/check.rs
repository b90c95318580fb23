//! What a check is: a test function whose name says its task and, as a sentence, what it wants.

use std::path::Path;
use std::time::Duration;

use course::{Files, TaskId, is_check};

use crate::files::ScratchDir;
use crate::sandbox::{self, Ending, Limits};
use crate::{GradeError, Stop, outcome};

/// Time for a program to list its tests.
const LIST_LIMIT: Duration = Duration::from_secs(20);

/// One check, found in a built program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// Its task.
    pub task: TaskId,
    /// Whether it starts an engine: its path has a module `live`.
    pub live: bool,
    /// Path of the function: `tests::task_1_3::task_1_3_fills_a_freed_place`.
    pub path: String,
}

impl Check {
    /// The check of a test's path; `None` for what is no check of the course.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let mut modules: Vec<&str> = path.split("::").collect();
        let name = modules.pop()?;
        // A learner's own tests live elsewhere, whatever they are called.
        let ours = modules.first() == Some(&"tests");
        let task = TaskId::of_name(name).filter(|id| name.starts_with(&id.check_prefix()))?;
        ours.then(|| Self { task, live: modules.contains(&"live"), path: path.to_owned() })
    }

    /// Name of the function: `task_1_3_fills_a_freed_place`.
    #[must_use]
    pub fn function(&self) -> &str {
        self.path.rsplit("::").next().unwrap_or(&self.path)
    }

    /// What it wants, as a sentence: `fills a freed place`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let name = self.function();
        name.strip_prefix(&self.task.check_prefix()).unwrap_or(name).replace('_', " ")
    }
}

/// The checks of a built program, by task, pure ones first.
///
/// # Errors
/// [`GradeError`] when the program cannot be started, or was stopped. A program that starts but does not list
/// its tests has none.
pub fn list_checks(program: &Path, stop: &Stop) -> Result<Vec<Check>, GradeError> {
    let here = ScratchDir::new()?;
    let args = ["--list", "--format", "terse", "--include-ignored"].map(str::to_owned).to_vec();
    let env = outcome::clean_environment(here.path());
    let program = sandbox::Program { path: program.into(), args, env, dir: here.path().into() };
    let run = sandbox::run(&program, &Limits::pure(LIST_LIMIT), stop)?;
    if let Ending::NotStarted(reason) = run.ending {
        return Err(GradeError::Sandbox(std::io::Error::other(reason)));
    }
    let paths = run.stdout.lines().filter_map(|line| line.strip_suffix(": test"));
    let mut checks: Vec<Check> = paths.filter_map(Check::of_path).collect();
    checks.sort_by(|a, b| (a.task, a.live, &a.path).cmp(&(b.task, b.live, &b.path)));
    Ok(checks)
}

/// The names of the check functions in a lab's sources, in their order, so that none can go missing unseen.
pub(crate) fn expected_functions(files: &Files) -> Vec<String> {
    let sources = files.iter().filter(|(path, _)| is_check(path));
    let texts = sources.filter_map(|(_, content)| str::from_utf8(content).ok());
    texts.flat_map(|text| text.lines().filter_map(function_of)).collect()
}

/// `fn task_1_3_fills(` in a line that defines it.
fn function_of(line: &str) -> Option<String> {
    let name = line.trim_start().strip_prefix("fn ")?.split(['(', '<']).next()?;
    let id = TaskId::of_name(name)?;
    name.starts_with(&id.check_prefix()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_its_task_its_kind_and_its_wish() {
        let check = Check::of_path("tests::live::task_1_3_beats_the_baseline").unwrap();
        assert_eq!(check.task, TaskId { lab: 1, task: 3 });
        assert!(check.live);
        assert_eq!(check.sentence(), "beats the baseline");
    }

    #[test]
    fn what_a_learner_calls_a_test_is_no_check() {
        assert_eq!(Check::of_path("phases::tests::task_1_1_always_passes"), None);
        assert_eq!(Check::of_path("tests::helpers_work"), None);
        assert_eq!(Check::of_path("tests::task_1_1"), None);
    }

    #[test]
    fn functions_are_found_in_the_sources_of_checks_only() {
        let source = b"    fn task_1_1_adds(x in 0..9) {\nfn helper() {}\n// fn task_1_1_no()\n";
        let files = Files::from([
            ("src/tests/sums.rs".into(), source.to_vec()),
            ("src/sums.rs".into(), b"fn task_1_1_other() {}".to_vec()),
        ]);
        assert_eq!(expected_functions(&files), ["task_1_1_adds"]);
    }
}
