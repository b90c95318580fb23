//! What can be typed.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use loadgen::{Endpoint, Slo};
use serde_json::{Map, Value};
use workload::{Gaps, RateProfile, SharedPrefix};

/// Open-loop load on an OpenAI-compatible server, and the latencies that its users would see.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  loadgen --rate 10 --requests 200 --input 512 --output 128     Poisson arrivals, 10 a second
  loadgen --rate 1..20@60s --duration 2m --slo ttft=500ms,tpot=50ms --html report.html
  loadgen --rate 10 --arrivals gamma:cv=2 --duration 1m         burstier than Poisson
  loadgen --closed 32 --requests 1000                           32 always in flight
  loadgen --trace conversation.jsonl --speedup 2                Azure's or Mooncake's format
  loadgen --rate 5 --duration 1m --shared-prefix groups=8,tokens=512
  loadgen --rate 5 --duration 1m --slo ttft=1s --fail-on errors=1%,goodput=95%

Lengths: 512, uniform:min=100,max=900, lognormal:mean=512,cv=1.2,max=8192, or file:PATH with a number
a line, or a trace. Rates: 10, 1..20@60s (a ramp), 5@30s,20@30s (steps); the last one holds.

TTFT and E2E count from the moment a request was due, not from when it was sent: `from send` is the
other. An open loop never waits for answers; what --max-concurrency forbids is an error, not a delay.

Exit status: 0 done, 1 a limit of --fail-on was broken or nothing was answered, 2 trouble, 130 stopped."
)]
pub(crate) struct Args {
    /// The server; http only
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    pub(crate) url: String,
    /// The model's name; `auto` takes the first that the server lists
    #[arg(long, default_value = "auto")]
    pub(crate) model: String,
    /// What is asked: `get` asks for the URL itself, without tokens
    #[arg(long, value_enum, default_value_t = Api::Completions)]
    pub(crate) endpoint: Api,

    /// Open loop: requests a second, over time
    #[arg(long, value_name = "PROFILE", conflicts_with_all = ["closed", "trace"])]
    pub(crate) rate: Option<RateProfile>,
    /// How irregular arrivals are: constant, poisson, gamma:cv=2, gamma:burstiness=0.25 (vLLM's)
    #[arg(long, value_name = "GAPS", default_value = "poisson")]
    pub(crate) arrivals: Gaps,
    /// Closed loop: so many requests always in flight
    #[arg(long, value_name = "N", conflicts_with = "trace")]
    pub(crate) closed: Option<std::num::NonZeroUsize>,
    /// Replay a trace: times, lengths and shared prefixes
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Replay it so many times faster
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "trace")]
    pub(crate) speedup: f64,
    /// How many requests; with --duration whichever ends first
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) requests: Option<usize>,
    /// For how long requests are sent; all are waited for
    #[arg(long, short = 'd', value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Requests before the measured ones; they are in no figure
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) warmup: usize,

    /// Length of prompts, in tokens (or words of about one)
    #[arg(long, value_name = "LENGTHS", default_value = "512")]
    pub(crate) input: String,
    /// Length of answers, in tokens
    #[arg(long, value_name = "LENGTHS", default_value = "128")]
    pub(crate) output: String,
    /// What stands before the prompts, the same for a group: groups=8,tokens=512[,skew=1]
    #[arg(long, value_name = "SPEC", conflicts_with = "trace")]
    pub(crate) shared_prefix: Option<SharedPrefix>,
    /// Prompts as token ids: exactly as long as asked (completions)
    #[arg(long)]
    pub(crate) prompt_token_ids: bool,
    /// The ids that those are drawn from
    #[arg(long, value_name = "FROM..TO", default_value = "1000..30000", value_parser = vocabulary)]
    pub(crate) vocabulary: std::ops::Range<u32>,
    /// Answers in one piece
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Ask the server to generate the full length (`ignore_eos`)
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Ask the server to count tokens in every chunk (`continuous_usage_stats`)
    #[arg(long)]
    pub(crate) continuous_usage: bool,
    /// More fields for every request, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    pub(crate) extra_body: Map<String, Value>,
    /// One more header field
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
    /// Sent as `Authorization: Bearer`; printed nowhere
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,

    /// What a request must not exceed to be good: ttft=500ms,tpot=50ms,e2e=5s, or some of these
    #[arg(long, value_name = "LIMITS")]
    pub(crate) slo: Option<Slo>,
    /// Exit with 1 above so many errors, or below so much goodput: errors=1%,goodput=95%
    #[arg(long, value_name = "SHARES")]
    pub(crate) fail_on: Option<FailOn>,
    /// A request that takes longer has failed
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// The most requests in flight
    #[arg(long, value_name = "N", default_value_t = 8192)]
    pub(crate) max_concurrency: usize,
    /// Threads that send; one is enough for thousands of streams
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,
    /// A new connection for every request
    #[arg(long)]
    pub(crate) no_keepalive: bool,
    /// What all random numbers are drawn from; another for every run against one prefix cache
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,

    /// Write the summary as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write one line of JSON a request
    #[arg(long, value_name = "FILE")]
    pub(crate) records: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// No progress and no table
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Api {
    Completions,
    Chat,
    Get,
}

impl From<Api> for Endpoint {
    fn from(api: Api) -> Self {
        match api {
            Api::Completions => Self::Completions,
            Api::Chat => Self::Chat,
            Api::Get => Self::Get,
        }
    }
}

/// Shares of all requests, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct FailOn {
    /// More errors than this.
    pub(crate) errors: Option<f64>,
    /// Fewer good requests than this.
    pub(crate) goodput: Option<f64>,
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected errors=1%,goodput=95%, or one of these".to_owned();
        let mut limits = Self::default();
        for pair in text.split(',') {
            let (name, share) = pair.split_once('=').ok_or_else(wrong)?;
            let (number, scale) = share.strip_suffix('%').map_or((share, 1.0), |n| (n, 100.0));
            let share = number.trim().parse::<f64>().map_err(|_| wrong())? / scale;
            if !(0.0..=1.0).contains(&share) {
                return Err(wrong());
            }
            match name.trim() {
                "errors" => limits.errors = Some(share),
                "goodput" => limits.goodput = Some(share),
                _ => return Err(wrong()),
            }
        }
        Ok(limits)
    }
}

fn vocabulary(text: &str) -> Result<std::ops::Range<u32>, String> {
    let range = text.split_once("..").and_then(|(from, to)| {
        let range = from.parse().ok()?..to.parse().ok()?;
        (range.start < range.end).then_some(range)
    });
    range.ok_or_else(|| "expected FROM..TO, such as 1000..30000".to_owned())
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("expected a JSON object: {error}"))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn limits_are_shares() {
        let limits: FailOn = "errors=1%,goodput=0.95".parse().unwrap();
        assert_eq!(limits, FailOn { errors: Some(0.01), goodput: Some(0.95) });
        for text in ["", "errors", "errors=2", "errors=101%", "latency=1%", "errors=nan"] {
            assert!(text.parse::<FailOn>().is_err(), "{text}");
        }
    }
}
