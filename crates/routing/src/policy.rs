//! Who chooses.

use std::time::Duration;

use crate::{EndpointView, Feedback, RouteRequest};

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

    fn reads_prompt(&self) -> bool {
        (**self).reads_prompt()
    }
}
