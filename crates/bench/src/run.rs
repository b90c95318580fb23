//! One program as a process: how long it took, what it used of the processors and of memory, and what it printed.
//!
//! Each has a process group of its own and a time limit. Whatever happens here, an error or Ctrl-C, the group is
//! ended when the [`Process`] goes. A program that leaves its group on purpose is out of reach: peers are trusted.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use grader::Stop;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use wait4::{ResUse, Wait4};

use crate::{BenchError, Task};

/// How often a wait looks at the stop flag.
const TICK: Duration = Duration::from_millis(20);
/// How long a group may take to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long output may stay open after the last process was killed.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);
/// Bytes kept of each output stream: its end.
const KEPT_BYTES: usize = 4 << 20;
/// Lines of output that wait for somebody to look at them; with more, nobody does.
const LINES: usize = 64;
/// Lines of output that an error shows.
const TAIL_LINES: usize = 12;

/// A run that ended with status 0.
#[derive(Debug, Clone)]
pub struct Finished {
    /// From start to end.
    pub wall: Duration,
    /// Processor time in user mode, of the program and of every process below it that was waited for.
    pub user: Duration,
    /// Processor time in the kernel, likewise.
    pub system: Duration,
    /// Most memory that any one of those processes held, in bytes.
    pub peak_rss_bytes: u64,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
}

impl Finished {
    /// Processor time, user and system.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

/// Runs a program to its end.
///
/// # Errors
/// [`BenchError::Spawn`], [`BenchError::TimeLimit`], [`BenchError::Failed`] for any other status than 0, and
/// [`BenchError::Interrupted`].
pub fn run(task: &Task, stop: &Stop) -> Result<Finished, BenchError> {
    Process::start(task)?.finish(stop)
}

/// A program that runs. Dropping it ends its whole group.
#[derive(Debug)]
pub struct Process {
    name: String,
    limit: Duration,
    started: Instant,
    group: Group,
    stdin: Option<ChildStdin>,
    ended: Receiver<(Instant, std::io::Result<ResUse>)>,
    lines: Receiver<String>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// [`BenchError::Spawn`].
    pub fn start(task: &Task) -> Result<Self, BenchError> {
        let name = task.name();
        let started = Instant::now();
        let mut child = task
            .command()
            .spawn()
            .map_err(|cause| BenchError::Spawn { program: name.clone(), cause })?;
        let (line, lines) = sync_channel(LINES);
        let stdout = collect(child.stdout.take(), Some(line));
        let stderr = collect(child.stderr.take(), None);
        let stdin = child.stdin.take();
        let group = Group::led_by(&child);
        let ended = watch(child, group.clone());
        let limit = task.limit;
        Ok(Self { name, limit, started, group, stdin, ended, lines, stdout, stderr })
    }

    /// Its number, while it runs. With [`Task::on_core`], too: `taskset` becomes the program.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.group.id.as_raw().unsigned_abs()
    }

    /// The rest of the next line of its standard output that starts with `prefix`: how a server says where it
    /// listens.
    ///
    /// # Errors
    /// [`BenchError::Failed`] if it ends first, [`BenchError::TimeLimit`], [`BenchError::Interrupted`].
    pub fn announced(
        &self,
        prefix: &str,
        limit: Duration,
        stop: &Stop,
    ) -> Result<String, BenchError> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && !stop.is_set() {
            match self.lines.recv_timeout(TICK) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(prefix) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed(&format!("no line that starts with {prefix:?}")));
                }
            }
        }
        if stop.is_set() { Err(BenchError::Interrupted) } else { Err(self.too_long(limit)) }
    }

    /// Sends an empty line to a program that was started with [`Task::with_questions`], and returns the next line that it
    /// prints.
    ///
    /// # Errors
    /// As [`Process::announced`].
    pub fn ask(&mut self, limit: Duration, stop: &Stop) -> Result<String, BenchError> {
        let sent =
            self.stdin.as_mut().map(|stdin| stdin.write_all(b"\n").and_then(|()| stdin.flush()));
        match sent {
            Some(Ok(())) => self.announced("", limit, stop),
            _ => Err(self.failed("no more questions")),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As [`run`].
    pub fn finish(mut self, stop: &Stop) -> Result<Finished, BenchError> {
        // What reads questions ends when there are no more.
        drop(self.stdin.take());
        let (at, used) = loop {
            match self.ended.recv_timeout(TICK) {
                Ok(ended) => break ended,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed("an end that nobody saw"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if stop.is_set() {
                return Err(BenchError::Interrupted);
            }
            if self.started.elapsed() > self.limit {
                return Err(self.too_long(self.limit));
            }
        };
        let used = used.map_err(|cause| BenchError::Spawn { program: self.name.clone(), cause })?;
        if !used.status.success() {
            return Err(self.failed(&used.status.to_string()));
        }
        Ok(Finished {
            wall: at.duration_since(self.started),
            user: used.rusage.utime,
            system: used.rusage.stime,
            peak_rss_bytes: used.rusage.maxrss,
            stdout: self.stdout.recv_timeout(OUTPUT_GRACE).unwrap_or_default(),
            stderr: self.stderr.recv_timeout(OUTPUT_GRACE).unwrap_or_default(),
        })
    }

    fn failed(&self, status: &str) -> BenchError {
        self.group.end(&self.ended);
        let (program, status) = (self.name.clone(), status.to_owned());
        BenchError::Failed { program, status, tail: self.tail() }
    }

    fn too_long(&self, limit: Duration) -> BenchError {
        self.group.end(&self.ended);
        BenchError::TimeLimit { program: self.name.clone(), limit, tail: self.tail() }
    }

    /// The last lines of standard error, or else of standard output. Only once the group has ended.
    fn tail(&self) -> String {
        let last = |stream: &Receiver<String>| {
            let text = stream.recv_timeout(OUTPUT_GRACE).unwrap_or_default();
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        };
        let errors = last(&self.stderr);
        if errors.is_empty() { last(&self.stdout) } else { errors }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.end(&self.ended);
    }
}

/// A process group whose number nobody else can have while its leader is not reaped.
#[derive(Debug, Clone)]
struct Group {
    id: Pid,
    /// Whether the leader was waited for. Held while a signal is sent.
    reaped: Arc<Mutex<bool>>,
}

impl Group {
    fn led_by(child: &Child) -> Self {
        let id = i32::try_from(child.id()).unwrap_or(i32::MAX);
        Self { id: Pid::from_raw(id), reaped: Arc::new(Mutex::new(false)) }
    }

    fn reaped(&self) -> MutexGuard<'_, bool> {
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) {
        let reaped = self.reaped();
        if !*reaped {
            let _already_gone = killpg(self.id, signal);
        }
    }

    /// Asks, waits a little, kills. The thread that watches takes along what outlives the leader.
    fn end<T>(&self, ended: &Receiver<T>) {
        if *self.reaped() {
            return;
        }
        self.signal(Signal::SIGTERM);
        if ended.recv_timeout(GRACE).is_err() {
            self.signal(Signal::SIGKILL);
            let _killed = ended.recv_timeout(GRACE);
        }
    }
}

/// Waits in a thread for the leader's end, kills what is left of its group, and reaps it.
fn watch(mut child: Child, group: Group) -> Receiver<(Instant, std::io::Result<ResUse>)> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        ended_but_not_reaped(group.id);
        let at = Instant::now();
        let mut reaped = group.reaped();
        let _nobody_left = killpg(group.id, Signal::SIGKILL);
        let used = child.wait4();
        *reaped = true;
        drop(reaped);
        let _nobody_waits = sender.send((at, used));
    });
    receiver
}

/// Returns when the process has ended, and leaves it as a zombie, so that its number stays taken.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn ended_but_not_reaped(pid: Pid) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        == Err(nix::errno::Errno::EINTR)
    {}
}

/// As above, by asking: a zombie's group has nobody to signal.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn ended_but_not_reaped(pid: Pid) {
    while killpg(pid, None).is_ok() {
        std::thread::sleep(TICK);
    }
}

/// Reads a stream to its end in a thread; its last bytes come when it has ended, its first lines at once.
fn collect(
    stream: Option<impl Read + Send + 'static>,
    first_lines: Option<SyncSender<String>>,
) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1);
    let Some(stream) = stream else { return receiver };
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut reader = BufReader::new(stream);
        let mut first_lines = first_lines;
        let mut line = Vec::new();
        while matches!((&mut reader).take(KEPT_BYTES as u64).read_until(b'\n', &mut line), Ok(1..))
        {
            if let Some(waiting) = &first_lines {
                let text = String::from_utf8_lossy(&line).into_owned();
                // Once nobody has looked at so many lines, nobody will.
                if waiting.try_send(text).is_err() {
                    first_lines = None;
                }
            }
            kept.append(&mut line);
            // Seldom, so that a flood costs one copy of each byte and not one a line.
            if kept.len() > 2 * KEPT_BYTES {
                kept.drain(..kept.len() - KEPT_BYTES);
            }
        }
        kept.drain(..kept.len().saturating_sub(KEPT_BYTES));
        let _nobody_waits = sender.send(String::from_utf8_lossy(&kept).into_owned());
    });
    receiver
}
