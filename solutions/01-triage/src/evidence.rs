//! What can be known about an engine from outside, and the figures that a triage reads from it.
//!
//! Given. An incident is told by the four things an operator has: how the engine is configured, its
//! metrics page over time, traces of some requests, and what the clients saw. Nothing here looks inside.

use std::time::Duration;

use protocol::scrape::Page;
use serving::{EventKind, Timeline};

use crate::phases::phases;
use crate::triage::{increase, mean};

/// One look at an engine from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape {
    /// When, on the clock of whoever looks.
    pub at: Duration,
    /// What `/health` said; `None` where nobody answered.
    pub health: Option<u16>,
    /// Requests that the HTTP server holds, as `/load` says; `None` where it does not.
    pub in_flight: Option<f64>,
    /// What `/metrics` said, device metrics of the node included.
    pub page: Page,
}

/// What one client saw of one streamed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// When each piece arrived, and how many tokens it carried.
    pub pieces: Vec<(Duration, usize)>,
}

/// All that an operator has when the phone rings.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The engine's flag `--max-num-seqs`.
    pub max_num_seqs: usize,
    /// The engine's flag `--max-num-batched-tokens`.
    pub max_num_batched_tokens: usize,
    /// Metrics that dashboards, alerts and the autoscaler ask for by name.
    pub watched: Vec<String>,
    /// The page, again and again; times rise.
    pub scrapes: Vec<Scrape>,
    /// Since when somebody complains.
    pub since: Duration,
    /// Traces of requests, on the clock of the scrapes.
    pub traces: Vec<Timeline>,
    /// What clients saw, on their own clocks.
    pub streams: Vec<Stream>,
}

/// The device's own counter of the seconds in which it computed.
///
/// The name is ours. On a GPU node it is NVIDIA's DCGM exporter that knows: the gauge
/// `DCGM_FI_PROF_GR_ENGINE_ACTIVE` is the same figure as a share of time.
pub const DEVICE_BUSY: &str = "device_busy_seconds_total";

/// Floating-point operations that the steps needed, as the engine estimates them from the model's shape.
pub const FLOPS: &str = "vllm:estimated_flops_per_gpu_total";

/// Bytes that the steps had to read from the device's memory, weights above all; estimated like [`FLOPS`].
pub const READ_BYTES: &str = "vllm:estimated_read_bytes_per_gpu_total";

/// The figures of one stretch of time. `None` where the evidence does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Symptoms {
    /// How long the stretch is.
    pub length: Duration,
    /// Whether every look found `/health` at 200.
    pub healthy: bool,
    /// Mean number of requests that the HTTP server holds. The engine's own gauges are as old as its last
    /// step.
    pub in_flight: Option<f64>,
    /// Mean of `vllm:num_requests_running`.
    pub running: Option<f64>,
    /// Mean of `vllm:num_requests_waiting`.
    pub waiting: Option<f64>,
    /// Mean of `vllm:kv_cache_usage_perc`, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Requests that ended, a second.
    pub finished_per_s: Option<f64>,
    /// Tokens generated, a second.
    pub generated_per_s: Option<f64>,
    /// Preemptions for each request that ended.
    pub preemptions_per_request: Option<f64>,
    /// Part of the prompt tokens looked up that the prefix cache had.
    pub hit_rate: Option<f64>,
    /// Steps in which the engine computed something.
    pub steps: Option<f64>,
    /// Tokens fed to the model, a step.
    pub tokens_per_step: Option<f64>,
    /// Tokens of a prompt.
    pub prompt_tokens: Option<f64>,
    /// Tokens of an answer.
    pub generated_tokens: Option<f64>,
    /// Seconds from token to token.
    pub itl: Option<f64>,
    /// Seconds from token to token that one token in a hundred exceeds.
    pub itl_p99: Option<f64>,
    /// Seconds in which a request computed its prompt.
    pub prefill: Option<f64>,
    /// Seconds in which the device computed, a step.
    pub device_step: Option<f64>,
    /// Part of the time in which the device computed, 0 to 1.
    pub device_share: Option<f64>,
    /// Floating-point operations a second of device time.
    pub flops_rate: Option<f64>,
    /// Bytes read from the device's memory a second of device time.
    pub read_rate: Option<f64>,
    /// Seconds from a request's arrival to its place in the queue: reading and tokenizing it.
    pub tokenize: Option<f64>,
    /// Part of the requests' time that they waited for a model to load.
    pub loading_share: f64,
    /// Tokens in a piece of a stream, as clients saw it.
    pub tokens_per_piece: Option<f64>,
    /// Watched metrics that the last page does not have.
    pub missing: Vec<String>,
}

impl Evidence {
    /// The stretch before anybody complained.
    #[must_use]
    pub fn before(&self) -> Symptoms {
        self.symptoms(Duration::ZERO, self.since)
    }

    /// The stretch since somebody complains.
    #[must_use]
    pub fn after(&self) -> Symptoms {
        self.symptoms(self.since, Duration::MAX)
    }

    /// The figures of the stretch from `from` to before `to`. Traces and streams count where they began.
    fn symptoms(&self, from: Duration, to: Duration) -> Symptoms {
        let inside = |at: Duration| from <= at && at < to;
        let scrapes: Vec<&Scrape> = self.scrapes.iter().filter(|look| inside(look.at)).collect();
        let length = match (scrapes.first(), scrapes.last()) {
            (Some(first), Some(last)) => last.at - first.at,
            _ => Duration::ZERO,
        };
        let began = |trace: &&Timeline| trace.events().first().is_some_and(|e| inside(e.at));
        let traces: Vec<&Timeline> = self.traces.iter().filter(began).collect();
        let first_piece = |stream: &&Stream| stream.pieces.first().is_some_and(|p| inside(p.0));
        let streams: Vec<&Stream> = self.streams.iter().filter(first_piece).collect();

        let grown = |name: &str| increase(&scrapes, name);
        let a_second = |name: &str| ratio(grown(name), Some(length.as_secs_f64()));
        let of = |name: &str| mean(&scrapes, name);
        let steps = grown("vllm:iteration_tokens_total_count");
        Symptoms {
            length,
            healthy: !scrapes.is_empty() && scrapes.iter().all(|look| look.health == Some(200)),
            in_flight: average(scrapes.iter().filter_map(|look| look.in_flight)),
            running: gauge(&scrapes, "vllm:num_requests_running"),
            waiting: gauge(&scrapes, "vllm:num_requests_waiting"),
            kv_usage: gauge(&scrapes, "vllm:kv_cache_usage_perc"),
            finished_per_s: a_second("vllm:request_success_total"),
            generated_per_s: a_second("vllm:generation_tokens_total"),
            preemptions_per_request: ratio(
                grown("vllm:num_preemptions_total"),
                grown("vllm:request_success_total"),
            ),
            hit_rate: ratio(
                grown("vllm:prefix_cache_hits_total"),
                grown("vllm:prefix_cache_queries_total"),
            ),
            steps,
            tokens_per_step: of("vllm:iteration_tokens_total"),
            prompt_tokens: of("vllm:request_prompt_tokens"),
            generated_tokens: of("vllm:request_generation_tokens"),
            itl: of("vllm:inter_token_latency_seconds"),
            itl_p99: percentile(&scrapes, "vllm:inter_token_latency_seconds", 0.99),
            prefill: of("vllm:request_prefill_time_seconds"),
            device_step: ratio(grown(DEVICE_BUSY), steps),
            device_share: a_second(DEVICE_BUSY),
            flops_rate: ratio(grown(FLOPS), grown(DEVICE_BUSY)),
            read_rate: ratio(grown(READ_BYTES), grown(DEVICE_BUSY)),
            tokenize: tokenize(&traces),
            loading_share: loading_share(&traces),
            tokens_per_piece: tokens_per_piece(&streams),
            missing: missing(&self.watched, &scrapes),
        }
    }
}

/// `a / b` where both are known and `b` is not 0.
fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    let b = b.filter(|b| *b > 0.0)?;
    Some(a? / b)
}

/// The mean of a gauge over all looks that have it.
fn gauge(scrapes: &[&Scrape], name: &str) -> Option<f64> {
    average(scrapes.iter().filter_map(|look| look.page.total(name)))
}

fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    ratio(Some(values.iter().sum()), Some(values.len() as f64))
}

/// A quantile of what a histogram counted in this stretch: the upper bound of its bucket.
fn percentile(scrapes: &[&Scrape], name: &str, q: f64) -> Option<f64> {
    let (first, last) = (scrapes.first()?, scrapes.last()?);
    let (before, now) = (first.page.buckets(name), last.page.buckets(name));
    // A restart in between: what the new process counted is what there is.
    let restarted = before.iter().zip(&now).any(|(before, now)| now.1 < before.1);
    let counted = |index: usize| {
        let earlier = if restarted { None } else { before.get(index) };
        now[index].1 - earlier.map_or(0.0, |(_, count)| *count)
    };
    let total = now.len().checked_sub(1).map(counted).filter(|total| *total > 0.0)?;
    let bucket = (0..now.len()).find(|index| counted(*index) >= q * total)?;
    Some(now[bucket].0)
}

/// Mean seconds from arrival to queue, without the wait for a model.
fn tokenize(traces: &[&Timeline]) -> Option<f64> {
    let wait = |trace: &&Timeline| {
        let events = trace.events();
        let queued = events.iter().find(|event| event.kind == EventKind::Queued)?;
        let loaded = events.iter().find(|event| event.kind == EventKind::ModelReady);
        let from = loaded.or(events.first())?;
        Some(queued.at.saturating_sub(from.at).as_secs_f64())
    };
    average(traces.iter().filter_map(wait))
}

/// Which part of the requests' time was model loading.
fn loading_share(traces: &[&Timeline]) -> f64 {
    let sum = |part: fn(&serving::Phases) -> Duration| -> f64 {
        traces.iter().map(|trace| part(&phases(trace)).as_secs_f64()).sum()
    };
    let (loading, total) = (sum(|phases| phases.model_load), sum(serving::Phases::total));
    if total > 0.0 { loading / total } else { 0.0 }
}

/// Mean number of tokens in a piece.
fn tokens_per_piece(streams: &[&Stream]) -> Option<f64> {
    let pieces = || streams.iter().flat_map(|stream| &stream.pieces);
    let tokens: usize = pieces().map(|(_, tokens)| tokens).sum();
    ratio(Some(tokens as f64), Some(pieces().count() as f64))
}

/// Which watched metrics the last page does not have, in any of a histogram's parts either.
fn missing(watched: &[String], scrapes: &[&Scrape]) -> Vec<String> {
    let Some(last) = scrapes.last() else { return Vec::new() };
    let has = |name: &String| last.page.samples.iter().any(|sample| sample.name == *name);
    watched.iter().filter(|name| !has(name)).cloned().collect()
}
