//! Small writes done carefully.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::GradeError;

/// Writes a file unless it has that content already: an untouched time stamp is a build that need not happen.
pub(crate) fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool, GradeError> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    write_atomically(path, content).map(|()| true)
}

/// Writes a file so that a reader, or a crash, meets the old content or the new, and nothing between.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), GradeError> {
    let failed = || GradeError::file("cannot write", path);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed())?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", unique()));
    let new = folder.join(name);
    let written = File::create_new(&new)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|error| {
        let _nothing_to_remove = fs::remove_file(&new);
        failed()(error)
    })
}

/// Differs from every other value of every process that is alive.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An empty folder of its own, which goes with all in it when this value does.
pub(crate) struct ScratchDir(PathBuf);

impl ScratchDir {
    /// Makes it below the system's folder for temporary files.
    pub(crate) fn new() -> Result<Self, GradeError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("llm-lab-{}-{}", unique(), since.subsec_nanos());
        let path = std::env::temp_dir().join(name);
        // Fails where there is something of that name, so that nobody can have prepared it.
        fs::create_dir(&path).map_err(GradeError::file("cannot make", &path))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _the_system_clears_up = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_leaves_one_file_with_the_new_content() {
        let dir = ScratchDir::new().unwrap();
        let path = dir.path().join("sub/file");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path().join("sub")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_right_already_is_not_written() {
        let dir = ScratchDir::new().unwrap();
        let path = dir.path().join("file");
        assert!(write_if_changed(&path, b"one").unwrap());
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        assert!(!write_if_changed(&path, b"one").unwrap());
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
    }

    #[test]
    fn a_scratch_folder_goes_with_its_value() {
        let dir = ScratchDir::new().unwrap();
        let path = dir.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(dir);
        assert!(!path.exists());
    }
}
