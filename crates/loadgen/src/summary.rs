//! What a run comes to: counts, rates, percentiles, and what to keep in mind when reading them.

mod figures;
mod notes;
mod tally;

use std::collections::BTreeMap;

use serde::Serialize;

pub use figures::Figures;
pub use tally::Tally;

/// What was run, in words and numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Description {
    /// The server.
    pub url: String,
    /// The model's name.
    pub model: String,
    /// Path that was asked.
    pub path: String,
    /// Whether answers came token by token.
    pub stream: bool,
    /// `open` or `closed`.
    pub r#loop: &'static str,
    /// The arrival process, or how many were always in flight.
    pub load: String,
    /// Lengths of prompts that were asked for.
    pub input: String,
    /// Lengths of answers that were asked for.
    pub output: String,
    /// Requests that were to be sent.
    pub scheduled: usize,
    /// Requests a second that were asked for, where that is one number.
    pub asked_rate: Option<f64>,
    /// Coefficient of variation of the gaps that was asked for, where that is one number.
    pub asked_cv: Option<f64>,
    /// What random numbers were drawn from.
    pub seed: u64,
    /// Limits that a good request keeps.
    pub slo: Option<String>,
    /// Seconds after which a request had failed.
    pub timeout_s: f64,
    /// Worker threads.
    pub threads: usize,
}

/// What happened to the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// To be sent.
    pub scheduled: usize,
    /// Sent.
    pub sent: usize,
    /// Answered in full.
    pub ok: usize,
    /// Failed; with those that were not sent.
    pub failed: usize,
    /// In flight when the run was stopped: neither.
    pub unfinished: usize,
    /// Answered inside every limit.
    pub good: Option<usize>,
    /// Sent a second time, because the server closed a kept connection.
    pub retried: usize,
}

/// How much a second, from the start of the schedule to the last answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Throughput {
    /// Answered requests.
    pub requests_per_s: f64,
    /// Tokens of their prompts.
    pub input_tokens_per_s: f64,
    /// Tokens of their answers.
    pub output_tokens_per_s: f64,
    /// Requests inside every limit.
    pub goodput_per_s: Option<f64>,
    /// Mean number of requests in flight.
    pub mean_in_flight: f64,
}

/// Latencies in milliseconds; `None` where nothing was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Latencies {
    /// Time to first token, from when the request was due.
    pub ttft: Option<Figures>,
    /// The same from when it was sent.
    pub ttft_from_send: Option<Figures>,
    /// Times between pieces of content.
    pub itl: Option<Figures>,
    /// Mean time per output token after the first, one a request.
    pub tpot: Option<Figures>,
    /// Time to the last token, from when the request was due.
    pub e2e: Option<Figures>,
    /// The same from when it was sent.
    pub e2e_from_send: Option<Figures>,
}

/// Failures of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// How many.
    pub count: usize,
    /// Of those, by status code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub statuses: BTreeMap<u16, usize>,
    /// What one of them said.
    pub example: String,
}

/// Rate and irregularity of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Requests a second.
    pub per_s: f64,
    /// Standard deviation over mean of the gaps.
    pub gap_cv: f64,
}

/// Whether requests left when they should.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ArrivalFigures {
    /// As drawn, of those that were sent.
    pub scheduled: Option<Rate>,
    /// As they left.
    pub sent: Option<Rate>,
    /// How much later they left than they were due, in milliseconds.
    pub lateness_ms: Option<Figures>,
}

/// What answers looked like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Answers {
    /// Mean length of a prompt as asked, in tokens.
    pub input_asked: f64,
    /// Mean length of a prompt as the server counted it.
    pub input_tokens: f64,
    /// Mean length of an answer as asked, in tokens.
    pub output_asked: f64,
    /// Mean length of an answer.
    pub output_tokens: f64,
    /// Share of pieces of content that came in one read with the one before: their gaps are measured as zero.
    pub coalesced_share: f64,
}

/// What the generator used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Generator {
    /// Seconds of processor time, of all threads.
    pub cpu_s: Option<f64>,
    /// Of that, seconds spent waiting busily for the moment to send: precision, not work.
    pub spun_s: f64,
    /// Microseconds of processor time a request, without that waiting.
    pub cpu_us_per_request: Option<f64>,
    /// Share of a processor that its busiest worker used, without that waiting.
    pub busiest_worker: Option<f64>,
    /// Connections that were opened.
    pub connections: usize,
    /// The most requests in flight that the system allowed, where that is below what was asked.
    pub max_in_flight_lowered_to: Option<usize>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Version of this shape; a field that changes its meaning changes it.
    pub schema: u32,
    /// What was run.
    pub run: Description,
    /// How long it took: from the start of the schedule to the last answer.
    pub duration_s: f64,
    /// What happened to the requests.
    pub requests: Counts,
    /// How much a second.
    pub throughput: Throughput,
    /// How long they took.
    pub latency_ms: Latencies,
    /// Failures by kind.
    pub errors: BTreeMap<&'static str, Errors>,
    /// Whether they left when they should.
    pub arrivals: ArrivalFigures,
    /// What answers looked like.
    pub answers: Answers,
    /// What the generator used.
    pub generator: Generator,
    /// What to keep in mind.
    pub notes: Vec<String>,
    /// What the plots show.
    #[serde(skip)]
    pub plots: Plots,
}

/// The material of the plots.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plots {
    /// Requests, or a sample of them, in order of when they were due.
    pub points: Vec<Point>,
    /// One a second of the run.
    pub seconds: Vec<Second>,
    /// Distributions: name, then latency in milliseconds and share of requests at or below it.
    pub distributions: Vec<(&'static str, Vec<(f64, f64)>)>,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When it was due, in seconds.
    pub due_s: f64,
    /// Time to first token.
    pub ttft_ms: Option<f64>,
    /// Time to the last token.
    pub e2e_ms: Option<f64>,
}

/// One second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    /// Requests that were due.
    pub due: u32,
    /// Requests that were sent.
    pub sent: u32,
    /// Requests that were answered.
    pub ok: u32,
    /// Requests that failed.
    pub failed: u32,
}
