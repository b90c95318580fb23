//! Engines and a router as processes of this machine. They end with the check, whatever happens to it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testbed::{Page, unknown};

use super::clients::get;

/// How long a program may take to listen, and then to be ready.
const START_LIMIT: Duration = Duration::from_secs(40);
/// How long an engine may take to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(40);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether `holds` within so much time.
pub(super) fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// A running program.
struct Program {
    process: Child,
    port: u16,
}

impl Program {
    /// Starts what the variable names, and waits until it listens.
    fn start(variable: &'static str, args: &[&str]) -> Self {
        let Some(program) = std::env::var_os(variable) else {
            unknown(format!("{variable} is not set: live checks are run by `cargo xtask lab 2`"))
        };
        let spawned = Command::new(program)
            .args(args)
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) => unknown(format!("{variable} could not be started: {error}")),
        };
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            let _ended = BufReader::new(stdout).read_line(&mut line);
        }
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        match port {
            Some(port) => Self { process, port },
            None => {
                let ended = process.wait().map(|status| status.to_string()).unwrap_or_default();
                unknown(format!("{variable} does not listen: it said {line:?}, {ended}"))
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let _gone_already = Command::new("kill").args([signal, &id]).status();
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = get(self.port, "/metrics").filter(|(status, _)| *status == 200)?;
        Page::parse(&text).ok()?.total(name)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A simulated engine.
pub(super) struct Engine(Program);

impl Engine {
    pub(super) fn start() -> Self {
        Self::on_port(0)
    }

    fn on_port(port: u16) -> Self {
        let port = port.to_string();
        let args = ["--sim", "h100:qwen2.5-7b", "--port", &port, "--served-model-name", "m"];
        let engine = Self(Program::start("LAB_PROGRAM_SOL01_ENGINE", &args));
        let ready = || get(engine.0.port, "/health").is_some_and(|(status, _)| status == 200);
        if !within(START_LIMIT, ready) {
            unknown("an engine was not ready in time: the machine is too busy");
        }
        engine
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port
    }

    /// Asks it to end, waits until it has, and starts another one in its place.
    pub(super) fn restart_gracefully(&mut self) {
        self.0.signal("-TERM");
        if !within(END_LIMIT, || matches!(self.0.process.try_wait(), Ok(Some(_)))) {
            unknown("an engine did not end in time after SIGTERM");
        }
        *self = Self::on_port(self.port());
    }

    pub(super) fn kill(&mut self) {
        self.0.signal("-KILL");
        let _reaped = self.0.process.wait();
    }

    /// It keeps its connections, and does nothing.
    pub(super) fn pause(&mut self) {
        self.0.signal("-STOP");
    }

    pub(super) fn resume(&mut self) {
        self.0.signal("-CONT");
    }

    /// Requests that it works on.
    pub(super) fn running(&self) -> Option<f64> {
        self.0.metric("vllm:num_requests_running")
    }
}

/// The learner's router.
pub(super) struct Router(Program);

impl Router {
    /// Starts it before these engines, and waits until it knows that all are ready.
    pub(super) fn start(engines: &[Engine], more: &[&str]) -> Self {
        let urls: Vec<String> =
            engines.iter().map(|engine| format!("http://127.0.0.1:{}", engine.port())).collect();
        let urls = urls.join(",");
        let mut args = vec!["--port", "0", "--endpoints", &urls];
        if !more.contains(&"--watch-every") {
            args.extend(["--watch-every", "200ms"]);
        }
        args.extend(more);
        let router = Self(Program::start("LAB_ENGINE", &args));
        router.wait_until_ready(engines.len());
        router
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port
    }

    pub(super) fn wait_until_ready(&self, engines: usize) {
        let all = engines as f64;
        let ready = || self.0.metric("llm_router_endpoints_ready") == Some(all);
        if !within(START_LIMIT, ready) {
            unknown("the router did not see all engines ready in time");
        }
    }

    pub(super) fn metric(&self, name: &str) -> f64 {
        self.0.metric(name).unwrap_or(f64::NAN)
    }
}
