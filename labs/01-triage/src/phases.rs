//! Task 1.1, where did the time go: from the events of one request to phases and latencies.
//!
//! A pure function of a [`Timeline`]. It knows no clock, no engine and no server: the same code
//! reads a live request, a simulated one, and a recording.

use std::time::Duration;

use serving::{EventKind, Phases, Timeline};

/// What a request does at one moment. Each has a field of the same name in [`Phases`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queue,
    ModelLoad,
    Prefill,
    Decode,
    Response,
}

/// The latencies that users and SLOs speak of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Time to first token: from arrival to the first bytes that carry a token. `None` where none
    /// left.
    pub ttft: Option<Duration>,
    /// Time per output token: the mean time between two tokens. `None` for fewer than two tokens.
    pub tpot: Option<Duration>,
    /// Inter-token latencies: one for each token but the first.
    pub itl: Vec<Duration>,
    /// End to end: from the first event to the last.
    pub e2e: Duration,
}

/// Attributes every interval between two events to one phase.
///
/// The parts sum to the time from the first event to the last, exactly, for every timeline: an
/// aborted one, one that was never scheduled, one that was preempted twice. A timeline with fewer
/// than two events has no intervals: all parts are zero.
#[must_use]
pub fn phases(timeline: &Timeline) -> Phases {
    let events = timeline.events();
    let mut phases = Phases::default();
    let loads = events.iter().any(|event| event.kind == EventKind::ModelReady);
    let last_token = events.iter().rposition(|event| event.kind == EventKind::Token);

    // Walk over the events as a state machine: keep the current phase, and give each interval
    // between two neighbours to the phase that its *first* event left the request in (`add` does
    // the sum).
    //
    // - A request starts in `ModelLoad` where the timeline `loads` the model, else in `Queue`.
    // - `ModelReady` and `Preempted` lead to `Queue`, `Scheduled` to `Prefill`, `PrefillDone` to
    //   `Decode`.
    // - `Token` leads to `Response` if it is the `last_token`, else to `Decode`.
    // - `Arrived`, `Queued`, `Flushed` and `Aborted` change nothing: a flush between two tokens is
    //   still decode, and a client that leaves does not say where the time went.
    // ANCHOR: task_1_1_phases
    todo!("task 1.1");
    // ANCHOR_END: task_1_1_phases
    phases
}

/// Adds an interval to the part of its phase.
fn add(phases: &mut Phases, phase: Phase, interval: Duration) {
    let part = match phase {
        Phase::Queue => &mut phases.queue,
        Phase::ModelLoad => &mut phases.model_load,
        Phase::Prefill => &mut phases.prefill,
        Phase::Decode => &mut phases.decode,
        Phase::Response => &mut phases.response,
    };
    *part += interval;
}

/// TTFT, TPOT, ITL and E2E of one request.
///
/// Tokens are counted where the engine samples them, not where the connection sends them: a stream
/// may send three tokens in one chunk, and then the client sees two gaps of zero and a long one.
/// TTFT is the exception, since it promises what the user sees. Time that a preempted request waits
/// is part of ITL and TPOT: to the user the stream stalls, whatever the reason.
#[must_use]
pub fn latencies(timeline: &Timeline) -> Latencies {
    let events = timeline.events();
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Latencies::default();
    };
    let e2e = last.at - first.at;

    // - `ttft`: from the first event to the first `Flushed` that carries at least one token. A chat
    //   stream opens with a chunk that carries only the role: `tokens: 0` is not a first token.
    // - `itl`: the gaps between neighbouring `Token` events.
    // - `tpot`: from the first `Token` to the last, divided by the number of *gaps*, not of tokens:
    //   n tokens have n - 1 gaps. The first token's latency is TTFT's business.
    // ANCHOR: task_1_1_latencies
    todo!("task 1.1")
    // ANCHOR_END: task_1_1_latencies
}
