//! Regenerates `labs/` from `solutions/`, or says how they differ.
//!
//! Never gives up an edit: a file of `labs/` is overwritten only where git has its content, or where the
//! content is what the last `sync` wrote (kept in `target/author/synced/`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use course::{Course, Files, Side, read_files, starter};

use crate::AuthorError;

/// Where the last written starters are kept, below the repository's root.
const SYNCED: &str = "target/author/synced";

/// How `labs/` differs from what the solutions give.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Generated files that are missing or have another content; relative to the repository's root.
    pub changes: Vec<Change>,
    /// What is in `labs/` and comes from no solution: `sync` leaves it alone, and it has to go.
    pub strangers: Vec<PathBuf>,
}

/// One file that regenerating changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// Relative to the repository's root.
    pub path: PathBuf,
    /// What is there, if anything.
    pub found: Option<Vec<u8>>,
    /// What should be there.
    pub generated: Vec<u8>,
}

/// Compares `labs/` with what the solutions give. Writes nothing.
///
/// # Errors
/// [`AuthorError::Course`] where a starter cannot be generated or a file cannot be read.
pub fn compare(course: &Course) -> Result<SyncReport, AuthorError> {
    let mut generated = Files::new();
    for lab in &course.labs {
        let folder = lab.folder(Side::Learner);
        let files = starter(lab)?.into_iter();
        generated.extend(files.map(|(path, content)| (folder.join(path), content)));
    }
    let labs = course.root.join("labs");
    let on_disk: Files = if labs.is_dir() {
        let found = read_files(&labs)?.into_iter();
        found.map(|(path, content)| (Path::new("labs").join(path), content)).collect()
    } else {
        Files::new()
    };
    let strangers = on_disk.keys().filter(|path| !generated.contains_key(*path)).cloned().collect();
    let differs = |(path, content): &(PathBuf, Vec<u8>)| on_disk.get(path) != Some(content);
    let changes = generated
        .into_iter()
        .filter(differs)
        .map(|(path, generated)| Change { found: on_disk.get(&path).cloned(), path, generated })
        .collect();
    Ok(SyncReport { changes, strangers })
}

/// Writes what [`compare`] found to differ; strangers stay.
///
/// # Errors
/// [`AuthorError::Edited`], before anything is written, where that would give up an edit and `force` is not
/// set; [`AuthorError::Write`] where a file cannot be written.
pub fn write(course: &Course, report: &SyncReport, force: bool) -> Result<(), AuthorError> {
    let synced = course.root.join(SYNCED);
    let is_edit = |change: &&Change| {
        change.found.as_ref().is_some_and(|found| {
            fs::read(synced.join(&change.path)).ok().as_ref() != Some(found)
                && committed(&course.root, &change.path).as_ref() != Some(found)
        })
    };
    let edited: Vec<PathBuf> =
        report.changes.iter().filter(is_edit).map(|change| change.path.clone()).collect();
    if !edited.is_empty() && !force {
        return Err(AuthorError::Edited(edited));
    }
    for change in &report.changes {
        put(&course.root.join(&change.path), &change.generated)?;
        put(&synced.join(&change.path), &change.generated)?;
    }
    Ok(())
}

/// Writes a file whole or not at all.
fn put(file: &Path, content: &[u8]) -> Result<(), AuthorError> {
    let failed = |source| AuthorError::Write { file: file.to_owned(), source };
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    fs::write(&new, content).and_then(|()| fs::rename(&new, file)).map_err(failed)
}

/// The content of a file in git's last commit; `None` where git cannot tell.
fn committed(root: &Path, path: &Path) -> Option<Vec<u8>> {
    let output = Command::new("git")
        .args(["cat-file", "blob", &format!("HEAD:./{}", path.display())])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then_some(output.stdout)
}

impl SyncReport {
    /// Whether `labs/` is exactly what the solutions give.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.changes.is_empty() && self.strangers.is_empty()
    }
}

impl Change {
    /// A unified diff from what is there to what should be.
    #[must_use]
    pub fn diff(&self) -> String {
        let found = String::from_utf8_lossy(self.found.as_deref().unwrap_or_default());
        let generated = String::from_utf8_lossy(&self.generated);
        let name = self.path.display().to_string();
        diffy::DiffOptions::new()
            .set_original_filename(format!("{name} (found)"))
            .set_modified_filename(format!("{name} (generated)"))
            .create_patch(&found, &generated)
            .to_string()
    }
}
