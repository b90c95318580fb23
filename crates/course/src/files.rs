//! The files of a folder, in memory, keyed by path relative to the folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{CourseError, Lab, MANIFEST, Side};

/// Relative path to content, in the order of the paths.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The checks of a lab, relative to its folder.
pub const TESTS_DIR: &str = "src/tests";

/// Whether a file of a lab is one of its checks: in [`TESTS_DIR`], or the module that lists them.
#[must_use]
pub fn is_check(path: &Path) -> bool {
    path.starts_with(TESTS_DIR) || path.with_extension("") == Path::new(TESTS_DIR)
}

/// The wrong answers that a lab's checks must reject, relative to the solution's folder.
pub const MUTANTS_DIR: &str = "mutants";

/// Every file below a folder but hidden ones and build outputs (`target/`).
///
/// # Errors
/// [`CourseError::Read`] where a file or folder cannot be read.
pub fn read_files(folder: &Path) -> Result<Files, CourseError> {
    let mut files = Files::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = folder.join(&relative);
        let failed = |source| CourseError::Read { file: path.clone(), source };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') || name == "target" {
                continue;
            }
            let relative = relative.join(name);
            if entry.file_type().map_err(failed)?.is_dir() {
                pending.push(relative);
            } else {
                let file = entry.path();
                let content = fs::read(&file).map_err(|source| CourseError::Read { file, source });
                files.insert(relative, content?);
            }
        }
    }
    Ok(files)
}

/// The files of a solution that a lab is made of: all but `lab.toml` and the mutants, which stay with the
/// staff, and its README.
///
/// # Errors
/// [`CourseError::Read`] where a file or folder cannot be read.
pub fn solution_files(lab: &Lab) -> Result<Files, CourseError> {
    let mut files = read_files(&lab.dir(Side::Solution))?;
    files.retain(|path, _| {
        !path.starts_with(MUTANTS_DIR)
            && path != Path::new(MANIFEST)
            && path != Path::new("README.md")
    });
    Ok(files)
}
