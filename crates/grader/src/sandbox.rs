//! Runs one untrusted program and always comes back: with how it ended, what it printed, and no process left.
//!
//! Three processes take part, all of them this very program until the last step:
//!
//! 1. the **grader** starts a supervisor, and holds its standard input open: when that closes, for whatever
//!    reason, the supervisor kills what it watches and ends. So a killed grader leaves nothing behind.
//! 2. the **supervisor** (`supervise`) is in a process group of its own. On Linux it is a child subreaper: what
//!    a check detaches from itself becomes the supervisor's child, and is found and killed.
//! 3. the **check** starts as this program too, sets its limits (`confine`), then becomes the check.
//!
//! A program that never calls [`maybe_run_supervisor`] gets a plain run: process group and time limit only.
//! So does a Unix that is not Linux as far as detached processes go. Time is the program's own: `own_time` says what
//! that is. Out of reach, and documented: a check
//! that runs as root and kills every process of the machine, or the grader and the supervisor at once.

mod capture;
mod confine;
mod contain;
#[cfg(target_os = "linux")]
mod linux;
mod own_time;
mod processes;
mod quota;
mod supervise;

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use capture::Capture;
pub use process_tree::this_program;
pub(crate) use processes::{forget, kill_group, own_group, spawn};
pub use supervise::maybe_run_supervisor;

use crate::{GradeError, Stop};

/// How often a waiting loop looks up.
const TICK: Duration = Duration::from_millis(20);
/// How many times longer than its own time a program may take, before nobody waits for it any longer: the machine may
/// be busy with twenty others.
const PATIENCE: u32 = 15;
/// How long it may take at least, however little time of its own it may have.
const SHORTEST_WAIT: Duration = Duration::from_secs(120);
/// How much longer than the time limit a supervisor may take to clean up and report.
const GRACE: Duration = Duration::from_secs(10);
/// Longest report that is read from a supervisor, in bytes.
const REPORT_BYTES: u64 = 16 << 20;

/// What to run. The environment is exactly `env`: nothing is inherited.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// The file to execute.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Its working directory.
    pub dir: PathBuf,
}

/// What it may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limits {
    /// Its own time until it is killed: that in which it ran, or could have and did not. Without one, only `wall` ends
    /// it.
    pub own: Option<Duration>,
    /// Time until nobody waits for it any longer. That it was not finished then says nothing about it.
    pub wall: Duration,
    /// Bytes kept of each output stream, half from its beginning and half from its end.
    pub kept_bytes: usize,
    /// Bytes of output after which it is killed.
    pub flood_bytes: u64,
    /// Address space in bytes; `None` for what starts a model.
    pub address_space_bytes: Option<u64>,
    /// Longest file that it may write, in bytes.
    pub file_bytes: u64,
    /// Processes alive at once, itself included. The supervisor counts them; the kernel holds a wider limit, in
    /// case they are faster than the count.
    pub processes: usize,
}

impl Limits {
    /// For a check that computes and nothing else: so much time of its own.
    #[must_use]
    pub fn pure(own: Duration) -> Self {
        Self {
            own: Some(own),
            wall: (own * PATIENCE).max(SHORTEST_WAIT),
            kept_bytes: 256 << 10,
            flood_bytes: 32 << 20,
            address_space_bytes: Some(4 << 30),
            file_bytes: 256 << 20,
            processes: 64,
        }
    }

    /// For a check that starts an engine: so much time of the wall's.
    #[must_use]
    pub fn live(wall: Duration) -> Self {
        Self { own: None, wall, address_space_bytes: None, ..Self::pure(wall) }
    }
}

/// How a contained program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal that was not ours: `SIGABRT`.
    Signal(String),
    /// Killed when it had used up its own time.
    TimeLimit,
    /// Killed when nobody would wait any longer, though it had time of its own left.
    WallLimit,
    /// Killed with this many processes alive.
    TooManyProcesses(usize),
    /// Killed after this many bytes of output.
    Flood(u64),
    /// Killed because the grader was told to stop.
    Stopped,
    /// It killed the process that watched over it.
    SupervisorKilled,
    /// It never started, for this reason.
    NotStarted(String),
}

/// What is known about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contained {
    /// How it ended.
    pub ending: Ending,
    /// What it printed on standard output.
    pub stdout: Capture,
    /// What it printed on standard error.
    pub stderr: Capture,
    /// From start to end.
    pub duration: Duration,
    /// Its own time, as far as anybody looked: a short run is over before.
    pub own: Duration,
    /// The part of it that it spent on a processor.
    pub ran: Duration,
    /// Processes that were still alive when it had ended, and were killed.
    pub strays: usize,
}

impl Contained {
    fn without_output(ending: Ending, started: Instant) -> Self {
        let (stdout, stderr) = (Capture::default(), Capture::default());
        let (own, ran) = (Duration::ZERO, Duration::ZERO);
        Self { ending, stdout, stderr, duration: started.elapsed(), own, ran, strays: 0 }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    program: Program,
    limits: Limits,
}

/// Runs a program to its end, or to the first of its limits.
///
/// # Errors
/// [`GradeError::Sandbox`] when this machine cannot start a process, [`GradeError::Interrupted`] after a stop.
pub fn run(program: &Program, limits: &Limits, stop: &Stop) -> Result<Contained, GradeError> {
    let started = Instant::now();
    let Some(me) = supervise::available() else {
        let contained = contain::contain(program, limits, contain::Mode::Plain, &|| stop.is_set());
        return if stop.is_set() { Err(GradeError::Interrupted) } else { Ok(contained) };
    };
    let mut command = Command::new(me);
    command.arg(supervise::FLAG).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    processes::own_group(&mut command);
    let mut supervisor = processes::spawn(&mut command).map_err(GradeError::Sandbox)?;
    let order = Order { program: program.clone(), limits: limits.clone() };
    let answer = talk(&mut supervisor, &order, stop);
    // Whatever happened, it is gone after this, and what it watched with it.
    let silent = !matches!(answer, Answer::Report(_));
    let late = matches!(answer, Answer::Late) && !processes::is_stopped(supervisor.id());
    if silent {
        let _already_dead = supervisor.kill();
    }
    let _status = supervisor.wait();
    processes::forget(&supervisor);
    if silent {
        processes::kill_adopted();
    }
    match answer {
        _ if stop.is_set() => Err(GradeError::Interrupted),
        Answer::Report(contained) => Ok(*contained),
        // It runs, and the machine does not let it.
        _ if late => Ok(Contained::without_output(Ending::WallLimit, started)),
        _ => Ok(Contained::without_output(Ending::SupervisorKilled, started)),
    }
}

/// What came of an order.
enum Answer {
    Report(Box<Contained>),
    /// The supervisor ended without a report.
    Silence,
    /// It neither ended nor reported.
    Late,
}

/// Gives the order, waits for the report.
fn talk(supervisor: &mut Child, order: &Order, stop: &Stop) -> Answer {
    let (Some(mut lifeline), Some(stdout)) = (supervisor.stdin.take(), supervisor.stdout.take())
    else {
        return Answer::Silence;
    };
    let Ok(mut line) = serde_json::to_vec(order) else { return Answer::Silence };
    line.push(b'\n');
    if lifeline.write_all(&line).is_err() {
        return Answer::Silence;
    }
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = std::io::BufReader::new(stdout.take(REPORT_BYTES)).read_line(&mut text);
        let report = read.ok().and_then(|_| serde_json::from_str(&text).ok());
        let _nobody_waits = sender.send(report.map_or(Answer::Silence, Answer::Report));
    });
    let mut lifeline = Some(lifeline);
    let mut deadline = Instant::now() + order.limits.wall + GRACE;
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Disconnected) => return Answer::Silence,
            Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => return Answer::Late,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if stop.is_set() && lifeline.take().is_some() {
            deadline = Instant::now() + GRACE;
        }
    }
}
