//! Starting cargo, and reading what it says.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use crate::sandbox::{Capture, forget, kill_group, own_group, spawn};
use crate::{GradeError, Stop};

/// How often a wait looks at the stop flag.
const TICK: Duration = Duration::from_millis(50);
/// Bytes kept of cargo's messages for people.
const KEPT_BYTES: usize = 64 << 10;
/// Lines of output that may wait to be looked at.
const LINES: usize = 256;

/// A cargo that works in a workspace, free of the variables that the cargo above us has set for us.
#[must_use]
pub fn cargo(workspace: &Path, target: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.current_dir(workspace).env("CARGO_TARGET_DIR", target);
    command.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never");
    command
}

/// Where the repository's builds go: `CARGO_TARGET_DIR`, or `target/` in the repository.
#[must_use]
pub fn target_dir(root: &Path) -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    let dir = chosen.map_or_else(|| root.join("target"), PathBuf::from);
    std::path::absolute(&dir).unwrap_or(dir)
}

/// Runs a command in a process group of its own, hands each line of its standard output to `line`, and
/// returns how it ended with what it said on standard error.
///
/// # Errors
/// [`GradeError::Sandbox`] when it cannot be started, [`GradeError::Interrupted`] after a stop, which kills it.
pub fn run_streaming(
    command: &mut Command,
    stop: &Stop,
    mut line: impl FnMut(&str),
) -> Result<(ExitStatus, Capture), GradeError> {
    own_group(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command).map_err(GradeError::Sandbox)?;
    let lines = read_lines(child.stdout.take());
    let stderr = child.stderr.take();
    let errors = std::thread::spawn(move || {
        stderr.map_or_else(Capture::default, |stream| {
            Capture::drain(stream, KEPT_BYTES, &AtomicU64::new(0))
        })
    });
    loop {
        match lines.recv_timeout(TICK) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if stop.is_set() {
            kill_group(child.id());
            break;
        }
    }
    let status = wait(&mut child)?;
    if stop.is_set() {
        return Err(GradeError::Interrupted);
    }
    Ok((status, errors.join().unwrap_or_default()))
}

fn wait(child: &mut Child) -> Result<ExitStatus, GradeError> {
    let status = child.wait().map_err(GradeError::Sandbox);
    forget(child);
    status
}

fn read_lines(stream: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<String> {
    let (sender, receiver) = sync_channel(LINES);
    if let Some(stream) = stream {
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
    }
    receiver
}
