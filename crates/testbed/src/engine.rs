//! Starts an engine for a live check, and tells its failures from the machine's.
//!
//! [`Testbed`] is the seam: an engine is a process, of this machine or, behind a program that takes its place, of a cluster.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Client, unknown};

/// The longest wait for the line that says where an engine listens.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// The longest wait for its model to be loaded.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// Pause between two looks at `/health`.
const POLL: Duration = Duration::from_millis(25);
/// The longest that an engine gets to end by itself.
const END_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two looks at whether it has.
const END_POLL: Duration = Duration::from_millis(5);
/// Lines of an engine's stderr that are kept.
const LOG_LINES: usize = 200;

/// The engine that a check asks for: flags beyond model and port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineSpec {
    /// Names and values; a switch has none.
    flags: BTreeMap<String, Option<String>>,
}

impl EngineSpec {
    /// An engine with its own defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `--name value`, whatever it was before.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.insert(format!("--{name}"), Some(value.to_string()));
        self
    }

    /// Sets `--name`.
    #[must_use]
    pub fn with_switch(mut self, name: &str) -> Self {
        self.flags.insert(format!("--{name}"), None);
        self
    }

    /// The flags as words of a command line.
    fn words(&self) -> impl Iterator<Item = &String> {
        self.flags.iter().flat_map(|(name, value)| [name].into_iter().chain(value))
    }
}

/// A place where engines run.
pub trait Testbed {
    /// Starts an engine and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`].
    fn start(&self, spec: &EngineSpec) -> Result<Box<dyn RunningEngine>, StartError>;
}

/// An engine that serves. Dropping it ends it.
pub trait RunningEngine: Send + Sync {
    /// Where it listens, like `http://127.0.0.1:41234`.
    fn url(&self) -> &str;

    /// The last lines that it wrote to stderr.
    fn log(&self) -> Vec<String>;
}

/// No engine came up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The grader did not say which engine, or which model.
    #[error("{0} is not set: live checks are run by `cargo xtask lab 1`")]
    NotSet(&'static str),
    /// The program could not be started.
    #[error("cannot start {program}: {cause}", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It ended, or said nothing, before it listened or was ready.
    #[error("the engine {what}; its log ends: {}", log.join(" | "))]
    NotReady {
        /// What it did instead.
        what: String,
        /// The end of its stderr.
        log: Vec<String>,
    },
}

/// Engines as processes of this machine.
#[derive(Debug, Clone)]
pub struct LocalProcess {
    /// The program.
    pub program: PathBuf,
    /// The value of its `--model`.
    pub model: String,
}

impl LocalProcess {
    /// What the grader chose: `LAB_ENGINE` and `LAB_MODEL`.
    ///
    /// # Errors
    /// [`StartError::NotSet`].
    pub fn from_env() -> Result<Self, StartError> {
        let program = std::env::var_os("LAB_ENGINE").ok_or(StartError::NotSet("LAB_ENGINE"))?;
        let model = std::env::var("LAB_MODEL").map_err(|_| StartError::NotSet("LAB_MODEL"))?;
        Ok(Self { program: program.into(), model })
    }
}

/// Starts the grader's engine. Where that fails, the check ends: as a failure if the engine
/// panicked, else without a verdict.
#[must_use]
pub fn start(spec: &EngineSpec) -> Client {
    let started = LocalProcess::from_env().and_then(|testbed| testbed.start(spec));
    match started {
        Ok(engine) => Client::new(engine),
        Err(error) => {
            if let StartError::NotReady { log, .. } = &error {
                blame_panic(log);
            }
            unknown(error)
        }
    }
}

/// The first line of a log that tells of a panic.
pub(crate) fn panic_in(log: &[String]) -> Option<usize> {
    log.iter().position(|line| line.contains("panicked at "))
}

/// Fails the check if the log of the program under test has a panic: that is the learner's code, not the machine.
pub(crate) fn blame_panic(log: &[String]) {
    let Some(line) = panic_in(log) else { return };
    let place = log[line].split("panicked at ").nth(1).unwrap_or_default().trim_end_matches(':');
    let message = log.get(line + 1).map_or("", String::as_str);
    panic!("the program panicked\nexpected a program that serves\nsaw {message}, at {place}");
}

/// An engine that is a child of this process.
struct LocalEngine {
    url: String,
    child: Child,
    log: Log,
    /// Held open: with `--exit-with-parent` the engine ends when it closes, even if this process is
    /// killed.
    stdin: Option<ChildStdin>,
}

impl RunningEngine for LocalEngine {
    fn url(&self) -> &str {
        &self.url
    }

    fn log(&self) -> Vec<String> {
        self.log.lines()
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        // It ends by itself when its input does, and takes along what it has elsewhere: a pod, on a cluster.
        drop(self.stdin.take());
        let deadline = Instant::now() + END_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(END_POLL);
        }
        // Both fail only where the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Testbed for LocalProcess ===

impl Testbed for LocalProcess {
    fn start(&self, spec: &EngineSpec) -> Result<Box<dyn RunningEngine>, StartError> {
        let mut child = Command::new(&self.program)
            .args(["--port", "0", "--exit-with-parent", "--model", &self.model])
            .args(spec.words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|cause| StartError::Spawn { program: self.program.clone(), cause })?;
        let log = Log::default();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        if let Some(stderr) = child.stderr.take() {
            log.follow(stderr);
        }
        let mut engine = LocalEngine { url: String::new(), child, log, stdin };
        let Some(first_line) = stdout.map(first_line) else {
            return engine.not_ready("has no stdout");
        };
        match first_line.recv_timeout(LISTEN_LIMIT) {
            Ok(line) => match line.trim().strip_prefix("listening on ") {
                Some(url) => engine.url = url.to_owned(),
                None => return engine.not_ready(format!("said {line:?}")),
            },
            Err(RecvTimeoutError::Disconnected) => return engine.not_ready("ended at once"),
            Err(RecvTimeoutError::Timeout) => return engine.not_ready("did not listen in time"),
        }
        engine.wait_until_ready()
    }
}

impl LocalEngine {
    fn wait_until_ready(mut self) -> Result<Box<dyn RunningEngine>, StartError> {
        let health = format!("{}/health", self.url);
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            if ureq::get(&health).call().is_ok() {
                return Ok(Box::new(self));
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return self.not_ready(format!("ended while it loaded its model ({status})"));
            }
            if Instant::now() >= deadline || self.log.has_panic() {
                return self.not_ready(format!("was not ready within {READY_LIMIT:?}"));
            }
            thread::sleep(POLL);
        }
    }

    fn not_ready<T>(&self, what: impl Into<String>) -> Result<T, StartError> {
        // The last words of a process that just ended may still be in the pipe.
        thread::sleep(POLL);
        Err(StartError::NotReady { what: what.into(), log: self.log.lines() })
    }
}

/// The first line of a stream. The rest is read and dropped, so that the writer never blocks.
fn first_line(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = sender.try_send(line);
        }
    });
    receiver
}

/// The last lines of a stream, kept by a thread that ends with it.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    fn follow(&self, stream: impl Read + Send + 'static) {
        let lines = Arc::clone(&self.0);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == LOG_LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        });
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn has_panic(&self) -> bool {
        self.lines().iter().any(|line| line.contains("panicked at "))
    }
}

/// Held while a script is written and started: a child that another test forks meanwhile would hold the script open for
/// writing, and the system refuses to run it ("text file busy").
#[cfg(test)]
pub(crate) static SPAWN: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a shell script in the place of an engine. A file of its own, since it gets the flags
    /// as arguments.
    fn start_script(script: &str, spec: &EngineSpec) -> Result<Box<dyn RunningEngine>, StartError> {
        use std::os::unix::fs::PermissionsExt;
        let _alone = SPAWN.lock().unwrap_or_else(PoisonError::into_inner);
        let program = std::env::temp_dir().join(format!("testbed-{}.sh", std::process::id()));
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let started = LocalProcess { program: program.clone(), model: "tiny".into() }.start(spec);
        std::fs::remove_file(program).unwrap();
        started
    }

    fn refusal(script: &str) -> String {
        let started = start_script(script, &EngineSpec::new());
        started.err().expect("it cannot be ready").to_string()
    }

    #[test]
    fn an_engine_that_ends_at_once_is_quoted() {
        let text = refusal("echo 'no such model' >&2; exit 1");
        assert_eq!(text, "the engine ended at once; its log ends: no such model");
    }

    #[test]
    fn an_engine_that_ends_while_loading_is_quoted() {
        let text =
            refusal("echo 'listening on http://127.0.0.1:9'; sleep 0.2; echo broken >&2; exit 3");
        assert!(text.contains("ended while it loaded"), "{text}");
        assert!(text.ends_with("broken"), "{text}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let testbed = LocalProcess { program: "/nowhere/engine".into(), model: "tiny".into() };
        let error = testbed.start(&EngineSpec::new()).err().expect("it cannot start");
        assert!(error.to_string().contains("/nowhere/engine"));
    }

    /// Answers every request with 200 and no body.
    fn healthy_port() -> u16 {
        use std::io::Write;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok).take(8) {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                    line.clear();
                }
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        port
    }

    #[test]
    fn an_engine_is_ready_when_healthy_and_gone_when_dropped() {
        let port = healthy_port();
        let script = format!(
            "echo \"pid $$ of $*\" >&2; echo \"listening on http://127.0.0.1:{port}\"; exec sleep 30"
        );
        let spec = EngineSpec::new().with("max-num-seqs", 8).with_switch("debug-timelines");
        let spec = spec.with("max-num-seqs", 4);
        let engine = start_script(&script, &spec).expect("it is healthy");
        assert_eq!(engine.url(), format!("http://127.0.0.1:{port}"));
        let log = engine.log().join(" ");
        assert!(log.contains("--port 0 --exit-with-parent --model tiny"), "{log}");
        assert!(log.ends_with("--debug-timelines --max-num-seqs 4"), "{log}");
        let pid: u32 = log.split(' ').nth(1).and_then(|pid| pid.parse().ok()).unwrap();
        drop(engine);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    #[should_panic(expected = "saw not yet implemented: task 1.3, at src/continuous.rs:40:9")]
    fn a_panic_of_the_engine_is_the_learners() {
        blame_panic(&[
            "loading".into(),
            "thread 'engine' (7) panicked at src/continuous.rs:40:9:".into(),
            "not yet implemented: task 1.3".into(),
        ]);
    }
}
