//! Task 2.1, its second step: two choices, and an average of latency that is quick to blame and slow to forgive.
//!
//! Finagle's formula, which Linkerd and tower took over (`PeakEwma.scala` in `twitter/finagle`, `load/peak_ewma.rs` in
//! `tower-rs/tower`), with one difference: they measure the whole answer. An answer of a thousand tokens is long, not
//! slow. What a language model's replica is judged by here is its time to the first token.

use std::time::Duration;

use routing::{Ending, Happening};

/// What an endpoint without any history is said to cost while something is in flight there, in seconds. More than any
/// latency: the first request finds out, and nobody follows before it knows.
pub const UNKNOWN: f64 = 1e9;

/// The least that a failure counts as. An endpoint that fails within a millisecond is not a fast one.
pub const FAILURE: Duration = Duration::from_secs(10);

/// The latency of one endpoint: an exponentially weighted moving average that jumps to every peak.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PeakEwma {
    /// The estimate when something was last observed, in seconds, and when that was. `None`: never.
    last: Option<(f64, Duration)>,
}

// === impl PeakEwma ===

impl PeakEwma {
    /// The estimate at `now`, in seconds: it decays towards 0, so that an endpoint that was slow once is tried again.
    #[must_use]
    pub fn estimate(&self, now: Duration, decay: Duration) -> Option<f64> {
        let (seconds, at) = self.last?;
        Some(seconds * weight(now.saturating_sub(at), decay))
    }

    /// Takes note of a latency.
    pub fn observe(&mut self, latency: Duration, now: Duration, decay: Duration) {
        // The first observation is the estimate. After that:
        // - A latency above the estimate, as it has decayed until `now`, becomes the estimate at once: bad news are true.
        // - A lower one pulls only as far as time has passed: with `w = weight(since the last observation)`, the new
        //   estimate is `last * w + latency * (1 - w)`. A hundred quick answers in one millisecond prove nothing.
        // ANCHOR: task_2_1_peak_ewma
        let latency = latency.as_secs_f64();
        let estimate = match self.last {
            None => latency,
            Some((last, at)) => {
                let w = weight(now.saturating_sub(at), decay);
                let decayed = last * w;
                if latency > decayed { latency } else { decayed + latency * (1.0 - w) }
            }
        };
        self.last = Some((estimate, now));
        // ANCHOR_END: task_2_1_peak_ewma
    }

    /// What one more request would cost there: the estimate times the requests that would then be in flight.
    #[must_use]
    pub fn cost(&self, in_flight: u32, now: Duration, decay: Duration) -> f64 {
        // Without history: nothing as long as nothing is in flight, so that somebody finds out; else `UNKNOWN` and a
        // little more for each request in flight.
        // ANCHOR: task_2_1_cost
        match self.estimate(now, decay) {
            Some(seconds) => seconds * f64::from(in_flight + 1),
            None if in_flight == 0 => 0.0,
            None => UNKNOWN + f64::from(in_flight),
        }
        // ANCHOR_END: task_2_1_cost
    }
}

/// How much of an estimate is left after a time: `1/e` after `decay`.
fn weight(elapsed: Duration, decay: Duration) -> f64 {
    (-elapsed.as_secs_f64() / decay.as_secs_f64().max(1e-9)).exp()
}

/// The latency that something says of its endpoint; `None` where it says nothing.
#[must_use]
pub fn latency(happening: Happening) -> Option<Duration> {
    // - The first token says how long it took. A complete answer says nothing more: its length is the client's wish.
    // - What `Failed`, `TimedOut` or was `Refused` says that this endpoint should be left alone. It counts as its time,
    //   and at least as `FAILURE`: else the endpoint that fails fastest gets everything.
    // - A client's error, or a client that went away, says nothing.
    // ANCHOR: task_2_1_latency
    match happening {
        Happening::FirstToken(took) => Some(took),
        Happening::Ended { ending, took } => match ending {
            Ending::Failed | Ending::TimedOut | Ending::Refused => Some(took.max(FAILURE)),
            Ending::Answered | Ending::ClientError | Ending::Cancelled => None,
        },
        Happening::Sent => None,
    }
    // ANCHOR_END: task_2_1_latency
}
