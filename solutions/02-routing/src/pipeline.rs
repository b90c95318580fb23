//! Filter, score, pick: the shape of the inference extension's scheduler, as a policy.

use std::time::Duration;

use fastrand::Rng;
use routing::{EndpointView, Policy, RouteRequest};

use crate::load::{Candidate, Limits, believed, keep_unsaturated};
use crate::picker::Picker;
use crate::scorers::{
    ActiveRequestScorer, KvCacheUtilizationScorer, QueueScorer, RunningRequestsScorer, Scorer,
};

/// A scorer, and what its opinion counts.
pub struct Weighted {
    /// At least 0.
    pub weight: f64,
    /// The scorer.
    pub scorer: Box<dyn Scorer>,
}

impl Weighted {
    /// Gives a scorer a weight.
    #[must_use]
    pub fn new(weight: f64, scorer: impl Scorer + 'static) -> Self {
        Self { weight, scorer: Box::new(scorer) }
    }
}

/// Looks at the load: drops who is saturated, scores the others, picks.
pub struct LoadAware {
    limits: Limits,
    scorers: Vec<Weighted>,
    picker: Picker,
    rng: Rng,
}

/// The scorers that look at load, with the weights of the inference extension's defaults where it has them (2 for the
/// queue, 2 for the KV cache). Two are ours: what runs, and what this router has in flight itself.
#[must_use]
pub fn load_scorers() -> Vec<Weighted> {
    vec![
        Weighted::new(2.0, QueueScorer),
        Weighted::new(2.0, KvCacheUtilizationScorer),
        Weighted::new(1.0, RunningRequestsScorer),
        Weighted::new(2.0, ActiveRequestScorer),
    ]
}

/// What all scorers together think of each candidate.
#[must_use]
pub fn total(scorers: &[Weighted], candidates: &[Candidate]) -> Vec<f64> {
    // The weighted sum. A scorer that gives fewer scores than there are candidates has no opinion on the rest; what is no
    // number, or lies outside 0 to 1, is a mistake of that scorer: count it as 0, or as the nearer end.
    // ANCHOR: task_2_1_total
    let mut total = vec![0.0; candidates.len()];
    for Weighted { weight, scorer } in scorers {
        for (sum, score) in total.iter_mut().zip(scorer.score(candidates)) {
            *sum += if score.is_nan() { 0.0 } else { weight * score.clamp(0.0, 1.0) };
        }
    }
    total
    // ANCHOR_END: task_2_1_total
}

/// All endpoints as candidates.
#[must_use]
pub fn candidates(endpoints: &[EndpointView], now: Duration, limits: &Limits) -> Vec<Candidate> {
    let candidate = |(index, view): (usize, &EndpointView)| Candidate {
        index,
        view: *view,
        load: believed(view, now, limits),
        matched: 0.0,
    };
    endpoints.iter().enumerate().map(candidate).collect()
}

// === impl LoadAware ===

impl LoadAware {
    /// All scorers of load. Equal seeds give equal choices.
    #[must_use]
    pub fn new(limits: Limits, picker: Picker, seed: u64) -> Self {
        Self { limits, scorers: load_scorers(), picker, rng: Rng::with_seed(seed) }
    }

    /// Other scorers.
    #[must_use]
    pub fn with_scorers(mut self, scorers: Vec<Weighted>) -> Self {
        self.scorers = scorers;
        self
    }
}

impl Policy for LoadAware {
    fn choose(
        &mut self,
        _request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize> {
        let mut candidates = candidates(endpoints, now, &self.limits);
        keep_unsaturated(&mut candidates, &self.limits);
        let scores = total(&self.scorers, &candidates);
        let picked = self.picker.pick(&scores, &mut self.rng)?;
        candidates.get(picked).map(|candidate| candidate.index)
    }
}
