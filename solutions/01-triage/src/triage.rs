//! Task 1.7, triage: from metrics, traces and what clients saw to a cause and a remedy.
//!
//! The order matters. First ask whether the instruments can be trusted, then whether anything moves at
//! all, then where requests wait, and only then why steps are slow. A queue is a symptom of almost
//! everything: ask what it is a queue *for*.

use crate::evidence::{Evidence, Scrape, Symptoms};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
// ANCHOR: book_cause
pub enum Cause {
    /// Nothing: whoever complained saw more traffic, or a bad minute.
    Healthy,
    /// A metric that somebody watches has another name now; the engine is fine.
    MetricRenamed,
    /// The engine's loop stands still. The HTTP server beside it still says 200.
    EngineHung,
    /// A new process loads its weights while requests wait for it.
    ColdStart,
    /// Text becomes tokens too slowly, before the queue.
    SlowTokenizer,
    /// Something between engine and user collects tokens and hands them on in lumps.
    ClientCoalescing,
    /// Blocks run out while sequences grow: they are thrown out and computed again and again.
    PreemptionThrash,
    /// Blocks run out before sequences start: the queue waits for KV memory.
    KvStarvation,
    /// The queue waits for a place, though memory and device have room for more sequences.
    MaxNumSeqs,
    /// More tokens arrive than the device can compute, however they are arranged.
    Overload,
    /// Prefixes that were found in the cache are not found any more.
    ColdPrefixCache,
    /// Long prompts are computed in one piece, and every decode waits for them.
    LongPrefill,
    /// Between two steps the host works while the device waits: sampling, or what else runs there.
    SlowSampler,
    /// The device takes longer for the same work.
    SlowDevice,
}
// ANCHOR_END: book_cause

/// What helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Remedy {
    /// Leave it alone.
    Nothing,
    /// Ask for the new name in dashboards, alerts and autoscaler.
    FixQueries,
    /// Restart it now; then let the liveness probe ask for progress, not for a port.
    RestartAndProbeProgress,
    /// Keep a warm replica, and the weights on the node.
    KeepWarmReplica,
    /// Give the server more CPU, or tokenize beside it.
    AddHostCpu,
    /// Turn off buffering in the proxy, or have the client flush.
    StopBuffering,
    /// Run fewer sequences at once.
    LowerMaxNumSeqs,
    /// More memory for blocks: a smaller cache type, fewer weights, another device.
    AddKvMemory,
    /// Run more sequences at once.
    RaiseMaxNumSeqs,
    /// Another replica.
    AddReplicas,
    /// Send requests with one prefix to one replica, and keep what varies out of its beginning.
    RestorePrefixAffinity,
    /// A smaller token budget, so that a long prompt runs in pieces.
    LowerTokenBudget,
    /// Move sampling to the device, or take it off the step's path.
    SpeedUpSampling,
    /// Drain the node and look at its clocks, its heat and its neighbours.
    ReplaceDevice,
}

/// By how much a counter grew, over restarts of the process that counts. `None` where the first or the last
/// page does not have it, or there are fewer than two pages.
///
/// The same as PromQL's `increase()`, without its extrapolation to the edges of the window.
#[must_use]
pub fn increase(scrapes: &[&Scrape], name: &str) -> Option<f64> {
    // `page.total(name)` is the sum over all label sets. Walk over neighbouring pages: a counter only
    // ever goes up, so one that went down began again at 0, and what it shows then was counted since.
    // A page in between that lacks the counter is skipped.
    // ANCHOR: task_1_7_increase
    let (first, last) = (scrapes.first()?, scrapes.last()?);
    if scrapes.len() < 2 || first.page.total(name).is_none() {
        return None;
    }
    last.page.total(name)?;
    let values: Vec<f64> = scrapes.iter().filter_map(|look| look.page.total(name)).collect();
    let grown = |pair: &[f64]| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] };
    Some(values.windows(2).map(grown).sum())
    // ANCHOR_END: task_1_7_increase
}

/// The mean of what a histogram observed in this stretch. `None` where it observed nothing.
#[must_use]
pub fn mean(scrapes: &[&Scrape], histogram: &str) -> Option<f64> {
    // `{histogram}_sum` and `{histogram}_count` are two counters.
    // ANCHOR: task_1_7_mean
    let count = increase(scrapes, &format!("{histogram}_count"))?;
    let sum = increase(scrapes, &format!("{histogram}_sum"))?;
    (count > 0.0).then(|| sum / count)
    // ANCHOR_END: task_1_7_mean
}

/// Requests a second that an engine can serve at most, if only its places limit it.
///
/// A request holds a place from its first chunk to its last token: it computes its prompt for `prefill`,
/// then it gets a token every `tpot`. All times in seconds.
#[must_use]
pub fn place_capacity(max_num_seqs: usize, prefill: f64, answer_tokens: f64, tpot: f64) -> f64 {
    // Little's law (Little, 1961): places = rate x time in a place.
    // ANCHOR: task_1_7_capacity
    max_num_seqs as f64 / (prefill + answer_tokens * tpot)
    // ANCHOR_END: task_1_7_capacity
}

/// Names the cause of an incident: goes down the floors, and stops at the first that explains it.
#[must_use]
pub fn diagnose(evidence: &Evidence) -> Cause {
    let (before, after) = (evidence.before(), evidence.after());
    instruments(&after)
        .or_else(|| ways(&before, &after))
        .or_else(|| queue(evidence, &before, &after))
        .or_else(|| steps(&before, &after))
        .unwrap_or(Cause::Healthy)
}

/// Floor 1, instruments: does anything move, and can the evidence be trusted?
fn instruments(after: &Symptoms) -> Option<Cause> {
    // - `EngineHung`: the server holds requests, and in the whole stretch there was not one step.
    //   `/health` may well say 200: it asks the HTTP server, not the engine.
    // - `MetricRenamed`: a watched metric is missing although the engine moves.
    // ANCHOR: task_1_7_instruments
    if after.in_flight > Some(0.0) && after.steps == Some(0.0) {
        return Some(Cause::EngineHung);
    }
    (!after.missing.is_empty()).then_some(Cause::MetricRenamed)
    // ANCHOR_END: task_1_7_instruments
}

/// Floor 2, the way in and out: what happens to a request outside the scheduler?
fn ways(before: &Symptoms, after: &Symptoms) -> Option<Cause> {
    // - `ColdStart`: requests spent a good part of their time, a fifth say, waiting for a model to load.
    // - `SlowTokenizer`: the way from arrival to queue became many times longer, and long enough to
    //   notice (50 ms).
    // - `ClientCoalescing`: clients see more tokens in a piece than before. The engine's own ITL knows
    //   nothing of it.
    // ANCHOR: task_1_7_ways
    if after.loading_share > 0.2 {
        return Some(Cause::ColdStart);
    }
    if grew(before.tokenize, after.tokenize, 3.0) && after.tokenize > Some(0.05) {
        return Some(Cause::SlowTokenizer);
    }
    grew(before.tokens_per_piece, after.tokens_per_piece, 2.0).then_some(Cause::ClientCoalescing)
    // ANCHOR_END: task_1_7_ways
}

/// Floor 3, the queue: what do requests wait for?
fn queue(evidence: &Evidence, before: &Symptoms, after: &Symptoms) -> Option<Cause> {
    // - `PreemptionThrash`: it is common that a request is preempted (every second one, say).
    // - Nobody waits, or no more than before: there is no queue to explain.
    // - The same work takes longer, or prefixes are not found any more: then the queue is their symptom,
    //   and the next floor names it.
    // - `Overload`: the token budget is used up in nearly every step.
    // - `MaxNumSeqs`: nearly all places are taken. More would be filled, and a step with more decodes
    //   costs hardly more.
    // - `KvStarvation`: budget and places are left, so blocks are not; `kv_usage` is high on average. (It
    //   is not always 1: a long prompt takes its blocks chunk by chunk.)
    // ANCHOR: task_1_7_queue
    if after.preemptions_per_request > Some(0.5) {
        return Some(Cause::PreemptionThrash);
    }
    let waiting = after.waiting.unwrap_or(0.0);
    let no_queue = waiting < 1.0 || waiting < 3.0 * before.waiting.unwrap_or(0.0);
    if no_queue || same_work_takes_longer(before, after) || lost_prefixes(before, after) {
        return None;
    }
    if after.tokens_per_step > Some(0.7 * evidence.max_num_batched_tokens as f64) {
        return Some(Cause::Overload);
    }
    if after.running > Some(0.8 * evidence.max_num_seqs as f64) {
        return Some(Cause::MaxNumSeqs);
    }
    (after.kv_usage > Some(0.5)).then_some(Cause::KvStarvation)
    // ANCHOR_END: task_1_7_queue
}

/// Floor 4, steps: why do they take longer?
fn steps(before: &Symptoms, after: &Symptoms) -> Option<Cause> {
    // - `ColdPrefixCache`: prefixes are not found any more.
    // - `SlowSampler`: from token to token passes clearly more time than the device computes in a step,
    //   that difference grew, and the device is no busier than before: it waits.
    // - `SlowDevice`: the same work takes longer.
    // - `LongPrefill`: the longest gaps between tokens grew, and so did the prompts. (`itl_p99` moves from
    //   bucket to bucket: one step up may mean little, so it needs this second witness.)
    // ANCHOR: task_1_7_steps
    if lost_prefixes(before, after) {
        return Some(Cause::ColdPrefixCache);
    }
    let host = |symptoms: &Symptoms| Some(symptoms.itl? - symptoms.device_step?);
    let waits_for_the_host = host(after) > after.device_step.map(|step| step / 2.0);
    let busier = grew(before.device_share, after.device_share, 1.1);
    if waits_for_the_host && grew(host(before), host(after), 2.0) && !busier {
        return Some(Cause::SlowSampler);
    }
    if same_work_takes_longer(before, after) {
        return Some(Cause::SlowDevice);
    }
    let longer = grew(before.prompt_tokens, after.prompt_tokens, 1.5);
    (longer && grew(before.itl_p99, after.itl_p99, 1.5)).then_some(Cause::LongPrefill)
    // ANCHOR_END: task_1_7_steps
}

/// Whether the prefix cache was of use and is not any more: half of its hit rate is gone.
fn lost_prefixes(before: &Symptoms, after: &Symptoms) -> bool {
    before.hit_rate > Some(0.2) && grew(after.hit_rate, before.hit_rate, 2.0)
}

/// Whether the device does the same work more slowly: it reads fewer bytes a second, and not because it
/// computes more instead.
///
/// The time of a step alone does not tell. A slow device makes requests pile up, so its steps hold more
/// tokens, and a longer step with more tokens is what a healthy device shows under load.
fn same_work_takes_longer(before: &Symptoms, after: &Symptoms) -> bool {
    grew(after.read_rate, before.read_rate, 1.4) && !grew(before.flops_rate, after.flops_rate, 1.3)
}

/// Whether both are known and the second is more than `factor` times the first.
fn grew(before: Option<f64>, after: Option<f64>, factor: f64) -> bool {
    before.zip(after).is_some_and(|(before, after)| after > before * factor)
}

/// What helps against a cause.
#[must_use]
pub fn remedy(cause: Cause) -> Remedy {
    // One remedy for each cause.
    // ANCHOR: task_1_7_remedy
    match cause {
        Cause::Healthy => Remedy::Nothing,
        Cause::MetricRenamed => Remedy::FixQueries,
        Cause::EngineHung => Remedy::RestartAndProbeProgress,
        Cause::ColdStart => Remedy::KeepWarmReplica,
        Cause::SlowTokenizer => Remedy::AddHostCpu,
        Cause::ClientCoalescing => Remedy::StopBuffering,
        Cause::PreemptionThrash => Remedy::LowerMaxNumSeqs,
        Cause::KvStarvation => Remedy::AddKvMemory,
        Cause::MaxNumSeqs => Remedy::RaiseMaxNumSeqs,
        Cause::Overload => Remedy::AddReplicas,
        Cause::ColdPrefixCache => Remedy::RestorePrefixAffinity,
        Cause::LongPrefill => Remedy::LowerTokenBudget,
        Cause::SlowSampler => Remedy::SpeedUpSampling,
        Cause::SlowDevice => Remedy::ReplaceDevice,
    }
    // ANCHOR_END: task_1_7_remedy
}
