//! Task 2.1, its third step: what endpoints say of themselves, and for how long it may be believed.
//!
//! Metrics travel: an endpoint is asked every so often, and what it said is a picture of a moment that has passed. An
//! endpoint that does not answer any more shows the same picture for ever, and the prettiest if it was idle then.

use std::time::Duration;

use routing::{EndpointView, Signals};

/// Beyond these, an endpoint counts as saturated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests that wait.
    pub waiting: u32,
    /// Part of the KV cache in use.
    pub kv_usage: f64,
    /// Age of what is known.
    pub age: Duration,
}

/// The defaults of the inference extension's `utilization-detector`: `queueDepthThreshold`, `kvCacheUtilThreshold`,
/// `metricsStalenessThreshold` (four of its scrapes, which are 50 ms apart).
impl Default for Limits {
    fn default() -> Self {
        Self { waiting: 5, kv_usage: 0.8, age: Duration::from_millis(200) }
    }
}

impl Limits {
    /// The default limits where endpoints are asked this often: four scrapes may fail.
    #[must_use]
    pub fn for_scrapes_every(interval: Duration) -> Self {
        Self { age: 4 * interval, ..Self::default() }
    }
}

/// An endpoint that may still be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its place among the endpoints that were shown.
    pub index: usize,
    /// What was shown of it.
    pub view: EndpointView,
    /// What it said, if that may be believed.
    pub load: Option<Signals>,
    /// Part of the prompt that it is said to have in its cache, from 0 to 1.
    pub matched: f64,
}

/// What an endpoint said of its load. `None`: it counts as saturated.
#[must_use]
pub fn believed(view: &EndpointView, now: Duration, limits: &Limits) -> Option<Signals> {
    // Metrics that are older than `limits.age`, or that never came, are no metrics. Nothing is made up in their place: a zero
    // would be the best endpoint of all.
    // ANCHOR: task_2_1_believed
    todo!("task 2.1")
    // ANCHOR_END: task_2_1_believed
}

/// Keeps those that are not saturated; all of them where nobody else is left.
pub fn keep_unsaturated(candidates: &mut Vec<Candidate>, limits: &Limits) {
    // Saturated is who says nothing that may be believed, who has more than `limits.waiting` requests waiting, and whose KV
    // cache is used above `limits.kv_usage`. A filter narrows. It never refuses: where everybody is saturated, everybody
    // stays, and the scorers decide.
    // ANCHOR: task_2_1_keep_unsaturated
    todo!("task 2.1")
    // ANCHOR_END: task_2_1_keep_unsaturated
}
