//! Given: a dispatcher for each backend of a route, and the route in front of them.
//!
//! A backend is a fleet of its own, as a cluster is in Envoy: its own queue, budgets, limits and memory of who failed. A request is sent
//! to one backend when it arrives and stays with it, retries and hedges too; so a canary that fails is no load for the version
//! beside it, and its part of the requests is what the weights say. Whoever publishes the plan keeps a backend in it until its last
//! request has ended.

use std::sync::Arc;
use std::time::Duration;

use protocol::exposition::{MetricFamily, MetricKind};
use routing::{
    Action, Arrival, Attempt, Counts, Dispatch, EndpointId, Event, KvEvent, Orders, Reason,
    Refusal, RequestKey, Scrape,
};

use crate::route_plan::{Backend, BackendNo, Known, Plan, Planned};

/// Requests that were sent to each backend.
pub const REQUESTS: &str = "llm_router_route_requests_total";
/// Endpoints of each backend that are ready.
pub const READY: &str = "llm_router_route_endpoints_ready";
/// Requests without a backend.
pub const UNROUTED: &str = "llm_router_route_unrouted_total";

/// Makes the dispatcher of a backend.
pub type Make = Box<dyn FnMut(BackendNo) -> Box<dyn Dispatch> + Send>;

/// A route in front of dispatchers.
pub struct Routed {
    planned: Planned,
    /// The plan that `parts` are of.
    plan: Arc<Plan>,
    make: Make,
    parts: Vec<Part>,
    /// Where each request is, by its key.
    open: Vec<Option<Open>>,
    /// Who is ready, of all backends.
    ready: Vec<EndpointId>,
    /// Counters of backends that are gone: a counter never goes down.
    gone: Counts,
    no_route: u64,
    no_backend: u64,
    reads_prompt: bool,
    draining: bool,
}

struct Part {
    backend: Backend,
    dispatch: Box<dyn Dispatch>,
    requests: u64,
}

/// A request that is under way.
#[derive(Debug, Clone, Copy)]
struct Open {
    no: BackendNo,
    /// Whose answer the client sees.
    relayed: Option<Attempt>,
}

// === impl Routed ===

impl Routed {
    /// Nobody yet. `reads_prompt`: whether any of the dispatchers will.
    pub fn new(planned: Planned, reads_prompt: bool, make: Make) -> Self {
        Self {
            planned,
            plan: Arc::default(),
            make,
            parts: Vec::new(),
            open: Vec::new(),
            ready: Vec::new(),
            gone: Counts::default(),
            no_route: 0,
            no_backend: 0,
            reads_prompt,
            draining: false,
        }
    }

    /// Brings the parts up to the plan of now.
    fn catch_up(&mut self, now: Duration, orders: &mut Orders) {
        let plan = self.planned.get();
        if Arc::ptr_eq(&plan, &self.plan) {
            return;
        }
        self.plan = plan;
        let known = |no| self.plan.backends.iter().any(|backend| backend.no == no);
        let mut at = 0;
        while let Some(part) = self.parts.get(at) {
            if known(part.backend.no) {
                at += 1;
                continue;
            }
            let ended = self.parts.remove(at).dispatch.counts(now);
            add(&mut self.gone, ended);
        }
        for backend in &self.plan.backends {
            if self.parts.iter().all(|part| part.backend.no != backend.no) {
                let mut dispatch = (self.make)(backend.no);
                if self.draining {
                    dispatch.drain();
                }
                self.parts.push(Part { backend: backend.clone(), dispatch, requests: 0 });
            }
        }
        self.tell_ready(now, orders);
    }

    /// Tells each part who of its endpoints is ready.
    fn tell_ready(&mut self, now: Duration, orders: &mut Orders) {
        for part in &mut self.parts {
            let no = part.backend.no;
            let is_of = |id: &&EndpointId| self.plan.endpoints.get(id) == Some(&no);
            let ready: Vec<EndpointId> = self.ready.iter().filter(is_of).copied().collect();
            part.backend.gauges.set_ready(u32::try_from(ready.len()).unwrap_or(u32::MAX));
            part.dispatch.set_ready(&ready, now, orders);
        }
    }

    /// A new request: finds its backend. Returns how long the route lets it take.
    fn arrived(
        &mut self,
        key: RequestKey,
        about: &Arrival<'_>,
    ) -> Result<Option<Duration>, Refusal> {
        let found = self.plan.destination(about).and_then(|to| {
            let part = self.parts.iter_mut().find(|part| part.backend.no == to.backend.no);
            Ok((part.ok_or(Reason::NoBackend)?, to.timeout))
        });
        let (part, timeout) = found.map_err(|reason| {
            self.no_route += u64::from(reason == Reason::NoRoute);
            self.no_backend += u64::from(reason == Reason::NoBackend);
            let retry_after = (reason == Reason::NobodyReady).then_some(Duration::from_secs(1));
            Refusal { reason, retry_after }
        })?;
        part.requests += 1;
        part.backend.gauges.opened();
        let open = Open { no: part.backend.no, relayed: None };
        let at = key.0 as usize;
        if self.open.len() <= at {
            self.open.resize(at + 1, None);
        }
        self.open[at] = Some(open);
        Ok(timeout)
    }

    /// Lets its dispatcher see an event, and forgets the request when it has ended.
    fn tell(
        &mut self,
        key: RequestKey,
        about: &Arrival<'_>,
        event: Event,
        now: Duration,
        orders: &mut Orders,
    ) {
        let Some(open) = self.open.get_mut(key.0 as usize) else { return };
        let Some(Open { no, relayed }) = open else { return };
        let Some(part) = self.parts.iter_mut().find(|part| part.backend.no == *no) else { return };
        let before = orders.actions.len();
        part.dispatch.on(key, about, event, now, orders);
        let mut over = match event {
            Event::ClientGone => true,
            Event::Finished { attempt } => *relayed == Some(attempt),
            _ => false,
        };
        for action in orders.actions.iter().skip(before) {
            match action {
                Action::Relay { attempt } => *relayed = Some(*attempt),
                Action::Refuse(_) | Action::CutOff(_) => over = true,
                _ => {}
            }
        }
        if over {
            part.backend.gauges.closed();
            *open = None;
        }
    }
}

fn add(sum: &mut Counts, other: Counts) {
    sum.retries += other.retries;
    sum.retries_denied += other.retries_denied;
    sum.hedges += other.hedges;
    sum.hedges_won += other.hedges_won;
    sum.ejections += other.ejections;
}

// === impl Dispatch for Routed ===

impl Dispatch for Routed {
    fn on(
        &mut self,
        request: RequestKey,
        about: &Arrival<'_>,
        event: Event,
        now: Duration,
        orders: &mut Orders,
    ) {
        if event != Event::Arrived {
            self.tell(request, about, event, now, orders);
            return;
        }
        self.catch_up(now, orders);
        match self.arrived(request, about) {
            Ok(timeout) => {
                // Whoever loses patience first, the client or the route.
                let patience = about.patience.into_iter().chain(timeout).min();
                self.tell(request, &Arrival { patience, ..*about }, event, now, orders);
            }
            Err(refusal) => orders.push(Action::Refuse(refusal)),
        }
    }

    fn set_ready(&mut self, endpoints: &[EndpointId], now: Duration, orders: &mut Orders) {
        self.catch_up(now, orders);
        self.ready = endpoints.to_vec();
        self.tell_ready(now, orders);
    }

    fn forget(&mut self, endpoint: EndpointId) {
        // Whose it was, the plan no longer says; the others never heard of it.
        self.parts.iter_mut().for_each(|part| part.dispatch.forget(endpoint));
    }

    fn in_flight(&self, endpoint: EndpointId) -> u32 {
        self.parts.iter().map(|part| part.dispatch.in_flight(endpoint)).sum()
    }

    fn set_scrape(&mut self, endpoint: EndpointId, scrape: Scrape) {
        self.parts.iter_mut().for_each(|part| part.dispatch.set_scrape(endpoint, scrape));
    }

    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        self.parts.iter_mut().for_each(|part| part.dispatch.kv_event(endpoint, event));
    }

    fn drain(&mut self) {
        self.draining = true;
        self.parts.iter_mut().for_each(|part| part.dispatch.drain());
    }

    fn reads_prompt(&self) -> bool {
        self.reads_prompt
    }

    fn write_metrics(&self, page: &mut String) {
        let family = |name: &str, help: &str, kind| MetricFamily {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            samples: Vec::new(),
        };
        let (counter, gauge) = (MetricKind::Counter, MetricKind::Gauge);
        let mut requests = family(REQUESTS, "Requests that the route sent to a backend.", counter);
        let mut ready = family(READY, "Endpoints of a backend that are ready.", gauge);
        for part in &self.parts {
            let label = || vec![("backend".to_owned(), part.backend.target.label())];
            requests.add(label(), part.requests as f64);
            ready.add(label(), f64::from(part.backend.gauges.ready()));
        }
        let mut unrouted = family(UNROUTED, "Requests without a backend, by why.", counter);
        for (reason, count) in
            [(Reason::NoRoute, self.no_route), (Reason::NoBackend, self.no_backend)]
        {
            unrouted.add(vec![("reason".to_owned(), reason.kind().to_owned())], count as f64);
        }
        for family in [requests, ready, unrouted] {
            page.push_str(&family.to_string());
        }
    }

    fn counts(&self, now: Duration) -> Counts {
        let mut all = self.gone;
        // Whoever is told that endpoints are ready sends requests, and without a route each of them gets 503.
        let has_route = matches!(self.planned.get().route, Known::Route(_));
        for part in &self.parts {
            let counts = part.dispatch.counts(now);
            add(&mut all, counts);
            all.queued += counts.queued;
            all.in_flight += counts.in_flight;
            all.ready += if has_route { counts.ready } else { 0 };
            all.ejected += counts.ejected;
        }
        all
    }
}

#[cfg(test)]
mod tests;
