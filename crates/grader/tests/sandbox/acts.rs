//! What a misbehaving check does.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, kill};
use nix::unistd::{Pid, getppid, setsid};

/// Longer than any time limit here, and short enough that a mistake in the tests does not stay.
const LONG: Duration = Duration::from_secs(60);

/// Does it.
pub(crate) fn play(act: &str) {
    match act {
        "well-behaved" => {
            println!("to standard output");
            eprintln!("to standard error");
        }
        "sleep" => std::thread::sleep(LONG),
        "busy" => loop {
            std::hint::black_box(());
        },
        "deaf" => {
            ignore_polite_signals();
            std::thread::sleep(LONG);
        }
        "panic" => panic!("as told"),
        "abort" => std::process::abort(),
        "overflow" => println!("{}", endless(1)),
        "exit" => std::process::exit(0),
        "memory" => drop(std::hint::black_box(vec![1_u8; 6 << 30])),
        "flood" => loop {
            let _closed = std::io::stdout().write_all(&[b'x'; 4096]);
        },
        "bomb" => loop {
            let _full = again("bomb").spawn();
        },
        // The check itself is over at once; the bomb goes on.
        "shell-bomb" => drop(Command::new("sh").args(["-c", "b() { b | b & }; b"]).status()),
        "daemonise" => {
            let _waited = again("detach").status();
            println!("the check is over");
        }
        "detach" => {
            setsid().expect("a new session");
            let mut daemon = again("deaf");
            let daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            // Its parent ends at once: that is what detaches it.
            std::mem::forget(daemon.expect("a daemon"));
        }
        "kill-group" => kill(Pid::from_raw(0), Signal::SIGKILL).expect("our own group"),
        "kill-supervisor" => {
            let _waited = again("detach").status();
            kill(getppid(), Signal::SIGKILL).expect("the supervisor");
            std::thread::sleep(LONG);
        }
        // A grader of its own, which runs a check that daemonises and then hangs.
        "grader" => {
            let _killed = crate::cases::run(
                "daemonise-and-hang",
                LONG,
                &std::env::var("MARK").expect("a mark"),
            );
        }
        "daemonise-and-hang" => {
            let _waited = again("detach").status();
            std::thread::sleep(LONG);
        }
        other => panic!("no act {other}"),
    }
}

fn again(act: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env("ACT", act);
    command
}

#[allow(unconditional_recursion, reason = "it is the act")]
fn endless(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    endless(room[7] + 1) + room[9]
}

#[allow(unsafe_code, reason = "ignoring a signal runs no handler, so nothing can go wrong in one")]
fn ignore_polite_signals() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // SAFETY: SigIgn installs no handler.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }.expect("a known signal");
    }
}
