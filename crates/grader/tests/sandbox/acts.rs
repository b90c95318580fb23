//! What a misbehaving check does.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Barrier, Mutex};
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
        "deadlock" => deadlock(),
        // The parent waits for a child that never ends.
        "parent-of-busy" => drop(again("busy").status()),
        // One child after the other, each too short to be seen.
        "breeder" => loop {
            let _short = again("well-behaved").stdout(Stdio::null()).stderr(Stdio::null()).status();
        },
        "work" => work(Duration::from_millis(600)),
        // What a busy neighbour does, in a session and so in a scheduling group of its own.
        "neighbour" => {
            setsid().expect("a new session");
            work(LONG);
        }
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

/// Two threads that each wait for what the other holds.
fn deadlock() {
    let (mine, yours) = (Mutex::new(()), Mutex::new(()));
    let both_hold_one = Barrier::new(2);
    let take = |first: &Mutex<()>, second: &Mutex<()>| {
        let _held = first.lock().expect("not poisoned");
        both_hold_one.wait();
        drop(second.lock().expect("not poisoned"));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| take(&mine, &yours));
        scope.spawn(|| take(&yours, &mine));
    });
}

/// Computes for so much processor time.
fn work(long: Duration) {
    use nix::time::{ClockId, clock_gettime};

    let ran = || {
        let clock = ClockId::CLOCK_PROCESS_CPUTIME_ID;
        Duration::from(clock_gettime(clock).expect("a clock of every system"))
    };
    while ran() < long {
        (0..10_000).for_each(|number| _ = std::hint::black_box(number));
    }
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
