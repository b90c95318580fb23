//! Processes by the ids that they wrote down, for tests.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Longer than anything here takes, and than this machine may dawdle.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The ids in a file that is about to be written.
pub(crate) fn ids(file: &Path) -> Vec<Pid> {
    let deadline = Instant::now() + LONG;
    while !file.is_file() {
        assert!(Instant::now() < deadline, "nobody wrote {}", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    let text = std::fs::read_to_string(file).unwrap();
    text.split_whitespace().map(|id| Pid::from_raw(id.parse().unwrap())).collect()
}

/// Waits until none of these processes lives any more.
pub(crate) fn assert_gone(ids: &[Pid]) {
    assert_eq!(ids.len(), 2);
    let deadline = Instant::now() + LONG;
    for &id in ids {
        // A child of a killed parent is reaped by init, in its own time.
        while kill(id, None) != Err(Errno::ESRCH) && !is_zombie(id) {
            assert!(Instant::now() < deadline, "{id} is still alive");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_zombie(id: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}
