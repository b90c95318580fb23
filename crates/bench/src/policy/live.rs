//! `bench policy --live`: the same requests, engines and policies twice, in virtual time and in real time.
//!
//! The simulator says what a policy is worth; this says what the simulator is worth. Engines compute nothing: each waits as long as
//! a step would take on the device. All that is between a client and a step is real: sockets, HTTP, the router's queues and
//! metrics that are half a second old. One rate of the published shared-prefix ladder, with caches that begin empty.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use grader::Stop;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::result::SCHEMA;
use crate::run::{Process, run};
use crate::used::Used;
use crate::{BenchError, BenchResult, Machine, Places, Progress, Task};

/// The policies, in the order of their rows.
const POLICIES: [&str; 5] = ["round-robin", "least-request", "p2c", "prefix", "combined"];
/// The fleet of the published run.
const REPLICAS: u32 = 8;
const DEVICE: &str = "h100";
const MODEL: &str = "qwen3-32b";
const TENSOR_PARALLEL: u32 = 2;
/// How often the router asks engines for their load.
const SCRAPE_EVERY: &str = "500ms";

/// Requests a second: the rate of the ladder at which round robin no longer keeps up.
const RATE: f64 = 20.0;
/// Prompts that share a beginning, and how many such groups: each prompt is sent once.
const GROUP: u64 = 5;
const GROUPS: u64 = 150;
/// With `--quick`, so many groups.
const QUICK_GROUPS: u64 = 40;
/// Tokens of a prompt and of an answer.
const INPUT: u32 = 7_200;
const OUTPUT: u32 = 1_000;
/// Blocks of 512 tokens, as Mooncake's traces have them: 6,144 tokens that a group shares, and the rest of a prompt.
const SHARED_BLOCKS: u64 = 12;
const OWN_BLOCKS: u64 = 3;
/// What requests are drawn from.
const SEED: u64 = 7;

/// How long a program may take to listen, the router to be ready, one policy to answer all, and a server to live.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_secs(30);
const RUN_LIMIT: Duration = Duration::from_secs(900);
const LIVE_LIMIT: Duration = Duration::from_secs(1_800);
/// Between two looks whether the router is ready.
const PAUSE: Duration = Duration::from_millis(50);

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveResult {
    /// [`SCHEMA`].
    pub schema: u64,
    /// The day, UTC.
    pub date: String,
    /// Our commit, short; with a `+` where files differed from it.
    pub commit: Option<String>,
    /// What was typed.
    pub command: String,
    /// Where the live half ran.
    pub machine: Machine,
    /// Requests behind each policy.
    pub requests: u64,
    /// Each policy.
    pub rows: Vec<LiveRow>,
}

/// One policy, twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveRow {
    /// Its name.
    pub policy: String,
    /// In virtual time.
    pub simulated: Side,
    /// Through sockets.
    pub live: Side,
    /// Processor time of the router, in seconds, where the system says it.
    pub router_cpu_s: Option<f64>,
}

/// What clients saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Tokens generated a second, from the first request to the last answer.
    pub output_tokens_per_s: f64,
    /// Time to the first token.
    pub ttft_mean_s: f64,
    /// Of ten, nine are below.
    pub ttft_p90_s: f64,
    /// Over all gaps between tokens.
    pub itl_mean_ms: f64,
    /// Requests without a whole answer.
    pub failed: u64,
}

/// The programs of the live half.
struct Programs {
    engine: PathBuf,
    router: PathBuf,
    generator: PathBuf,
}

/// Builds the programs, and runs every policy both ways.
///
/// # Errors
/// Those of building and running, and where an answer is none.
pub fn measure(
    quick: bool,
    command: String,
    places: &Places,
    progress: &Progress,
    stop: &Stop,
) -> Result<LiveResult, BenchError> {
    let built = |package, program, features: &[&str]| {
        places.build(package, ["--bin", program], features, progress, stop)
    };
    let fleet = built("sol02-routing", "sol02-fleet", &["cli"])?;
    let programs = Programs {
        engine: built("sol01-triage", "sol01-engine", &["serve"])?,
        router: built("sol02-routing", "sol02-router", &["live"])?,
        generator: built("loadgen", "loadgen", &[])?,
    };
    let dir = places.bench().join("policy-live");
    std::fs::create_dir_all(&dir).map_err(BenchError::io(&dir))?;
    let groups = if quick { QUICK_GROUPS } else { GROUPS };
    let requests = groups * GROUP;
    let trace = dir.join("trace.jsonl");
    crate::write(&trace, &requests_of(groups))?;
    progress.say("all policies in virtual time");
    let simulated = simulate(&fleet, &trace, requests, stop)?;
    let machine = Machine::here();
    if let Some(warning) = machine.warning() {
        progress.note(&warning);
    }
    let mut rows = Vec::new();
    for (policy, simulated) in POLICIES.into_iter().zip(simulated) {
        progress.say(&format!("{policy} in real time: {requests} requests"));
        let (live, router_cpu_s) = live(&programs, policy, &trace, &dir, stop)?;
        rows.push(LiveRow { policy: policy.to_owned(), simulated, live, router_cpu_s });
    }
    let (date, commit) = (BenchResult::today(), places.commit(stop));
    Ok(LiveResult { schema: SCHEMA, date, commit, command, machine, requests, rows })
}

/// The requests as a trace of Mooncake's format, which both halves read.
fn requests_of(groups: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut prompts: Vec<u64> = (0..groups * GROUP).collect();
    rng.shuffle(&mut prompts);
    let mut at = 0.0;
    let mut trace = String::new();
    for prompt in prompts {
        let shared = (0..SHARED_BLOCKS).map(|block| prompt / GROUP * SHARED_BLOCKS + block);
        let first_own = groups * SHARED_BLOCKS + prompt * OWN_BLOCKS;
        let blocks: Vec<u64> = shared.chain(first_own..first_own + OWN_BLOCKS).collect();
        let line = json!({
            "timestamp": (at * 1e3) as u64,
            "input_length": INPUT,
            "output_length": OUTPUT,
            "hash_ids": blocks,
        });
        let _ = writeln!(trace, "{line}");
        // A Poisson process: gaps are exponential.
        at += -(1.0 - rng.f64()).ln() / RATE;
    }
    trace
}

/// Every policy in virtual time.
fn simulate(
    fleet: &Path,
    trace: &Path,
    requests: u64,
    stop: &Stop,
) -> Result<Vec<Side>, BenchError> {
    let [replicas, parallel, count] =
        [REPLICAS.into(), TENSOR_PARALLEL.into(), requests].map(|number: u64| number.to_string());
    let task = Task::new(fleet, RUN_LIMIT)
        .args(["--trace".as_ref(), trace.as_os_str()])
        .args(["--requests", &count, "--replicas", &replicas, "--tensor-parallel", &parallel])
        .args(["--device", DEVICE, "--model", MODEL, "--scrape-every", SCRAPE_EVERY, "--json"])
        .args(POLICIES.into_iter().flat_map(|policy| ["--policy", policy]));
    let wrong = |what: String| BenchError::Output { program: "sol02-fleet".to_owned(), what };
    let answer: Value = serde_json::from_str(&run(&task, stop)?.stdout)
        .map_err(|error| wrong(error.to_string()))?;
    let of = |policy: &str| {
        let runs = answer["runs"].as_array()?;
        let total = &runs.iter().find(|run| run["policy"] == policy)?["total"];
        Some(Side {
            output_tokens_per_s: total["output_tokens_per_s"].as_f64()?,
            ttft_mean_s: total["ttft_mean_s"].as_f64()?,
            ttft_p90_s: total["ttft_p90_s"].as_f64()?,
            itl_mean_ms: total["itl_mean_ms"].as_f64()?,
            failed: total["refused"].as_u64()?,
        })
    };
    let each = POLICIES.into_iter().map(|policy| {
        of(policy).ok_or_else(|| wrong(format!("its answer lacks figures of {policy}")))
    });
    each.collect()
}

/// One policy in real time, with engines of its own; and the processor time of the router.
fn live(
    programs: &Programs,
    policy: &str,
    trace: &Path,
    dir: &Path,
    stop: &Stop,
) -> Result<(Side, Option<f64>), BenchError> {
    let server = |program: &Path, args: &[&str]| {
        let task = Task::new(program, LIVE_LIMIT).args(["--port", "0"]).args(args);
        let process = Process::start(&task)?;
        let url = process.announced("listening on ", LISTEN_LIMIT, stop)?;
        Ok::<_, BenchError>((url, process))
    };
    let placement = format!("{DEVICE}:{MODEL}x{TENSOR_PARALLEL}");
    let engines: Vec<(String, Process)> = (0..REPLICAS)
        .map(|_| server(&programs.engine, &["--sim", &placement]))
        .collect::<Result<_, _>>()?;
    let urls: Vec<&str> = engines.iter().map(|(url, _)| url.as_str()).collect();
    let endpoints = urls.join(",");
    let args = ["--endpoints", &endpoints, "--policy", policy, "--watch-every", SCRAPE_EVERY];
    let (url, router) = server(&programs.router, &args)?;
    wait_until_ready(&url, stop)?;
    let file = dir.join(format!("{policy}.json"));
    let task = Task::new(&programs.generator, RUN_LIMIT)
        .args(["--url", &url, "--quiet", "--prompt-token-ids", "--ignore-eos"])
        .args(["--trace".as_ref(), trace.as_os_str(), "--json".as_ref(), file.as_os_str()]);
    run(&task, stop)?;
    let cpu = Used::by(router.id()).map(|used| used.cpu.as_secs_f64());
    let text = std::fs::read_to_string(&file).map_err(BenchError::io(&file))?;
    let report: Value = serde_json::from_str(&text)
        .map_err(|cause| BenchError::Json { path: file.clone(), cause })?;
    let latency = |name: &str, figure: &str| report["latency_ms"][name][figure].as_f64();
    let side = || {
        Some(Side {
            output_tokens_per_s: report["throughput"]["output_tokens_per_s"].as_f64()?,
            ttft_mean_s: latency("ttft", "mean")? / 1e3,
            ttft_p90_s: latency("ttft", "p90")? / 1e3,
            itl_mean_ms: latency("itl", "mean")?,
            failed: report["requests"]["failed"].as_u64()?,
        })
    };
    let side = side().ok_or_else(|| BenchError::Output {
        program: "loadgen".to_owned(),
        what: format!("its report lacks figures of {policy}"),
    })?;
    Ok((side, cpu))
}

/// Waits until the router has seen its engines.
fn wait_until_ready(url: &str, stop: &Stop) -> Result<(), BenchError> {
    let until = Instant::now() + READY_LIMIT;
    let address: Option<SocketAddr> = url.trim_start_matches("http://").parse().ok();
    while Instant::now() < until {
        if stop.is_set() {
            return Err(BenchError::Interrupted);
        }
        if address.is_some_and(is_ready) {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(BenchError::Output {
        program: "sol02-router".to_owned(),
        what: format!(
            "it sees no engine that is ready, {} s after its start",
            READY_LIMIT.as_secs()
        ),
    })
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, PAUSE)?;
        stream.set_read_timeout(Some(READY_LIMIT))?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    ask().is_ok_and(|answer: String| answer.starts_with("HTTP/1.1 200"))
}

// === impl LiveResult ===

impl LiveResult {
    /// Reads a saved one.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Json`].
    pub fn load(path: &Path) -> Result<Self, BenchError> {
        super::load(path)
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Json`].
    pub fn save(&self, path: &Path) -> Result<(), BenchError> {
        super::save(self, path)
    }

    /// As a table, for the book and for terminals.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "| policy | output, tok/s | TTFT mean | TTFT p90 | ITL mean | router, us CPU a token |\n\
             |---|---:|---:|---:|---:|---:|\n",
        );
        let tokens = (self.requests * u64::from(OUTPUT)) as f64;
        for LiveRow { policy, simulated, live, router_cpu_s } in &self.rows {
            let cpu =
                router_cpu_s.map_or(String::new(), |cpu| format!("{:.1}", cpu * 1e6 / tokens));
            for (half, side, cpu) in [("simulated", simulated, ""), ("live", live, cpu.as_str())] {
                let failed = match side.failed {
                    0 => String::new(),
                    failed => format!(", {failed} failed"),
                };
                let _ = writeln!(
                    out,
                    "| {policy}, {half}{failed} | {:.0} | {:.2} s | {:.2} s | {:.1} ms | {cpu} |",
                    side.output_tokens_per_s, side.ttft_mean_s, side.ttft_p90_s, side.itl_mean_ms,
                );
            }
        }
        let commit = self.commit.as_deref().unwrap_or("an unknown commit");
        let _ = writeln!(
            out,
            "\n{} requests at {RATE} a second, prompts of {INPUT} tokens of which {} in {GROUP} are the same, answers of {OUTPUT}; \
             {REPLICAS} replicas of {MODEL} on {TENSOR_PARALLEL} x {DEVICE}, caches empty at first.",
            self.requests,
            SHARED_BLOCKS * 512,
        );
        let _ =
            writeln!(out, "`{}` on {}, at {commit}; {}.", self.command, self.date, self.machine);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_of_a_group_share_their_beginning_and_nothing_else() {
        let lines: Vec<Value> =
            requests_of(3).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 15);
        let blocks = |line: &Value| -> Vec<u64> {
            line["hash_ids"].as_array().unwrap().iter().filter_map(Value::as_u64).collect()
        };
        let mut shared: Vec<u64> =
            lines.iter().flat_map(|line| blocks(line)[..12].to_vec()).collect();
        let mut own: Vec<u64> = lines.iter().flat_map(|line| blocks(line)[12..].to_vec()).collect();
        shared.sort_unstable();
        shared.dedup();
        own.sort_unstable();
        own.dedup();
        assert_eq!((shared.len(), own.len()), (3 * 12, 15 * 3));
        assert!(own.iter().all(|block| !shared.contains(block)));
        let times: Vec<u64> = lines.iter().filter_map(|line| line["timestamp"].as_u64()).collect();
        assert!(times.is_sorted() && times[0] == 0 && times[14] > 0);
    }

    #[test]
    fn a_row_says_which_half_it_is_and_what_failed() {
        let side = Side {
            output_tokens_per_s: 5975.3,
            ttft_mean_s: 1.078,
            ttft_p90_s: 0.868,
            itl_mean_ms: 40.01,
            failed: 0,
        };
        let row = LiveRow {
            policy: "round-robin".to_owned(),
            simulated: side,
            live: Side { failed: 2, ..side },
            router_cpu_s: Some(4.0),
        };
        let result = LiveResult {
            schema: SCHEMA,
            date: "2026-11-30".to_owned(),
            commit: None,
            command: "cargo xtask bench policy --live".to_owned(),
            machine: Machine {
                cpu: "CPU".to_owned(),
                cores: 2,
                memory_bytes: 1 << 30,
                system: "Linux".to_owned(),
                load_average: 0.0,
                busy_share: 0.0,
            },
            requests: 400,
            rows: vec![row],
        };
        let table = result.markdown();
        assert!(table.contains("| round-robin, simulated | 5975 | 1.08 s | 0.87 s | 40.0 ms |  |"));
        assert!(table.contains("| round-robin, live, 2 failed | 5975 |"), "{table}");
        assert!(table.contains("| 10.0 |"), "{table}");
    }
}
