//! Who chooses.

use std::time::Duration;

use crate::{EndpointId, EndpointView, Feedback, KvEvent, RouteRequest};

/// Chooses an endpoint for each request.
// ANCHOR: book_policy
pub trait Policy: Send {
    /// The index in `endpoints` of the one that gets the request. `None`: none of these should have it, and the
    /// caller is told to come again later. `endpoints` may be empty, and differ from call to call.
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize>;

    /// Takes note of what became of a choice.
    fn observe(&mut self, feedback: &Feedback) {
        let _ = feedback;
    }

    /// Takes note of what happened to an endpoint's KV cache, where the endpoint tells.
    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        let _ = (endpoint, event);
    }

    /// Takes note that an endpoint is gone for good. One that is only not shown for a while keeps its cache.
    fn forget(&mut self, endpoint: EndpointId) {
        let _ = endpoint;
    }

    /// Metrics of its own, in Prometheus' text format.
    fn write_metrics(&self, page: &mut String) {
        let _ = page;
    }

    /// Whether it looks at prompts. Finding the prompt in a request costs time, so whoever does not look says so.
    fn reads_prompt(&self) -> bool {
        false
    }
}
// ANCHOR_END: book_policy

impl Policy for Box<dyn Policy> {
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize> {
        (**self).choose(request, endpoints, now)
    }

    fn observe(&mut self, feedback: &Feedback) {
        (**self).observe(feedback);
    }

    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        (**self).kv_event(endpoint, event);
    }

    fn forget(&mut self, endpoint: EndpointId) {
        (**self).forget(endpoint);
    }

    fn write_metrics(&self, page: &mut String) {
        (**self).write_metrics(page);
    }

    fn reads_prompt(&self) -> bool {
        (**self).reads_prompt()
    }
}
