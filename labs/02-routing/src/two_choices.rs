//! Task 2.1, still its second step: two random endpoints, and the better of them.
//!
//! Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (IEEE TPDS 12, 2001). Nearly as good as looking at
//! all, and better than that where what is known is old: then everybody knows the same, and runs to the same place
//! (Mitzenmacher, "How Useful Is Old Information?", IEEE TPDS 11, 2000).

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use routing::{EndpointId, EndpointView, Feedback, Policy, RouteRequest};

use crate::peak_ewma::{PeakEwma, latency};

/// The cheaper of two places below `count` that are drawn at random; `None` where there is no place.
pub fn two_choices(
    count: usize,
    rng: &mut Rng,
    mut cost: impl FnMut(usize) -> f64,
) -> Option<usize> {
    // The two are different, and every pair is as likely as any other. The first drawn wins where both cost the same; it is
    // random itself. One place alone is not asked for its cost.
    // ANCHOR: task_2_1_two_choices
    todo!("task 2.1")
    // ANCHOR_END: task_2_1_two_choices
}

/// Time over which peaks are forgotten. Finagle's default, `decayTime`.
const DECAY: Duration = Duration::from_secs(10);
/// Endpoints whose latency is remembered.
const MAX_REMEMBERED: usize = 4_096;

/// Two choices by peak EWMA: the policy.
#[derive(Debug, Clone)]
pub struct TwoChoices {
    rng: Rng,
    decay: Duration,
    latencies: BTreeMap<EndpointId, PeakEwma>,
}

// === impl TwoChoices ===

impl TwoChoices {
    /// Equal seeds give equal choices.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), decay: DECAY, latencies: BTreeMap::new() }
    }
}

impl Policy for TwoChoices {
    fn choose(
        &mut self,
        _request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize> {
        two_choices(endpoints.len(), &mut self.rng, |index| {
            let EndpointView { id, in_flight, .. } = endpoints[index];
            let known = self.latencies.get(&id).copied().unwrap_or_default();
            known.cost(in_flight, now, self.decay)
        })
    }

    fn observe(&mut self, feedback: &Feedback) {
        let Some(latency) = latency(feedback.happening) else { return };
        if self.latencies.len() >= MAX_REMEMBERED {
            self.latencies.pop_first();
        }
        let known = self.latencies.entry(feedback.endpoint).or_default();
        known.observe(latency, feedback.at, self.decay);
    }

    fn forget(&mut self, endpoint: EndpointId) {
        self.latencies.remove(&endpoint);
    }
}
