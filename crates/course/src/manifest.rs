//! `lab.toml` as it is written: parsed, and checked key by key for what needs no other file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::{CourseError, Task, TaskId, is_check};

/// Name of the file, in the folder of a solution.
pub const MANIFEST: &str = "lab.toml";

/// Longest allowed time limit of one check.
const MAX_TIME_LIMIT: Duration = Duration::from_secs(900);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) number: u32,
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) chapter: PathBuf,
    pub(crate) engine: Option<String>,
    pub(crate) on: Option<String>,
    #[serde(default = "yes")]
    pub(crate) model: bool,
    #[serde(default, rename = "image")]
    pub(crate) images: Vec<ImageProgram>,
    #[serde(default, rename = "program")]
    pub(crate) programs: Vec<Built>,
    #[serde(rename = "task")]
    tasks: Vec<TaskEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskEntry {
    id: TaskId,
    title: String,
    points: u32,
    files: Vec<PathBuf>,
    #[serde(default)]
    needs: Vec<TaskId>,
    chapter: PathBuf,
    time_limit_s: u64,
    #[serde(default)]
    live_time_limit_s: Option<u64>,
    hints: Vec<String>,
}

/// A program that pods of live checks run, and what manifests call it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageProgram {
    /// The image's name, like `llm-lab/engine`.
    pub name: String,
    /// Where it is from; none: it is the lab's own engine, the learner's code.
    pub from: Option<Built>,
}

/// A program of another package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Built {
    /// The package.
    pub package: String,
    /// The program.
    pub bin: String,
    /// Its features.
    #[serde(default)]
    pub features: Vec<String>,
}

fn yes() -> bool {
    true
}

/// Makes [`CourseError::Key`] errors for one `lab.toml`.
pub(crate) struct Keys {
    pub(crate) file: PathBuf,
}

impl Keys {
    pub(crate) fn wrong(&self, key: impl Into<String>, problem: String) -> CourseError {
        CourseError::Key { file: self.file.clone(), key: key.into(), problem }
    }

    pub(crate) fn wrong_in(&self, id: TaskId, key: &str, problem: String) -> CourseError {
        self.wrong(format!("task {id}, {key}"), problem)
    }
}

/// Reads and checks a `lab.toml`. Regions are looked at elsewhere.
pub(crate) fn read(folder: &Path) -> Result<(Manifest, Vec<Task>), CourseError> {
    let file = folder.join(MANIFEST);
    let text = fs::read_to_string(&file)
        .map_err(|source| CourseError::Read { file: file.clone(), source })?;
    let mut manifest: Manifest = toml::from_str(&text)
        .map_err(|source| CourseError::Toml { file: file.clone(), source: Box::new(source) })?;
    let keys = Keys { file };
    check_lab(&keys, &manifest, folder)?;
    let mut tasks: Vec<Task> = Vec::new();
    for entry in std::mem::take(&mut manifest.tasks) {
        check_place(&keys, &entry, &tasks, manifest.number)?;
        tasks.push(task(&keys, entry, folder)?);
    }
    Ok((manifest, tasks))
}

fn check_lab(keys: &Keys, manifest: &Manifest, folder: &Path) -> Result<(), CourseError> {
    let Manifest { number, id, .. } = manifest;
    let name = id.strip_prefix(&format!("{number:02}-")).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=99).contains(number) {
        return Err(keys.wrong("number", format!("expected 1 to 99, found {number}")));
    }
    if name.is_empty() || !name.bytes().all(plain) {
        let expected = format!("expected \"{number:02}-\" and a lower-case name, found {id:?}");
        return Err(keys.wrong("id", expected));
    }
    if folder.file_name().is_none_or(|found| found.to_string_lossy() != *id) {
        let problem =
            format!("expected the name of the folder, {}, found {id:?}", folder.display());
        return Err(keys.wrong("id", problem));
    }
    if manifest.title.trim().is_empty() {
        return Err(keys.wrong("title", "is empty".to_owned()));
    }
    if manifest.engine.as_deref() == Some("") {
        return Err(keys.wrong("engine", "is empty: leave it out where there is none".to_owned()));
    }
    if manifest.on.as_deref() == Some("") {
        return Err(
            keys.wrong("on", "is empty: leave it out for processes of this machine".to_owned())
        );
    }
    for image in &manifest.images {
        let problem = if image.name.is_empty() {
            "has no name"
        } else if image.from.is_none() && manifest.engine.is_none() {
            "is from nowhere: the lab has no engine"
        } else {
            continue;
        };
        return Err(keys.wrong("image", format!("{:?} {problem}", image.name)));
    }
    if manifest.tasks.is_empty() {
        return Err(keys.wrong("task", "the lab has no task".to_owned()));
    }
    Ok(())
}

/// The task's id, and what it needs among those before it.
fn check_place(
    keys: &Keys,
    entry: &TaskEntry,
    before: &[Task],
    number: u32,
) -> Result<(), CourseError> {
    let id = entry.id;
    if id.lab != number {
        return Err(keys.wrong_in(id, "id", format!("expected a task of lab {number}")));
    }
    if let Some(last) = before.last().filter(|last| last.id >= id) {
        let problem = format!("expected an id after {}: ids are unique and ascending", last.id);
        return Err(keys.wrong_in(id, "id", problem));
    }
    let mut seen = BTreeSet::new();
    for need in &entry.needs {
        if !before.iter().any(|task| task.id == *need) {
            let problem = format!("{need} is no task before {id}");
            return Err(keys.wrong_in(id, "needs", problem));
        }
        if !seen.insert(need) {
            return Err(keys.wrong_in(id, "needs", format!("{need} is named twice")));
        }
    }
    Ok(())
}

fn task(keys: &Keys, entry: TaskEntry, folder: &Path) -> Result<Task, CourseError> {
    let id = entry.id;
    if entry.title.trim().is_empty() {
        return Err(keys.wrong_in(id, "title", "is empty".to_owned()));
    }
    if entry.points == 0 {
        return Err(keys.wrong_in(id, "points", "expected at least 1".to_owned()));
    }
    if entry.files.is_empty() {
        return Err(keys.wrong_in(id, "files", "expected at least one".to_owned()));
    }
    for file in &entry.files {
        check_file(keys, id, file, folder)?;
    }
    let count = entry.hints.len();
    let hints: [String; 3] = entry
        .hints
        .try_into()
        .map_err(|_| keys.wrong_in(id, "hints", format!("expected exactly 3, found {count}")))?;
    if let Some(index) = hints.iter().position(|hint| hint.trim().is_empty()) {
        return Err(keys.wrong_in(id, "hints", format!("hint {} is empty", index + 1)));
    }
    let live_s = entry.live_time_limit_s.unwrap_or(entry.time_limit_s);
    Ok(Task {
        id,
        title: entry.title,
        points: entry.points,
        files: entry.files,
        needs: entry.needs,
        chapter: entry.chapter,
        time_limit: limit(keys, id, "time_limit_s", entry.time_limit_s)?,
        live_time_limit: limit(keys, id, "live_time_limit_s", live_s)?,
        hints,
        regions: Vec::new(),
    })
}

/// A learner's file: inside `src/`, not a check, and there.
fn check_file(keys: &Keys, id: TaskId, file: &Path, folder: &Path) -> Result<(), CourseError> {
    let plain = file.components().all(|part| matches!(part, Component::Normal(_)));
    let wrong =
        |problem: &str| keys.wrong_in(id, "files", format!("{}: {problem}", file.display()));
    if !plain || !file.starts_with("src") || file.extension().is_none_or(|ext| ext != "rs") {
        return Err(wrong("expected a Rust file below src/"));
    }
    if is_check(file) {
        return Err(wrong("is a check: learners do not edit those"));
    }
    if !folder.join(file).is_file() {
        return Err(wrong("no such file"));
    }
    Ok(())
}

fn limit(keys: &Keys, id: TaskId, key: &str, seconds: u64) -> Result<Duration, CourseError> {
    let limit = Duration::from_secs(seconds);
    if limit.is_zero() || limit > MAX_TIME_LIMIT {
        let max = MAX_TIME_LIMIT.as_secs();
        return Err(keys.wrong_in(
            id,
            key,
            format!("expected 1 to {max} seconds, found {seconds}"),
        ));
    }
    Ok(limit)
}
