//! `bench policy --live`: the same requests, engines and policies twice, in virtual time and in real time.
//!
//! The simulator says what a policy is worth; this says what the simulator is worth. Engines compute nothing: each waits as long as
//! a step would take on the device. All that is between a client and a step is real: sockets, HTTP, the router's queues and
//! metrics that are half a second old. Two workloads: one rate of the published shared-prefix ladder, and a minute of conversations;
//! caches begin empty.

mod requests;
mod result;

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use grader::Stop;
use serde_json::Value;
use workload::MooncakeLine;

use crate::result::SCHEMA;
use crate::run::{Process, run};
use crate::used::Used;
use crate::wait::wait;
use crate::{BenchError, BenchResult, Machine, Places, Progress, Task};

use super::CONVERSATIONS;
use requests::{GROUP, INPUT, OUTPUT, RATE, SHARED_BLOCKS};
pub use result::{LiveResult, LiveRow, LiveWorkload, Side};

/// The policies, in the order of their rows.
const POLICIES: [&str; 5] = ["round-robin", "least-request", "p2c", "prefix", "combined"];
/// How often the router asks engines for their load.
const SCRAPE_EVERY: &str = "500ms";
/// Requests that the router lets one engine have at once: both routers keep to it, as it decides where a policy would not.
const MAX_IN_FLIGHT: &str = "256";
/// Token ids of live prompts. With three digits and a comma each is four bytes, as a token is to the simulated router: both cut a prompt
/// into the same number of blocks, and remember as many tokens.
const VOCABULARY: &str = "100..1000";

/// The fleet of the published run.
const LADDER: Fleet = Fleet { replicas: 8, device: "h100", model: "qwen3-32b", tensor_parallel: 2 };
/// Groups of prompts; with `--quick`, so many.
const GROUPS: u64 = 150;
const QUICK_GROUPS: u64 = 40;

/// The fleet of `bench policy`'s conversations.
const CHAT: Fleet =
    Fleet { replicas: 4, device: "h100", model: "llama-3.1-8b", tensor_parallel: 1 };
/// Of those conversations, the turns of so long, once most sessions have begun.
const FROM: Duration = Duration::from_secs(180);
const UNTIL: Duration = Duration::from_secs(240);
const QUICK_UNTIL: Duration = Duration::from_secs(190);

/// How long a program may take to listen, the router to be ready, one policy to answer all, and a server to live.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_secs(30);
const RUN_LIMIT: Duration = Duration::from_secs(900);
const LIVE_LIMIT: Duration = Duration::from_secs(1_800);
/// How long the router may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_millis(50);

/// Equal engines.
#[derive(Debug, Clone, Copy)]
struct Fleet {
    replicas: u32,
    device: &'static str,
    model: &'static str,
    tensor_parallel: u32,
}

/// What is asked, of whom.
struct Workload {
    name: &'static str,
    about: String,
    fleet: Fleet,
    trace: PathBuf,
    requests: u64,
    output_tokens: u64,
    slo: Option<&'static str>,
}

/// The programs.
struct Programs {
    fleet: PathBuf,
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
    let programs = Programs {
        fleet: built("sol02-routing", "sol02-fleet", &["cli"])?,
        engine: built("sol01-triage", "sol01-engine", &["serve"])?,
        router: built("sol02-routing", "sol02-router", &["live"])?,
        generator: built("loadgen", "loadgen", &[])?,
    };
    let dir = places.bench().join("policy-live");
    std::fs::create_dir_all(&dir).map_err(BenchError::io(&dir))?;
    let asked = [ladder(quick, &dir)?, conversations(&programs.fleet, quick, &dir, stop)?];
    let machine = Machine::here();
    if let Some(warning) = machine.warning() {
        progress.note(&warning);
    }
    let mut workloads = Vec::new();
    for workload in asked {
        progress.say(&format!("{}: all policies in virtual time", workload.name));
        let simulated = simulate(&programs.fleet, &workload, stop)?;
        let mut rows = Vec::new();
        for (policy, simulated) in POLICIES.into_iter().zip(simulated) {
            let Workload { name, requests, .. } = workload;
            progress.say(&format!("{name}, {policy} in real time: {requests} requests"));
            let (live, router_cpu_s) = live(&programs, policy, &workload, &dir, stop)?;
            rows.push(LiveRow { policy: policy.to_owned(), simulated, live, router_cpu_s });
        }
        let Workload { about, requests, output_tokens, slo, .. } = workload;
        let slo = slo.map(str::to_owned);
        workloads.push(LiveWorkload { about, requests, output_tokens, slo, rows });
    }
    let (date, commit) = (BenchResult::today(), places.commit(stop));
    Ok(LiveResult { schema: SCHEMA, date, commit, command, machine, workloads })
}

/// Prompts that share beginnings.
fn ladder(quick: bool, dir: &Path) -> Result<Workload, BenchError> {
    let trace = requests::shared_prefix(if quick { QUICK_GROUPS } else { GROUPS });
    let about = format!(
        "prompts of {INPUT} tokens of which {} in {GROUP} are the same, answers of {OUTPUT}, {RATE} a second; {LADDER}",
        SHARED_BLOCKS * 512,
    );
    Workload::new("shared prefixes", about, LADDER, None, &trace, dir)
}

/// A minute of the conversations that `bench policy` runs.
fn conversations(
    fleet: &Path,
    quick: bool,
    dir: &Path,
    stop: &Stop,
) -> Result<Workload, BenchError> {
    let all = dir.join("conversations-all.jsonl");
    let task = Task::new(fleet, RUN_LIMIT)
        .args(CONVERSATIONS)
        .args(["--save-trace".as_ref(), all.as_os_str()]);
    run(&task, stop)?;
    let all = std::fs::read_to_string(&all).map_err(BenchError::io(&all))?;
    let mut trace = requests::read(&all)?;
    requests::between(&mut trace, FROM, if quick { QUICK_UNTIL } else { UNTIL });
    let [.., slo] = CONVERSATIONS;
    let about = format!("turns of conversations that begin in bursts, 70 a second; {CHAT}");
    Workload::new("conversations", about, CHAT, Some(slo), &trace, dir)
}

/// Every policy in virtual time.
fn simulate(fleet: &Path, workload: &Workload, stop: &Stop) -> Result<Vec<Side>, BenchError> {
    let Workload { requests, trace, slo, .. } = workload;
    let Fleet { replicas, device, model, tensor_parallel } = workload.fleet;
    let [replicas, parallel, count] =
        [replicas.into(), tensor_parallel.into(), *requests].map(|number: u64| number.to_string());
    let task = Task::new(fleet, RUN_LIMIT)
        .args(["--trace".as_ref(), trace.as_os_str()])
        .args(["--requests", &count, "--replicas", &replicas, "--tensor-parallel", &parallel])
        .args(["--device", device, "--model", model, "--scrape-every", SCRAPE_EVERY, "--json"])
        // As live: the same limit, and prompts that come as token ids, to an engine that sleeps through its steps alone.
        .args(["--max-in-flight", MAX_IN_FLIGHT, "--no-frontend"])
        .args(slo.iter().flat_map(|slo| ["--slo", slo]))
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
            goodput: slo.and(total["goodput"].as_f64()),
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
    workload: &Workload,
    dir: &Path,
    stop: &Stop,
) -> Result<(Side, Option<f64>), BenchError> {
    let server = |program: &Path, args: &[&str]| {
        let task = Task::new(program, LIVE_LIMIT).args(["--port", "0"]).args(args);
        let process = Process::start(&task)?;
        let url = process.announced("listening on ", LISTEN_LIMIT, stop)?;
        Ok::<_, BenchError>((url, process))
    };
    let Fleet { replicas, device, model, tensor_parallel } = workload.fleet;
    let placement = format!("{device}:{model}x{tensor_parallel}");
    let engines: Vec<(String, Process)> = (0..replicas)
        .map(|_| server(&programs.engine, &["--sim", &placement]))
        .collect::<Result<_, _>>()?;
    let urls: Vec<&str> = engines.iter().map(|(url, _)| url.as_str()).collect();
    let endpoints = urls.join(",");
    let args = ["--endpoints", &endpoints, "--policy", policy, "--watch-every", SCRAPE_EVERY];
    let args = [&args[..], &["--max-in-flight", MAX_IN_FLIGHT]].concat();
    let (url, router) = server(&programs.router, &args)?;
    wait_until_ready(&url, stop)?;
    let file = dir.join(format!("{}-{policy}.json", workload.name.replace(' ', "-")));
    let task = Task::new(&programs.generator, RUN_LIMIT)
        .args(["--url", &url, "--quiet", "--prompt-token-ids", "--vocabulary", VOCABULARY])
        .args(["--ignore-eos"])
        .args(workload.slo.iter().flat_map(|slo| ["--slo", slo]))
        .args(["--trace".as_ref(), workload.trace.as_os_str()])
        .args(["--json".as_ref(), file.as_os_str()]);
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
            goodput: report["requests"]["good"]
                .as_u64()
                .map(|good| good as f64 / workload.requests as f64),
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
    let address: Option<SocketAddr> = url.trim_start_matches("http://").parse().ok();
    wait(READY_LIMIT, stop, || {
        let not_yet = || BenchError::Output {
            program: "sol02-router".to_owned(),
            what: format!(
                "it sees no engine that is ready, {} s after its start",
                READY_LIMIT.as_secs()
            ),
        };
        address.filter(|address| is_ready(*address)).map(drop).ok_or_else(not_yet)
    })
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
        stream.set_read_timeout(Some(READY_LIMIT))?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    ask().is_ok_and(|answer: String| answer.starts_with("HTTP/1.1 200"))
}

// === impl Workload ===

impl Workload {
    fn new(
        name: &'static str,
        about: String,
        fleet: Fleet,
        slo: Option<&'static str>,
        lines: &[MooncakeLine],
        dir: &Path,
    ) -> Result<Self, BenchError> {
        let (requests, output_tokens) =
            (lines.len() as u64, lines.iter().map(|line| line.output_length).sum());
        let trace = dir.join(format!("{}.jsonl", name.replace(' ', "-")));
        crate::write(&trace, &lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
        Ok(Self { name, about, fleet, trace, requests, output_tokens, slo })
    }
}

// === impl Fleet ===

impl std::fmt::Display for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { replicas, device, model, tensor_parallel } = self;
        write!(
            f,
            "{replicas} replicas of {model} on {tensor_parallel} x {device}, caches empty at first"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_a_live_prompt_is_as_many_bytes_as_one_of_a_simulated_prompt() {
        let (from, to) = VOCABULARY.split_once("..").unwrap();
        let (from, to): (u32, u32) = (from.parse().unwrap(), to.parse().unwrap());
        assert!(from < to);
        assert!((from..to).all(|id| format!("{id},").len() == size_of_val(&id)));
    }
}
