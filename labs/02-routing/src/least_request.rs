//! Task 2.1, look at the load, its first step: the endpoint with the fewest requests of ours.
//!
//! What nginx calls `least_conn` and Envoy `LEAST_REQUEST`. It counts what this router sent and that has not ended, so
//! it is exact and never old. It sees neither what other routers sent nor how large a request is.

use std::time::Duration;

use fastrand::Rng;
use routing::{EndpointView, Policy, RouteRequest};

/// The index of an endpoint with the fewest requests in flight; `None` where there is none.
#[must_use]
pub fn least_request(endpoints: &[EndpointView], rng: &mut Rng) -> Option<usize> {
    // Find the smallest `in_flight`. Where several endpoints have it, each of them is as likely as the others: the first
    // one would get every request of an idle fleet, and from many routers at once. The index counts places in
    // `endpoints`, which come and go; it is not the endpoint's id.
    // ANCHOR: task_2_1_least_request
    todo!("task 2.1")
    // ANCHOR_END: task_2_1_least_request
}

/// The policy around it.
#[derive(Debug, Clone)]
pub struct LeastRequest {
    rng: Rng,
}

// === impl LeastRequest ===

impl LeastRequest {
    /// Equal seeds give equal choices. Routers that stand side by side must not share one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed) }
    }
}

impl Policy for LeastRequest {
    fn choose(
        &mut self,
        _request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        _now: Duration,
    ) -> Option<usize> {
        least_request(endpoints, &mut self.rng)
    }
}
