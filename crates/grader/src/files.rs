//! Small writes done carefully.

use std::fs;
use std::io::Write;
use std::path::Path;

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
    let mut file =
        tempfile::Builder::new().permissions(permissions()).tempfile_in(folder).map_err(failed())?;
    file.write_all(content).map_err(failed())?;
    file.persist(path).map_err(|error| failed()(error.error))?;
    Ok(())
}

/// Those that an ordinary new file has; the umask still applies. Temporary files are private otherwise.
#[cfg(unix)]
fn permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

#[cfg(not(unix))]
fn permissions() -> fs::Permissions {
    fs::metadata(".").map(|here| here.permissions()).unwrap_or_else(|_| unreachable!("no folder"))
}
