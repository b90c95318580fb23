//! A router under measurement: started, warmed, loaded, and looked at.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use grader::Stop;
use serde_json::Value;

use super::command::Kind;
use super::{OTHERS_CORE, ROUTER_CORE};
use crate::compare::{Contender, Measured};
use crate::run::{Process, run};
use crate::used::Used;
use crate::wait::wait;
use crate::{BenchError, Task};

/// How long a router may take to answer for the first time; the Python ones import for seconds.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long one run of the generator may take.
const RUN_LIMIT: Duration = Duration::from_secs(120);
/// How long it may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_millis(100);
/// Requests before the measured ones.
const WARM: usize = 500;
/// Requests in flight, where throughput is measured.
const IN_FLIGHT: usize = 32;
/// Tokens of a stream, where their cost is measured, and where they are timed.
const TOKENS: usize = 128;
const TIMED_TOKENS: usize = 32;
/// Words of a prompt of 32 KB: the generator's have five letters and a blank.
const LONG_WORDS: usize = 5600;

/// What is measured of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Unary,
    LongPrompts,
    Streams,
    Times,
}

/// Servers that answer at a fixed pace.
#[derive(Debug, Default)]
pub(super) struct Backends {
    addresses: Vec<String>,
    processes: Vec<Process>,
}

impl Backends {
    pub(super) fn add(&mut self, address: String, process: Process) {
        self.addresses.push(address);
        self.processes.push(process);
    }
}

/// A router, and what is asked of it.
pub(super) struct Router {
    pub(super) kind: Kind,
    pub(super) title: String,
    pub(super) program: PathBuf,
    pub(super) generator: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) backends: Rc<Backends>,
    pub(super) what: What,
    /// One part in so many of the usual work.
    pub(super) share: usize,
}

/// What the generator saw.
struct Seen {
    requests: f64,
    report: Value,
}

impl Seen {
    /// A latency in milliseconds.
    fn latency(&self, name: &str, figure: &str) -> Result<f64, BenchError> {
        self.report["latency_ms"][name][figure].as_f64().ok_or_else(|| BenchError::Output {
            program: "loadgen".to_owned(),
            what: format!("its report has no {figure} of {name}"),
        })
    }
}

impl Contender for Router {
    fn name(&self) -> String {
        self.title.clone()
    }

    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError> {
        let ports = free_ports(&self.dir)?;
        let port = ports[0];
        let by_prefix = self.what == What::LongPrompts;
        let backends = &self.backends.addresses;
        let task = self.kind.task(&self.program, &self.dir, ports, backends, by_prefix)?;
        let process = Process::start(&task.on_core(ROUTER_CORE))?;
        let url = format!("http://127.0.0.1:{port}");
        self.wait_until_it_answers(port, &url, stop)?;
        let count = |requests: usize| requests / self.share;
        let (long, tokens) = (LONG_WORDS.to_string(), TOKENS.to_string());
        let closed = IN_FLIGHT.to_string();
        let plain = ["--closed", &closed, "--input", "8", "--output", "16", "--no-stream"];
        let figures = match self.what {
            What::Unary => {
                self.load(&url, WARM, &plain, stop)?;
                let (seen, used) = self.costs(&process, &url, count(30_000), &plain, stop)?;
                let each = used.cpu.as_secs_f64() / seen.requests;
                let memory = used.peak_rss_bytes as f64 / 1e6;
                vec![Some(each * 1e6), Some(1.0 / each), Some(memory)]
            }
            What::LongPrompts => {
                let args = ["--closed", &closed, "--input", &long, "--output", "16", "--no-stream"];
                self.load(&url, WARM / 4, &args, stop)?;
                let (seen, used) = self.costs(&process, &url, count(6_000), &args, stop)?;
                vec![Some(used.cpu.as_secs_f64() * 1e6 / seen.requests)]
            }
            What::Streams => {
                // The same requests without their tokens are no part of a token's cost.
                let args = ["--closed", &closed, "--input", "8", "--output", &tokens];
                self.load(&url, WARM / 4, &args, stop)?;
                let (long, long_used) = self.costs(&process, &url, count(2_000), &args, stop)?;
                let args = ["--closed", &closed, "--input", "8", "--output", "1"];
                let (short, short_used) = self.costs(&process, &url, count(4_000), &args, stop)?;
                let each = |seen: &Seen, used: Used| used.cpu.as_secs_f64() / seen.requests;
                let more = each(&long, long_used) - each(&short, short_used);
                vec![Some(more * 1e6 / (TOKENS - 1) as f64)]
            }
            What::Times => self.times(&url, count(2_000), count(160), stop)?,
        };
        Ok(figures)
    }
}

impl Router {
    /// What is added, in microseconds: to unary requests, to a first token, to a last one.
    fn times(
        &self,
        url: &str,
        requests: usize,
        streams: usize,
        stop: &Stop,
    ) -> Result<Measured, BenchError> {
        let direct =
            format!("http://{}", self.backends.addresses.first().map_or("", String::as_str));
        let tokens = TIMED_TOKENS.to_string();
        let unary = ["--closed", "1", "--input", "8", "--output", "16", "--no-stream"];
        let stream = ["--closed", "4", "--input", "8", "--output", &tokens];
        let mut seen = Vec::new();
        for (args, count) in [(&unary[..], requests), (&stream[..], streams)] {
            for url in [&direct, url] {
                self.load(url, WARM / 10, args, stop)?;
                seen.push(self.load(url, count, args, stop)?);
            }
        }
        let added = |at: usize, name: &str, figure: &str| {
            let [direct, through] = [at, at + 1].map(|at| seen[at].latency(name, figure));
            Ok((through? - direct?) * 1e3)
        };
        let figures = [
            added(0, "e2e_from_send", "p50"),
            added(0, "e2e_from_send", "p99"),
            added(2, "ttft_from_send", "p50"),
            added(2, "e2e_from_send", "p50"),
        ];
        figures.into_iter().map(|figure| figure.map(Some)).collect()
    }

    /// Loads it, and says what that cost it.
    fn costs(
        &self,
        process: &Process,
        url: &str,
        requests: usize,
        args: &[&str],
        stop: &Stop,
    ) -> Result<(Seen, Used), BenchError> {
        let before = self.used(process)?;
        let seen = self.load(url, requests, args, stop)?;
        let after = self.used(process)?;
        let cpu = after.cpu.saturating_sub(before.cpu);
        Ok((seen, Used { cpu, ..after }))
    }

    fn used(&self, process: &Process) -> Result<Used, BenchError> {
        Used::by(process.id()).ok_or_else(|| BenchError::Missing {
            what: format!("the system does not say what {} used", self.title),
            how: "this bench needs Linux with /proc/PID/task/TID/schedstat".to_owned(),
        })
    }

    /// Runs the generator. All requests must be answered.
    fn load(
        &self,
        url: &str,
        requests: usize,
        args: &[&str],
        stop: &Stop,
    ) -> Result<Seen, BenchError> {
        let file = self.dir.join("loadgen.json");
        let requests = requests.max(1).to_string();
        let task = Task::new(&self.generator, RUN_LIMIT)
            .args(["--url", url, "--model", "m", "--quiet", "--requests", &requests])
            .args(args)
            .args(["--json".as_ref(), file.as_os_str()]);
        run(&task.on_core(OTHERS_CORE), stop)?;
        let text = std::fs::read_to_string(&file).map_err(BenchError::io(&file))?;
        let wrong = |what: String| BenchError::Output { program: self.title.clone(), what };
        let report: Value =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let answered = report["requests"]["ok"].as_f64().unwrap_or(0.0);
        if report["requests"]["failed"].as_f64() != Some(0.0) || answered < 1.0 {
            return Err(wrong(format!("not all requests were answered: {}", report["errors"])));
        }
        Ok(Seen { requests: answered, report })
    }

    fn wait_until_it_answers(&self, port: u16, url: &str, stop: &Stop) -> Result<(), BenchError> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let one = ["--closed", "1", "--input", "8", "--output", "1", "--no-stream"];
        wait(START_LIMIT, stop, || {
            // The generator says less plainly that nobody listens yet.
            TcpStream::connect_timeout(&address, CONNECT_LIMIT).map_err(|_| {
                BenchError::Missing {
                    what: format!("{} did not answer in time", self.title),
                    how: format!("look at what it says: start it by hand on port {port}"),
                }
            })?;
            self.load(url, 2, &one, stop).map(drop)
        })
    }
}

/// Two ports that were free a moment ago.
fn free_ports(dir: &std::path::Path) -> Result<[u16; 2], BenchError> {
    let listen = || TcpListener::bind("127.0.0.1:0").map_err(BenchError::io(dir));
    let (one, other) = (listen()?, listen()?);
    let port = |listener: &TcpListener| {
        listener.local_addr().map(|address| address.port()).map_err(BenchError::io(dir))
    };
    Ok([port(&one)?, port(&other)?])
}
