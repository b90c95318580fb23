//! `--watch`: grades again whenever a file of the lab is saved.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use course::{Lab, Side};
use grader::{GradeError, Stop};
use notify::{EventKind, RecursiveMode, Watcher};

use crate::cli::GradeArgs;
use crate::lab;

/// How often a wait looks at the stop flag.
const TICK: Duration = Duration::from_millis(100);
/// Editors save in several steps: this long without another event is the end of them.
const QUIET: Duration = Duration::from_millis(120);

/// Grades until Ctrl-C; returns the exit status of the last report.
pub(crate) fn run(lab: &Lab, args: &GradeArgs, stop: &Stop) -> Result<u8> {
    let side = if args.solution { Side::Solution } else { Side::Learner };
    let folder = lab.dir(side).join("src");
    // One waiting event says as much as a thousand.
    let (sender, events) = sync_channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
            let _one_is_waiting = sender.try_send(());
        }
    })?;
    watcher
        .watch(&folder, RecursiveMode::Recursive)
        .with_context(|| format!("cannot watch {}", folder.display()))?;
    let mut status = 0;
    loop {
        if lab::is_terminal() {
            anstream::print!("\x1b[2J\x1b[3J\x1b[H");
        }
        match lab::grade_once(lab, args, stop) {
            Ok(report) => status = report.exit_status(),
            Err(error) if matches!(error.downcast_ref(), Some(GradeError::Interrupted)) => {
                return Err(error);
            }
            Err(error) => anstream::eprintln!("{error:#}"),
        }
        anstream::println!("watching {}; Ctrl-C ends", folder.display());
        if !changed(&events, stop) {
            return Ok(status);
        }
    }
}

/// Waits for the next save; false after a stop.
fn changed(events: &Receiver<()>, stop: &Stop) -> bool {
    loop {
        match events.recv_timeout(TICK) {
            Ok(()) => break,
            Err(RecvTimeoutError::Timeout) if !stop.is_set() => {}
            Err(_) => return false,
        }
    }
    while !stop.is_set() && events.recv_timeout(QUIET).is_ok() {}
    !stop.is_set()
}
