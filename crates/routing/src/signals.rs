//! What an endpoint says of its load.

use std::time::Duration;

/// The load of a model server, whichever server it is. The names are vLLM's, without their prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Signals {
    /// Requests that wait for their first place in a step: `vllm:num_requests_waiting`.
    pub waiting: u32,
    /// Requests that hold a place: `vllm:num_requests_running`.
    pub running: u32,
    /// Part of the KV cache that is in use, from 0 to 1: `vllm:kv_cache_usage_perc`.
    pub kv_usage: f64,
}

/// Signals, and how old they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scrape {
    /// What was said.
    pub signals: Signals,
    /// When, since the router started.
    pub at: Duration,
}

impl Scrape {
    /// How old it is at `now`.
    #[must_use]
    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.at)
    }
}
