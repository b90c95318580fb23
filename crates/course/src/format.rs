//! Generated sources as rustfmt would have them: dropped regions leave blank lines and short blocks.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::is_rust;
use crate::{CourseError, Files};

/// The files, with every Rust file that differs from `original` run through rustfmt, under the
/// `rustfmt.toml` of the repository at `root`. Files that did not change keep every byte.
///
/// # Errors
/// [`CourseError::Rustfmt`] where rustfmt cannot be started, or refuses a file.
pub fn formatted(mut files: Files, original: &Files, root: &Path) -> Result<Files, CourseError> {
    for (path, content) in &mut files {
        if is_rust(path) && original.get(path) != Some(content) {
            *content = rustfmt(content, root)
                .map_err(|problem| CourseError::Rustfmt { file: path.clone(), problem })?;
        }
    }
    Ok(files)
}

fn rustfmt(source: &[u8], root: &Path) -> Result<Vec<u8>, String> {
    let config = root.join("rustfmt.toml");
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout"])
        .args(
            config
                .is_file()
                .then_some(["--config-path".as_ref(), config.as_os_str()])
                .iter()
                .flatten(),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{error}; `rustup component add rustfmt` installs it"))?;
    // rustfmt reads all of its input before it writes, so this cannot block on a full pipe.
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let written = stdin.write_all(source);
    drop(stdin);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    written.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
