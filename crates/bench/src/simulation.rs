//! `bench simulation`: the course's simulator beside those of others.
//!
//! How many requests a core simulates in a second: 512 tokens in, 128 out, one H100 with an 8B model at 70 % of
//! what it can serve. How well a simulator predicts is another question, and the lab's own checks ask it.

use std::path::PathBuf;
use std::time::Duration;

use grader::Stop;

use crate::compare::{Comparison, Contender, Figure, Measured};
use crate::on_demand::OnDemand;
use crate::run::run;
use crate::sample::Better;
use crate::{BenchError, Installed, Peer, Places, Progress, Source, Task};

/// The peers of this bench.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "vidur",
        source: Source::Pip(&["vidur==0.0.26"]),
        by_default: true,
        about: "simulates every step; 1.3 GB of packages",
    },
    Peer {
        name: "vllm-sr-sim",
        source: Source::Pip(&["vllm-sr-sim==0.1.0.dev20260713123629"]),
        by_default: true,
        about: "simulates requests, not steps; 240 MB of packages",
    },
];

/// Rounds, and those of `--quick`.
pub const ROUNDS: [usize; 2] = [5, 2];

/// Tokens of a prompt, and of an answer.
const TOKENS: [&str; 2] = ["512", "128"];
/// Arrivals a second: 70 % of the 50 that `sol01-simulate --rate 200` says Llama 3.1 8B on an H100 serves.
const RATE: &str = "35";
/// The same as a share, for a simulator that has an H100 of its own.
const LOAD: &str = "0.7";
/// Requests of our short and of our long run.
const OURS: [usize; 2] = [5_000, 55_000];
/// Requests of a peer's round: Vidur's, and those of vllm-sr-sim.
const VIDUR: usize = 2_000;
const VLLM_SR_SIM: usize = 20_000;
/// What `--quick` divides numbers of requests by.
const QUICK: usize = 4;
/// How long loading, or one round, may take.
const ROUND_LIMIT: Duration = Duration::from_secs(120);
/// How long a peer may live.
const LIMIT: Duration = Duration::from_secs(1800);

/// Builds our simulator and starts the others.
///
/// # Errors
/// Those of building and starting.
pub fn prepare(
    quick: bool,
    peers: &[(Peer, Installed)],
    places: &Places,
    progress: &Progress,
    stop: &Stop,
) -> Result<Vec<Comparison>, BenchError> {
    let share = if quick { QUICK } else { 1 };
    let program =
        places.build("sol01-triage", ["--bin", "sol01-simulate"], &["cli"], progress, stop)?;
    let ours = Box::new(Ours { program, requests: OURS.map(|requests| requests / share) });
    let mut others: Vec<Box<dyn Contender>> = Vec::new();
    for (peer, installed) in peers {
        progress.say(&format!("starting {}", installed.title));
        let task = task(peer.name, installed, places, share);
        let fields = &["requests_per_s"];
        let started = OnDemand::start(installed.title.clone(), task, fields, ROUND_LIMIT, stop)?;
        others.push(Box::new(started));
    }
    let figures = vec![Figure {
        name: "simulated requests".to_owned(),
        unit: "/s and core",
        better: Better::Higher,
        goal: None,
    }];
    Ok(vec![Comparison { figures, rounds: None, ours, peers: others }])
}

/// What a reader must know.
#[must_use]
pub fn notes() -> Vec<String> {
    vec![
        format!(
            "One H100 with an 8B model, {} tokens in, {} out, Poisson arrivals at 70 % of what it can serve. \
             Requests for a second of processor time; starting up costs nothing.",
            TOKENS[0], TOKENS[1]
        ),
        "Vidur and ours simulate every step of continuous batching with chunked prefill; Vidur's tables are made \
         from a roofline here, since its profiles would come from a hub. vllm-sr-sim computes a request's time \
         when it begins, which is coarser and cheaper."
            .to_owned(),
    ]
}

fn task(name: &str, installed: &Installed, places: &Places, share: usize) -> Task {
    let scripts = places.root.join("crates/bench/peers");
    let task = Task::new(installed.program("python"), LIMIT);
    if name == "vidur" {
        let dir = places.bench().join("vidur");
        let requests = (VIDUR / share).to_string();
        let task = task.args([scripts.join("vidur_round.py")]).args(TOKENS);
        return task.args([RATE, requests.as_str()]).args([dir]);
    }
    let requests = (VLLM_SR_SIM / share).to_string();
    let task = task.args([scripts.join("vllm_sr_sim.py")]).args(TOKENS);
    task.args([LOAD, requests.as_str()])
}

/// Our simulator, as a program: a short run and a long one.
struct Ours {
    program: PathBuf,
    requests: [usize; 2],
}

impl Contender for Ours {
    fn name(&self) -> String {
        "ours".to_owned()
    }

    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError> {
        let mut used = [(0, Duration::ZERO); 2];
        for (&requests, used) in self.requests.iter().zip(&mut used) {
            let count = requests.to_string();
            let [input, output] = TOKENS;
            let task = Task::new(&self.program, ROUND_LIMIT).args([
                "--device",
                "h100",
                "--model",
                "llama-3.1-8b",
                "--rate",
                RATE,
                "--input",
                input,
                "--output",
                output,
                "--requests",
                &count,
                "--json",
            ]);
            *used = (requests, run(&task, stop)?.cpu());
        }
        let [short, long] = used;
        Ok(vec![crate::loadgen::seconds_each(short, long).map(|each| 1.0 / each)])
    }
}
