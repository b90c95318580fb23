//! Hints, the reference, and the way back to the starter.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use course::{Lab, Side, Task, TaskId, read_files, regions, starter};
use diffy::DiffOptions;

use crate::files::write_atomically;
use crate::{GradeError, State};

/// A hint, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Which one, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// What it says.
    pub text: String,
}

/// What a reset did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// The file, relative to the repository.
    pub file: PathBuf,
    /// Where the learner's version is kept, if there was one.
    pub backup: Option<PathBuf>,
}

/// A region of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolutionText {
    /// Its file and the line it begins in.
    pub place: crate::Place,
    /// The code.
    pub text: String,
    /// What would change in the learner's region, as a unified diff; empty where they are the same.
    pub diff: String,
}

/// A task of a lab.
pub(crate) fn task(lab: &Lab, id: TaskId) -> Result<&Task, GradeError> {
    lab.task(id).ok_or_else(|| {
        let known: Vec<String> = lab.tasks.iter().map(|task| task.id.to_string()).collect();
        GradeError::NoTask { lab: lab.number, task: id, known: known.join(", ") }
    })
}

/// All hints shown so far and the next one, which counts as shown from now on.
///
/// # Errors
/// [`GradeError`] when the task does not exist.
pub fn hint(lab: &Lab, id: TaskId, state: &mut State) -> Result<Vec<Hint>, GradeError> {
    let task = task(lab, id)?;
    let known = state.tasks.entry(id).or_default();
    known.hints_shown = (known.hints_shown + 1).min(task.hints.len());
    let shown = task.hints.iter().take(known.hints_shown).enumerate();
    let of = task.hints.len();
    Ok(shown.map(|(index, text)| Hint { number: index + 1, of, text: text.clone() }).collect())
}

/// The reference's regions of a task, each beside the learner's.
///
/// # Errors
/// [`GradeError`] when the task does not exist or the reference cannot be read.
pub fn solution(lab: &Lab, id: TaskId) -> Result<Vec<SolutionText>, GradeError> {
    let folder = lab.folder(Side::Solution);
    let mut texts = Vec::new();
    for own in &task(lab, id)?.regions {
        let file = folder.join(&own.file);
        let path = lab.root.join(&file);
        let text = fs::read_to_string(&path).map_err(GradeError::file("cannot read", &path))?;
        let reference = own.region.body_of(&text);
        let mine = fs::read_to_string(lab.dir(Side::Learner).join(&own.file)).unwrap_or_default();
        let mine = regions::find(&mine, &own.region.name)
            .map_or("", |region| &mine[region.body.start..region.body.end]);
        let diff = if mine == reference { String::new() } else { diff(mine, reference) };
        let place = crate::Place { file, line: own.region.begin_line + 1 };
        texts.push(SolutionText { place, text: reference.to_owned(), diff });
    }
    Ok(texts)
}

fn diff(mine: &str, reference: &str) -> String {
    let mut options = DiffOptions::new();
    options.set_original_filename("your code").set_modified_filename("the reference");
    options.create_patch(mine, reference).to_string()
}

/// Brings back the starter: a task's files, or every file of the lab that differs. What it replaces is kept
/// below `.lab/backups/`. In a file that other tasks share, only the task's own regions are restored.
///
/// # Errors
/// [`GradeError`] when the task does not exist, or a file cannot be read or written. Nothing is overwritten before
/// it has been saved.
pub fn reset(lab: &Lab, id: Option<TaskId>) -> Result<Vec<Reset>, GradeError> {
    let fresh = starter(lab)?;
    let dir = lab.dir(Side::Learner);
    let task = id.map(|id| task(lab, id)).transpose()?;
    let theirs = if dir.is_dir() { read_files(&dir)? } else { course::Files::new() };
    let wanted = |file: &Path| task.is_none_or(|task| task.files.iter().any(|own| own == file));
    let backups = backup_folder(&lab.root);
    let mut done = Vec::new();
    for (file, content) in fresh.iter().filter(|(file, _)| wanted(file)) {
        let old = theirs.get(file);
        let new = match (task, old) {
            (Some(task), Some(old)) if is_shared(lab, task, file) => {
                regions_restored(task, file, old, content).unwrap_or_else(|| content.clone())
            }
            _ => content.clone(),
        };
        if old == Some(&new) {
            continue;
        }
        let relative = lab.folder(Side::Learner).join(file);
        let backup = old.map(|old| (backups.join(&relative), old));
        if let Some((path, old)) = &backup {
            write_atomically(&lab.root.join(path), old)?;
        }
        write_atomically(&lab.root.join(&relative), &new)?;
        done.push(Reset { file: relative, backup: backup.map(|(path, _)| path) });
    }
    Ok(done)
}

fn is_shared(lab: &Lab, task: &Task, file: &Path) -> bool {
    let mut others = lab.tasks.iter().filter(|other| other.id != task.id);
    others.any(|other| other.files.iter().any(|own| own == file))
}

/// The learner's text with the starter's regions of one task; `None` where a region is not found.
fn regions_restored(task: &Task, file: &Path, old: &[u8], fresh: &[u8]) -> Option<Vec<u8>> {
    let (mut text, fresh) = (String::from_utf8(old.to_vec()).ok()?, str::from_utf8(fresh).ok()?);
    for own in task.regions.iter().filter(|own| own.file == file) {
        let body = regions::find(fresh, &own.region.name)?;
        text = regions::replace(&text, &own.region.name, body.body_of(fresh))?;
    }
    Some(text.into_bytes())
}

/// A new folder's name, relative to the repository: `.lab/backups/2026-11-22T20-29-05Z`.
fn backup_folder(root: &Path) -> PathBuf {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let base = Path::new(".lab/backups").join(date_time(since.as_secs()));
    let name = |number: u32| match number {
        1 => base.clone(),
        _ => base.with_extension(format!("{number}")),
    };
    (1..u32::MAX).map(name).find(|path| !root.join(path).exists()).unwrap_or(base.clone())
}

/// Seconds since 1970 as a date and time in UTC that can be a file name. After Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`.
fn date_time(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::date_time;

    #[test]
    fn dates_are_right_around_leap_days_and_years() {
        assert_eq!(date_time(0), "1970-01-01T00-00-00Z");
        assert_eq!(date_time(951_782_400), "2000-02-29T00-00-00Z");
        assert_eq!(date_time(1_767_225_599), "2025-12-31T23-59-59Z");
        assert_eq!(date_time(1_795_379_345), "2026-11-22T20-29-05Z");
    }
}
