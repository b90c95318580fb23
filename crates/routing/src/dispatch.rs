//! Who decides what happens to every request: the seam between a router's sockets and its rules.

use std::time::Duration;

use protocol::openai::Problem;

use crate::{Action, Arrival, EndpointId, Event, KvEvent, Model, RequestKey, Scrape, Terms};

/// All that a router decides.
///
/// A shell owns the sockets and the clock. It may hold one of these behind a lock and share it among threads: a call
/// takes a microsecond, and never waits.
pub trait Dispatch: Send {
    /// Something happened to a request. `about` is what was said when it arrived, each time.
    ///
    /// A request ends with [`Action::Refuse`], [`Action::CutOff`], the [`Event::Finished`] of the attempt that is
    /// relayed, or [`Event::ClientGone`]; its key is then free.
    fn on(
        &mut self,
        request: RequestKey,
        about: &Arrival<'_>,
        event: Event,
        now: Duration,
        orders: &mut Orders,
    );

    /// These endpoints are ready, and no others. One that is missing gets nothing new; what it works on goes on.
    fn set_ready(&mut self, endpoints: &[EndpointId], now: Duration, orders: &mut Orders);

    /// An endpoint is gone for good, and its id is not used again: nothing of it need be remembered once it has ended what it works
    /// on.
    fn forget(&mut self, endpoint: EndpointId) {
        let _ = endpoint;
    }

    /// Requests that an endpoint works on for this router.
    fn in_flight(&self, endpoint: EndpointId) -> u32;

    /// What an endpoint said of itself.
    fn set_scrape(&mut self, endpoint: EndpointId, scrape: Scrape);

    /// Adapters that an endpoint says it has in its memory.
    fn set_adapters(&mut self, endpoint: EndpointId, adapters: Vec<String>) {
        let _ = (endpoint, adapters);
    }

    /// What an endpoint tells of its KV cache. Not of one that is gone for good.
    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        let _ = (endpoint, event);
    }

    /// Take no new requests; end those that wait as usual.
    fn drain(&mut self);

    /// Whether prompts are looked at. Finding them costs time.
    fn reads_prompt(&self) -> bool;

    /// Whether what requests ask for is looked at. Reading it costs more than finding the prompt.
    fn reads_features(&self) -> bool {
        false
    }

    /// The models that clients can reach at `now`; `None` where only the endpoints know theirs.
    fn models(&self, now: Duration) -> Option<Vec<Model>> {
        let _ = now;
        None
    }

    /// Metrics beside the [`Counts`], in Prometheus' text format: those of its policy.
    fn write_metrics(&self, page: &mut String);

    /// What was counted so far, and how things are at `now`.
    fn counts(&self, now: Duration) -> Counts;
}

/// What a call of [`Dispatch`] wants done. Kept by the shell and used again, so that no call has to allocate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// For the request that the event was of, in this order.
    pub actions: Vec<Action>,
    /// Requests that wait, and are told [`Event::Turn`] next.
    pub turns: Vec<RequestKey>,
    /// On which terms the attempt goes out that is started; an event starts one at most.
    pub terms: Terms,
    /// What the client of a refusal is told, where that says more than its reason.
    pub problem: Option<Problem>,
}

impl Orders {
    /// One more for the request that the event was of.
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }
}

/// Counters since the start, and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts that followed on a failed one.
    pub retries: u64,
    /// Failed attempts that were not followed by another, for want of budget.
    pub retries_denied: u64,
    /// Second attempts beside a slow first one.
    pub hedges: u64,
    /// Hedges that were relayed.
    pub hedges_won: u64,
    /// Endpoints ejected.
    pub ejections: u64,
    /// Requests that wait in the queue now.
    pub queued: u32,
    /// Attempts under way now.
    pub in_flight: u32,
    /// Endpoints that are ready now.
    pub ready: u32,
    /// Ready endpoints that are ejected now.
    pub ejected: u32,
}
