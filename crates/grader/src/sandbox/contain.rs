//! Starts a program, watches its limits, and clears up after it.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::own_time::OwnTime;
use super::quota::Quota;
use super::supervise::{NOT_STARTED, NOT_STARTED_STATUS};
use super::{Capture, Contained, Ending, Limits, Program, TICK, confine, processes};

/// When the processes of a program are first looked at; then after twice as long each time, up to a limit. Reading `/proc`
/// costs a millisecond for each hundred processes of the machine.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// Longest time between two looks, while the kernel keeps a program from starting many processes meanwhile.
const LONGEST_LOOK: Duration = Duration::from_millis(200);
/// How long the output streams may stay open after the last process was killed.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// Whether this process exists only to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A process among others of a larger program: group and time limit.
    Plain,
    /// A supervisor: all that this process has started, or will adopt, belongs to the program.
    Supervised,
}

/// Runs a program to its end or its first limit. `stopped` is asked now and then.
pub(super) fn contain(
    program: &Program,
    limits: &Limits,
    mode: Mode,
    stopped: &dyn Fn() -> bool,
) -> Contained {
    let started = Instant::now();
    let quota = match mode {
        Mode::Supervised => Quota::new(limits.processes),
        Mode::Plain => Quota::None,
    };
    let mut child = match processes::spawn(&mut command(program, limits, mode, &quota)) {
        Ok(child) => child,
        Err(error) => {
            let reason = format!("{}: {error}", program.path.display());
            return Contained::without_output(Ending::NotStarted(reason), started);
        }
    };
    let output = Output::of(&mut child, limits.kept_bytes);
    let id = child.id();
    let ended = processes::await_exit(child, mode == Mode::Supervised);
    let mut clock = OwnTime::default();
    let looks = Looks {
        group: (mode == Mode::Plain).then_some(id),
        longest: if matches!(quota, Quota::None) { FIRST_LOOK } else { LONGEST_LOOK },
    };
    let ending = watch(&ended, limits, &looks, &output, &mut clock, stopped);
    let duration = started.elapsed();
    let has_ended = matches!(ending, Ending::Exited(_) | Ending::Signal(_));
    let strays = match mode {
        Mode::Supervised
            if has_ended && processes::nobody_is_left(&ended) && quota.members().is_empty() =>
        {
            0
        }
        Mode::Supervised => processes::sweep(|| quota.members()),
        Mode::Plain => {
            processes::kill_group(id);
            0
        }
    };
    drop(quota);
    let (stdout, stderr) = output.collect();
    let not_started = stderr.head.strip_prefix(NOT_STARTED);
    let ending = match (ending, not_started) {
        (Ending::Exited(NOT_STARTED_STATUS), Some(reason)) => {
            Ending::NotStarted(reason.trim().to_owned())
        }
        // Where nobody looks, the kernel counts what it computes: see `confine`.
        (Ending::Signal(signal), _) if signal == "SIGXCPU" => Ending::TimeLimit,
        (ending, _) => ending,
    };
    let (own, ran) = (clock.own(), clock.ran());
    Contained { ending, stdout, stderr, duration, own, ran, strays }
}

fn command(program: &Program, limits: &Limits, mode: Mode, quota: &Quota) -> Command {
    let mut command = match (mode, process_tree::this_program()) {
        (Mode::Supervised, Ok(me)) => {
            let mut command = Command::new(me);
            command.args(confine::arguments(limits, quota)).arg(&program.path);
            command
        }
        _ => {
            let mut command = Command::new(&program.path);
            processes::own_group(&mut command);
            command
        }
    };
    command.args(&program.args).env_clear().envs(&program.env).current_dir(&program.dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How to look at a program.
struct Looks {
    /// The group that it is; `None` where it is all that is below this process.
    group: Option<u32>,
    /// Longest time between two looks.
    longest: Duration,
}

fn watch(
    ended: &Receiver<ExitStatus>,
    limits: &Limits,
    looks: &Looks,
    output: &Output,
    clock: &mut OwnTime,
    stopped: &dyn Fn() -> bool,
) -> Ending {
    let started = Instant::now();
    let (mut looked, mut pause) = (started, FIRST_LOOK);
    loop {
        match ended.recv_timeout(TICK) {
            Ok(status) => return ending(status),
            Err(RecvTimeoutError::Disconnected) => return Ending::SupervisorKilled,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if stopped() {
            return Ending::Stopped;
        }
        let seen = output.seen.load(Ordering::Relaxed);
        if seen > limits.flood_bytes {
            return Ending::Flood(seen);
        }
        let now = Instant::now();
        if now - started > limits.wall {
            return Ending::WallLimit;
        }
        if now - looked < pause {
            continue;
        }
        let Some((alive, look)) = processes::look(looks.group) else { continue };
        if alive > limits.processes {
            return Ending::TooManyProcesses(alive);
        }
        clock.advance(now - looked, look);
        looked = now;
        pause = (pause * 2).min(looks.longest);
        if limits.own.is_some_and(|limit| clock.own() > limit) {
            return Ending::TimeLimit;
        }
    }
}

fn ending(status: ExitStatus) -> Ending {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = nix::sys::signal::Signal::try_from(signal);
        return Ending::Signal(name.map_or(signal.to_string(), |name| name.to_string()));
    }
    Ending::Exited(status.code().unwrap_or(-1))
}

/// Both streams of a program, being read.
struct Output {
    seen: Arc<AtomicU64>,
    streams: [Receiver<Capture>; 2],
}

impl Output {
    fn of(child: &mut Child, kept_bytes: usize) -> Self {
        let seen = Arc::new(AtomicU64::new(0));
        let stdout = child.stdout.take().map(|stream| read(stream, kept_bytes, &seen));
        let stderr = child.stderr.take().map(|stream| read(stream, kept_bytes, &seen));
        let streams = [stdout, stderr].map(|stream| stream.unwrap_or_else(|| sync_channel(1).1));
        Self { seen, streams }
    }

    /// Waits for the end of both streams, but not for ever.
    fn collect(self) -> (Capture, Capture) {
        let deadline = Instant::now() + OUTPUT_GRACE;
        let [stdout, stderr] = self.streams.map(|stream| {
            let left = deadline.saturating_duration_since(Instant::now());
            stream.recv_timeout(left).unwrap_or_default()
        });
        (stdout, stderr)
    }
}

fn read(
    stream: impl std::io::Read + Send + 'static,
    kept_bytes: usize,
    seen: &Arc<AtomicU64>,
) -> Receiver<Capture> {
    let (sender, receiver) = sync_channel(1);
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        let _nobody_waits = sender.send(Capture::drain(stream, kept_bytes, &seen));
    });
    receiver
}
