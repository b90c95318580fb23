//! Task 2.1, still its third step: from what is known of endpoints to numbers between 0 and 1.
//!
//! Names and meanings are those of the Gateway API inference extension and of llm-d's router
//! (`pkg/epp/framework/plugins/scheduling/scorer`). A score compares endpoints for one request; it means nothing else.

use crate::load::Candidate;

/// One opinion on all candidates.
pub trait Scorer: Send {
    /// What configurations call it.
    fn name(&self) -> &'static str;

    /// A score for each candidate, in their order: 1 is best, 0 worst.
    fn score(&self, candidates: &[Candidate]) -> Vec<f64>;
}

/// Scores counts of which fewer are better. `None`: not known.
#[must_use]
pub fn fewest_is_best(counts: &[Option<u32>]) -> Vec<f64> {
    // Of those that are known, the smallest scores 1 and the largest 0, the others in proportion between them. Where all are
    // equal, each scores 1. Who is not known scores 0, and has no part in what is smallest and largest.
    // ANCHOR: task_2_1_fewest_is_best
    todo!("task 2.1")
    // ANCHOR_END: task_2_1_fewest_is_best
}

/// Requests that wait for their first place in a step.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueueScorer;

impl Scorer for QueueScorer {
    fn name(&self) -> &'static str {
        "queue-scorer"
    }

    fn score(&self, candidates: &[Candidate]) -> Vec<f64> {
        let waiting = |candidate: &Candidate| candidate.load.map(|load| load.waiting);
        fewest_is_best(&candidates.iter().map(waiting).collect::<Vec<_>>())
    }
}

/// Requests that hold a place.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunningRequestsScorer;

impl Scorer for RunningRequestsScorer {
    fn name(&self) -> &'static str {
        "running-requests-size-scorer"
    }

    fn score(&self, candidates: &[Candidate]) -> Vec<f64> {
        let running = |candidate: &Candidate| candidate.load.map(|load| load.running);
        fewest_is_best(&candidates.iter().map(running).collect::<Vec<_>>())
    }
}

/// What this router itself has in flight there: exact, and never old.
#[derive(Debug, Clone, Copy, Default)]
pub struct ActiveRequestScorer;

impl Scorer for ActiveRequestScorer {
    fn name(&self) -> &'static str {
        "active-request-scorer"
    }

    fn score(&self, candidates: &[Candidate]) -> Vec<f64> {
        let active = |candidate: &Candidate| Some(candidate.view.in_flight);
        fewest_is_best(&candidates.iter().map(active).collect::<Vec<_>>())
    }
}

/// How much of the KV cache is free.
#[derive(Debug, Clone, Copy, Default)]
pub struct KvCacheUtilizationScorer;

impl Scorer for KvCacheUtilizationScorer {
    fn name(&self) -> &'static str {
        "kv-cache-utilization-scorer"
    }

    fn score(&self, candidates: &[Candidate]) -> Vec<f64> {
        // The part that is not in use, as it is: a cache that is half full is half good, whatever the others are. 0 where
        // nothing is known. Some servers report a little more than 1.
        // ANCHOR: task_2_1_kv_usage
        todo!("task 2.1")
        // ANCHOR_END: task_2_1_kv_usage
    }
}
