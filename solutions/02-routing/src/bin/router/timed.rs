//! A policy with a stopwatch: how long it takes to choose.

use std::time::{Duration, Instant};

use routing::{EndpointId, EndpointView, Feedback, KvEvent, Policy, RouteRequest};
use sol02_routing::picker_metrics::Times;

/// A policy, and how long its choices took.
pub(crate) struct Timed<P> {
    policy: P,
    choices: Times,
}

// === impl Timed ===

impl<P> Timed<P> {
    pub(crate) fn new(policy: P) -> Self {
        Self { policy, choices: Times::default() }
    }

    /// The choices' times, in Prometheus' text format.
    pub(crate) fn page(&self) -> String {
        let help = "What the policy alone takes to choose.";
        self.choices.family("llm_picker_choose_seconds", help).to_string()
    }
}

impl<P: Policy> Policy for Timed<P> {
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize> {
        let began = Instant::now();
        let chosen = self.policy.choose(request, endpoints, now);
        self.choices.took(began.elapsed());
        chosen
    }

    fn observe(&mut self, feedback: &Feedback) {
        self.policy.observe(feedback);
    }

    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        self.policy.kv_event(endpoint, event);
    }

    fn forget(&mut self, endpoint: EndpointId) {
        self.policy.forget(endpoint);
    }

    fn reads_prompt(&self) -> bool {
        self.policy.reads_prompt()
    }
}
