//! Fleets that policies are tried on: llama-3.1-8b on H100s, by lab 1's scheduler, pool and roofline.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use routing::Policy;
use serving::SchedulerLimits;
use simulation::{Arrival, Fleet, Prompt, Replica, ReplicaSpec, Report, Slo};
use sol01_triage::{ContinuousScheduler, Naming, PagedPool, Placement};

/// Token slots in a block.
const BLOCK: usize = 16;

/// Tokens of a document that requests share.
pub(super) const DOCUMENT: usize = 2_000;

/// What replicas may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Sequences in a step.
    pub(super) seqs: usize,
    /// Tokens of KV cache.
    pub(super) kv_tokens: usize,
    /// Requests that may wait; more are refused.
    pub(super) queue: usize,
}

/// A small share of an H100, so that checks fill it with few requests.
pub(super) const SMALL: Size = Size { seqs: 32, kv_tokens: 48_000, queue: 64 };

/// A replica of `size`.
pub(super) fn replica(size: Size) -> Replica {
    let placement = Placement::named("h100", "llama-3.1-8b", 1).expect("both are in the catalogue");
    let limits = SchedulerLimits::try_new(size.seqs, 2_048).expect("valid limits");
    let spec = ReplicaSpec { max_queue: size.queue, ..ReplicaSpec::new(limits, BLOCK) };
    let pool = PagedPool::new(size.kv_tokens / BLOCK, BLOCK).with_naming(Naming::Trusting);
    let scheduler = ContinuousScheduler::new(limits, pool);
    Replica::new(spec, Box::new(scheduler), placement.roofline)
}

/// A fleet of `count` such replicas.
pub(super) fn fleet(count: usize, size: Size, policy: impl Policy + 'static) -> Fleet {
    Fleet::new((0..count).map(|_| replica(size)).collect(), policy)
}

/// Poisson arrivals.
pub(super) fn times(count: usize, rate: f64, rng: &mut StdRng) -> Vec<Duration> {
    let mut at = 0.0;
    let mut next = |_| {
        at -= (1.0 - rng.random::<f64>()).ln() / rate;
        Duration::from_secs_f64(at)
    };
    (0..count).map(&mut next).collect()
}

/// One request of its kind: a question, or a document of ten times that with a longer answer. Nothing is shared.
fn request(at: Duration, is_document: bool, rng: &mut StdRng) -> Arrival {
    let (prompt, answer) = if is_document { (3_000..6_000, 300..500) } else { (50..600, 20..150) };
    Arrival::new(at, rng.random_range(prompt), rng.random_range(answer))
}

/// Requests as people send them: many short ones, and a tenth that are ten times as long.
pub(super) fn mixed(count: usize, rate: f64, rng: &mut StdRng) -> Vec<Arrival> {
    let times = times(count, rate, rng);
    let mut next = |at| {
        let is_document = rng.random_bool(0.1);
        request(at, is_document, rng)
    };
    times.into_iter().map(&mut next).collect()
}

/// Requests as programs send them: each fourth is a document.
pub(super) fn in_fours(count: usize, rate: f64, rng: &mut StdRng) -> Vec<Arrival> {
    let times = times(count, rate, rng);
    times.into_iter().zip(0..).map(|(at, index)| request(at, index % 4 == 0, rng)).collect()
}

/// Questions about documents: each request begins with one of `documents` texts of 2,000 tokens, drawn by `which`.
pub(super) fn about_documents(
    count: usize,
    rate: f64,
    rng: &mut StdRng,
    mut which: impl FnMut(&mut StdRng) -> u64,
) -> Vec<Arrival> {
    let times = times(count, rate, rng);
    let mut next = |at| {
        let tokens = DOCUMENT + rng.random_range(50..300);
        let prompt = Prompt::Shared { prefix: which(rng), prefix_tokens: DOCUMENT, tokens };
        Arrival { prompt, ..Arrival::new(at, tokens, rng.random_range(30..150)) }
    };
    times.into_iter().map(&mut next).collect()
}

/// Part of the prompts that the engines' prefix caches had.
pub(super) fn hit_rate(report: &Report) -> f64 {
    report.summary(&slo()).prefix_hit_rate
}

/// What a user calls good enough here.
pub(super) fn slo() -> Slo {
    Slo { ttft: Some(Duration::from_millis(500)), tpot: Some(Duration::from_millis(25)), e2e: None }
}

/// The part of all requests that were served well. Who was refused was not.
pub(super) fn goodput(report: &Report) -> f64 {
    report.summary(&slo()).slo_attainment
}

/// Serves all requests to their end.
pub(super) fn serve(fleet: Fleet, arrivals: Vec<Arrival>) -> Report {
    fleet.run(arrivals, Duration::MAX).expect("every request is served or refused")
}
