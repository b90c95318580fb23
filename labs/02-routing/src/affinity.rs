//! Task 2.2, its last step: how much a warm cache is worth, and when it is worth nothing.
//!
//! A request that goes where its beginning is cached is cheap, and makes that endpoint the better choice for the next one
//! of its kind. Without a brake, a popular beginning piles up on one endpoint while its neighbours idle.

use fastrand::Rng;

use crate::load::Candidate;
use crate::scorers::Scorer;

/// When to stay with a warm cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affinity {
    /// From this part of the prompt on, a cache is warm: `affinityThreshold` of llm-d's `prefix-cache-affinity-filter`,
    /// where it is 0.8.
    pub threshold: f64,
    /// A warm endpoint may be this many times as busy as the least busy one, ...
    pub factor: f64,
    /// ... and this many requests more. Both together, as in SGLang's gateway (`balance_rel_threshold`,
    /// `balance_abs_threshold`): a factor alone means nothing at small numbers, a difference nothing at large ones.
    pub slack: u32,
    /// Part of requests that go by load alone, so that caches other than the first become warm too:
    /// `explorationProbability`.
    pub exploration: f64,
}

impl Default for Affinity {
    fn default() -> Self {
        Self { threshold: 0.5, factor: 1.5, slack: 8, exploration: 0.0 }
    }
}

impl Affinity {
    /// Whatever happens, stay.
    pub const NEVER_BREAKS: Self =
        Self { threshold: f64::MIN_POSITIVE, factor: 0.0, slack: u32::MAX, exploration: 0.0 };
}

/// Requests at an endpoint: what it says, or what this router has there, whichever is more.
#[must_use]
pub fn busy(candidate: &Candidate) -> u32 {
    let said = candidate.load.map_or(0, |load| load.waiting.saturating_add(load.running));
    said.max(candidate.view.in_flight)
}

/// Keeps only those whose cache is warm, where that is wise. Returns whether it did.
pub fn keep_warm(candidates: &mut Vec<Candidate>, affinity: &Affinity, rng: &mut Rng) -> bool {
    // A candidate is warm from `affinity.threshold` on. Warm ones alone stay, unless
    // - there is none, or
    // - this request explores, with a probability of `affinity.exploration`, or
    // - even the least busy warm one is overloaded, compared with the least busy of all: more than `factor` times as busy
    //   and more than `slack` requests above.
    // In the last two cases everybody stays, and nobody is warm for this request: set `matched` to 0, else the prefix
    // scorer pulls it back to where it must not go.
    // ANCHOR: task_2_2_keep_warm
    todo!("task 2.2")
    // ANCHOR_END: task_2_2_keep_warm
}

/// The part of the prompt that an endpoint is said to have.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefixCacheScorer;

impl Scorer for PrefixCacheScorer {
    fn name(&self) -> &'static str {
        "prefix-cache-scorer"
    }

    fn score(&self, candidates: &[Candidate]) -> Vec<f64> {
        candidates.iter().map(|candidate| candidate.matched).collect()
    }
}
