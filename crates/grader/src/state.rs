//! What is remembered between runs, in `.lab/state.json`: best verdicts, hints shown and live checks passed, by task.
//!
//! A file that cannot be read, or is of a newer version, is moved aside and told of: never lost, never a crash.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use course::TaskId;
use serde::{Deserialize, Serialize};

use crate::files::write_atomically;
use crate::{CheckVerdict, GradeError, Report, TaskReport, Verdict};

/// The version of the file that this program reads and writes.
const VERSION: u32 = 1;

/// All that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// By task; one that was never graded nor asked about is absent.
    #[serde(default)]
    pub tasks: BTreeMap<TaskId, TaskState>,
}

/// What is remembered of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// The best verdict so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Verdict>,
    /// The most points so far.
    #[serde(default)]
    pub points: u32,
    /// Hints shown, of three.
    #[serde(default)]
    pub hints_shown: usize,
    /// Live checks that passed when they ran last, each with the key of what they ran on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub live: BTreeMap<String, String>,
}

impl Default for State {
    fn default() -> Self {
        Self { version: VERSION, tasks: BTreeMap::new() }
    }
}

impl State {
    /// Reads the state of a repository. The second value is a line to show when the file was moved aside.
    ///
    /// # Errors
    /// [`GradeError::File`] when the file is there and can be neither read nor moved.
    pub fn load(root: &Path) -> Result<(Self, Option<String>), GradeError> {
        let path = path(root);
        let problem = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((Self::default(), None));
            }
            Err(error) => error.to_string(),
            Ok(text) => match serde_json::from_slice::<Self>(&text) {
                Ok(state) if state.version == VERSION => return Ok((state, None)),
                Ok(state) => format!("it is of version {}, not {VERSION}", state.version),
                Err(error) => error.to_string(),
            },
        };
        let aside = aside(&path);
        fs::rename(&path, &aside).map_err(GradeError::file("cannot move aside", &path))?;
        let (path, aside) = (path.display(), aside.display());
        let line = format!("{path} cannot be used ({problem}); kept as {aside}, begun anew");
        Ok((Self::default(), Some(line)))
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`GradeError::File`] when that fails; the old file is then still whole.
    pub fn save(&self, root: &Path) -> Result<(), GradeError> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| GradeError::file("cannot write", path(root))(error.into()))?;
        text.push(b'\n');
        write_atomically(&path(root), &text)
    }

    /// What is remembered of a task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> TaskState {
        self.tasks.get(&id).cloned().unwrap_or_default()
    }

    /// Whether this live check passed when it last ran, on what has this key.
    #[must_use]
    pub fn passed_live(&self, id: TaskId, function: &str, key: &str) -> bool {
        self.tasks.get(&id).and_then(|task| task.live.get(function)).is_some_and(|had| had == key)
    }

    /// Takes over what a report has that is better, and what became of live checks. A task without a verdict changes nothing.
    pub fn record(&mut self, report: &Report) {
        for graded in &report.tasks {
            let known = self.tasks.entry(graded.task.id).or_default();
            known.record_live(graded);
            match graded.verdict {
                Verdict::Pass => {
                    known.best = Some(Verdict::Pass);
                    known.points = known.points.max(graded.task.points);
                }
                // A task whose `todo!` still stands was not begun.
                Verdict::Fail if !graded.unsolved() => {
                    known.best = known.best.or(Some(Verdict::Fail));
                }
                Verdict::Fail | Verdict::Unknown | Verdict::Wait => {}
            }
        }
    }
}

impl TaskState {
    /// Keeps which live checks passed, and on what. One that failed or has no verdict must run again; one that was not due
    /// stays as it is.
    fn record_live(&mut self, graded: &TaskReport) {
        for report in graded.checks.iter().filter(|report| report.check.live) {
            let function = report.check.function();
            match (&report.verdict, &graded.live_key) {
                (CheckVerdict::NotRun(_), _) => {}
                (CheckVerdict::Pass, Some(key)) => {
                    self.live.insert(function.to_owned(), key.clone());
                }
                _ => drop(self.live.remove(function)),
            }
        }
    }
}

/// The best verdict on a task so far.
#[must_use]
pub fn saved_verdict(state: &State, id: TaskId) -> Option<Verdict> {
    state.tasks.get(&id)?.best
}

fn path(root: &Path) -> PathBuf {
    root.join(".lab/state.json")
}

/// The first free name of `state.json.broken-1`, `-2`, ...
fn aside(path: &Path) -> PathBuf {
    let name = |number: u32| path.with_extension(format!("json.broken-{number}"));
    (1..u32::MAX).map(name).find(|aside| !aside.exists()).unwrap_or_else(|| name(0))
}

/// Held while a lab is graded or its files are changed: two runs at once would mix up their trees.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock, or says who has it. The system lets go of it when this process ends, however that is.
    ///
    /// # Errors
    /// [`GradeError::Busy`] when another process has it, [`GradeError::File`] when it cannot be made.
    pub fn take(root: &Path) -> Result<Self, GradeError> {
        let path = root.join(".lab/lock");
        let failed = || GradeError::file("cannot lock", &path);
        fs::create_dir_all(root.join(".lab")).map_err(failed())?;
        let mut options = File::options();
        let mut file =
            options.create(true).write(true).truncate(false).open(&path).map_err(failed())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                return Err(GradeError::Busy(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        file.set_len(0).map_err(failed())?;
        writeln!(file, "{}", std::process::id()).map_err(failed())?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TaskId = TaskId { lab: 1, task: 2 };

    fn written(text: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        write_atomically(&path(root.path()), text.as_bytes()).unwrap();
        root
    }

    #[test]
    fn comes_back_as_it_was_saved() {
        let root = tempfile::tempdir().unwrap();
        let mut state = State::default();
        let live = BTreeMap::from([("task_1_2_serves".to_owned(), "ab12".to_owned())]);
        let solved = TaskState { best: Some(Verdict::Pass), points: 20, hints_shown: 2, live };
        state.tasks.insert(ID, solved);
        state.save(root.path()).unwrap();
        assert_eq!(State::load(root.path()).unwrap(), (state, None));
    }

    #[test]
    fn only_a_live_check_that_passed_on_the_same_is_believed() {
        let mut task = TaskState::default();
        let key = |name: &str| Some(name.to_owned());
        let passed = |task: &TaskState, key: &str| {
            let state = State { tasks: BTreeMap::from([(ID, task.clone())]), ..State::default() };
            state.passed_live(ID, "task_1_2_serves", key)
        };
        task.record_live(&crate::report::live_report(CheckVerdict::Pass, key("one")));
        assert!(passed(&task, "one") && !passed(&task, "two"));
        task.record_live(&crate::report::live_report(CheckVerdict::NotRun("later".into()), None));
        assert!(passed(&task, "one"), "it was not due");
        let unknown = CheckVerdict::Unknown("the machine is busy".into());
        task.record_live(&crate::report::live_report(unknown, key("one")));
        assert!(!passed(&task, "one"), "no verdict is kept");
        task.record_live(&crate::report::live_report(CheckVerdict::Pass, None));
        assert!(task.live.is_empty(), "nobody knows what it ran on");
    }

    #[test]
    fn a_file_from_before_live_checks_were_kept_is_read() {
        let root = written(r#"{"version":1,"tasks":{"1.2":{"best":"PASS","points":20}}}"#);
        let (state, line) = State::load(root.path()).unwrap();
        assert_eq!((state.task(ID).points, line), (20, None));
    }

    #[test]
    fn a_broken_file_is_kept_beside_the_new_one() {
        for _ in 0..2 {
            let root = written("{\"version\":1,\"tasks\":{\"1.2\":");
            let (state, line) = State::load(root.path()).unwrap();
            assert_eq!(state, State::default());
            assert!(line.unwrap().contains("state.json.broken-1"));
            assert!(root.path().join(".lab/state.json.broken-1").is_file());
        }
    }

    #[test]
    fn a_newer_version_is_not_overwritten() {
        let root = written("{\"version\":9,\"tasks\":{}}");
        let line = State::load(root.path()).unwrap().1.unwrap();
        assert!(line.contains("version 9"), "{line}");
        State::default().save(root.path()).unwrap();
        let kept = fs::read_to_string(root.path().join(".lab/state.json.broken-1")).unwrap();
        assert!(kept.contains('9'));
    }

    #[test]
    fn a_second_run_is_told_who_holds_the_lock() {
        let root = tempfile::tempdir().unwrap();
        let first = RunLock::take(root.path()).unwrap();
        let Err(GradeError::Busy(holder)) = RunLock::take(root.path()) else { panic!("not busy") };
        assert_eq!(holder, std::process::id().to_string());
        drop(first);
        RunLock::take(root.path()).unwrap();
    }
}
