//! The supervisor's side: this program, started again with a hidden argument.

use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use process_tree::this_program;

use super::contain::{Mode, contain};
use super::{Order, confine};

/// First argument that makes this program a supervisor.
pub(super) const FLAG: &str = "--grader-supervise";

static AVAILABLE: AtomicBool = AtomicBool::new(false);

/// The program to start as a supervisor, if this one has called [`maybe_run_supervisor`].
pub(super) fn available() -> Option<PathBuf> {
    AVAILABLE.load(Ordering::Relaxed).then(|| this_program().ok()).flatten()
}

/// To be called first thing in `main`. Comes back in a normal start; does not in one that the grader made.
pub fn maybe_run_supervisor() {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(flag) if flag == FLAG => std::process::exit(supervise()),
        Some(flag) if flag == confine::FLAG => {
            let reason = confine::become_program(arguments);
            let mut stderr = std::io::stderr();
            let _nowhere_else_to_say_it = writeln!(stderr, "{NOT_STARTED}{reason}");
            std::process::exit(NOT_STARTED_STATUS);
        }
        _ => {}
    }
    if cfg!(unix) {
        super::processes::adopt_orphans();
        super::processes::spare_children();
        AVAILABLE.store(true, Ordering::Relaxed);
    }
}

/// How a check that could not be started says so; with [`NOT_STARTED_STATUS`].
pub(super) const NOT_STARTED: &str = "grader: not started: ";
/// Exit status of a check that could not be started.
pub(super) const NOT_STARTED_STATUS: i32 = 126;

/// Reads an order, carries it out, writes the report. Ends early when standard input closes.
fn supervise() -> i32 {
    static ALONE: AtomicBool = AtomicBool::new(false);

    super::processes::adopt_orphans();
    let mut stdin = std::io::stdin().lock();
    let mut line = String::new();
    let order = match stdin.read_line(&mut line) {
        Ok(_) => serde_json::from_str::<Order>(&line),
        Err(_) => return 2,
    };
    drop(stdin);
    let Ok(Order { program, limits }) = order else { return 2 };
    std::thread::spawn(|| {
        let mut rest = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut rest), Ok(read) if read > 0) {}
        ALONE.store(true, Ordering::Relaxed);
    });
    let alone = || ALONE.load(Ordering::Relaxed);
    let contained = contain(&program, &limits, Mode::Supervised, &alone);
    let Ok(mut report) = serde_json::to_vec(&contained) else { return 2 };
    report.push(b'\n');
    let mut stdout = std::io::stdout();
    let sent = stdout.write_all(&report).and_then(|()| stdout.flush());
    i32::from(sent.is_err())
}
