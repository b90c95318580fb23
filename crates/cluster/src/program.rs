//! Other people's programs: found on the PATH, run, and quoted when they fail.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::ClusterError;

/// Lines of a failed program that are quoted.
const QUOTED_LINES: usize = 5;

/// Where a program is on the PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Runs a command to its end and gives what it wrote to standard output.
///
/// # Errors
/// With the end of what it said, if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, ClusterError> {
    let program = PathBuf::from(command.get_program());
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| ClusterError::Spawn { program, cause })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let said = last_lines(&String::from_utf8_lossy(&output.stderr));
    Err(ClusterError::Failed { command: words.join(" "), said })
}

/// The end of a text.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}
