//! `bench policy`: the routing policies of lab 2 on one simulated fleet, beside what llm-d published of the same ladder.
//!
//! Virtual time: figures depend on the programs and a seed, and not on this machine. So there are no rounds, no ratios of
//! times, and no peers to install; the peers' figures are published ones, which the program that is run knows. One rate of the
//! ladder is also run in real time, through sockets: [`measure_live`].

mod live;
mod page;
mod picture;

use std::path::Path;
use std::time::Duration;

use grader::Stop;
use serde::{Deserialize, Serialize};

use crate::result::{SCHEMA, load, save};
use crate::run::run;
use crate::{BenchError, BenchResult, Places, Progress, Task};

pub use live::{LiveResult, LiveRow, LiveWorkload, Side, measure as measure_live};
pub use page::markdown;
pub use picture::svg;

/// How long the program may take for one workload.
const LIMIT: Duration = Duration::from_secs(1_800);
/// Conversations: turns a second, turns in all, and what is good enough.
const CONVERSATIONS: [&str; 8] = [
    "--workload",
    "conversations",
    "--rate",
    "70",
    "--requests",
    "24000",
    "--slo",
    "ttft=500ms,tpot=30ms",
];
/// The rates of the ladder that `--quick` runs.
const QUICK_RATES: &str = "3,20,60";
/// Turns in all with `--quick`: instead of those above.
const QUICK_TURNS: &str = "6000";

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyResult {
    /// [`SCHEMA`].
    pub schema: u64,
    /// The day, UTC.
    pub date: String,
    /// Our commit, short; with a `+` where files differed from it.
    pub commit: Option<String>,
    /// What was typed.
    pub command: String,
    /// The published shared-prefix ladder.
    pub ladder: Fleet,
    /// Sessions that begin in bursts.
    pub conversations: Fleet,
}

/// One workload on one fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// The device's name.
    pub device: String,
    /// The model's.
    pub model: String,
    /// Devices of a replica.
    pub tensor_parallel: u32,
    /// Replicas.
    pub replicas: u32,
    /// What requests are drawn from.
    pub seed: u64,
    /// What is good enough.
    pub slo: Slo,
    /// Each policy.
    pub runs: Vec<PolicyRun>,
    /// What others measured of the same workload.
    pub published: Option<Vec<Published>>,
}

/// Limits, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// To the first token.
    pub ttft_ms: Option<f64>,
    /// For each further token, on average.
    pub tpot_ms: Option<f64>,
    /// To the last token.
    pub e2e_ms: Option<f64>,
}

/// What one policy did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyRun {
    /// Its name.
    pub policy: String,
    /// Over all requests; output is the mean of the parts.
    pub total: Figures,
    /// At each rate.
    pub parts: Vec<Figures>,
    /// Prompt tokens found in the engines' caches, of all looked up.
    pub prefix_hit_rate: f64,
    /// Requests of the busiest replica, over the mean.
    pub imbalance: f64,
}

/// Figures of some requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests a second, of the ladder.
    pub rate: Option<u32>,
    /// How many.
    pub requests: u64,
    /// Of those, refused.
    pub refused: u64,
    /// Tokens generated a second.
    pub output_tokens_per_s: f64,
    /// Time to the first token.
    pub ttft_mean_s: f64,
    /// Of ten, nine are below.
    pub ttft_p90_s: f64,
    /// Of a hundred, 99 are below.
    pub ttft_p99_s: f64,
    /// Over all gaps between tokens.
    pub itl_mean_ms: f64,
    /// Part of all requests that met the SLO.
    pub goodput: f64,
}

/// A published arm of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// What stood in front of the servers.
    pub name: String,
    /// Its summary.
    pub total: PublishedFigures,
    /// At each rate.
    pub parts: Vec<PublishedFigures>,
}

/// Published figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PublishedFigures {
    /// Requests a second.
    pub rate: Option<u32>,
    /// Tokens generated a second.
    pub output_tokens_per_s: f64,
    /// Time to the first token.
    pub ttft_mean_s: f64,
    /// Of ten, nine are below.
    pub ttft_p90_s: f64,
    /// Over all gaps; of the summary alone.
    pub itl_mean_ms: Option<f64>,
}

/// Builds the program, and runs both workloads.
///
/// # Errors
/// Those of building and running, and where its answer is none.
pub fn measure(
    quick: bool,
    command: String,
    places: &Places,
    progress: &Progress,
    stop: &Stop,
) -> Result<PolicyResult, BenchError> {
    let which = ["--bin", "sol02-fleet"];
    let program = places.build("sol02-routing", which, &["cli"], progress, stop)?;
    progress.say("the shared-prefix ladder, behind each policy");
    let rates = if quick { vec!["--rates", QUICK_RATES] } else { Vec::new() };
    let ladder = fleet(&program, &rates, stop)?;
    progress.say("conversations, behind each policy");
    let mut arguments = CONVERSATIONS;
    if quick {
        arguments[5] = QUICK_TURNS;
    }
    let conversations = fleet(&program, &arguments, stop)?;
    let (date, commit) = (BenchResult::today(), places.commit(stop));
    Ok(PolicyResult { schema: SCHEMA, date, commit, command, ladder, conversations })
}

fn fleet(program: &Path, arguments: &[&str], stop: &Stop) -> Result<Fleet, BenchError> {
    let task = Task::new(program, LIMIT).args(arguments).args(["--json"]);
    let answer = run(&task, stop)?.stdout;
    serde_json::from_str(&answer).map_err(|error| BenchError::Output {
        program: "sol02-fleet".to_owned(),
        what: error.to_string(),
    })
}

// === impl PolicyResult ===

impl PolicyResult {
    /// Reads a saved one.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Json`], and [`BenchError::Schema`] for one of another version.
    pub fn load(path: &Path) -> Result<Self, BenchError> {
        load(path)
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Json`].
    pub fn save(&self, path: &Path) -> Result<(), BenchError> {
        save(self, path)
    }
}
