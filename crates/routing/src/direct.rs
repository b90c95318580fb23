//! The baseline of a dispatcher: one attempt, whatever comes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{
    Action, Arrival, Attempt, Counts, Dispatch, EndpointId, EndpointView, Event, KvEvent, Orders,
    Policy, Reason, Refusal, RequestKey, Scrape,
};

/// Sends each request to whom the policy says, once, and passes on what comes. No queue, no second try, no deadline, and no
/// memory of who failed.
pub struct Direct<P> {
    policy: P,
    views: Vec<EndpointView>,
    open: BTreeMap<RequestKey, Open>,
    draining: bool,
}

struct Open {
    endpoint: EndpointId,
    relayed: bool,
}

impl<P: Policy> Direct<P> {
    /// With nobody to send to yet.
    pub fn new(policy: P) -> Self {
        Self { policy, views: Vec::new(), open: BTreeMap::new(), draining: false }
    }

    fn arrived(&mut self, request: RequestKey, about: &Arrival<'_>, now: Duration) -> Action {
        let refuse = |reason| Action::Refuse(Refusal { reason, retry_after: None });
        if self.draining {
            return refuse(Reason::Draining);
        }
        if self.views.is_empty() {
            return refuse(Reason::NobodyReady);
        }
        let Some(chosen) = self.policy.choose(&about.route, &self.views, now) else {
            return refuse(Reason::Shed);
        };
        let view = &mut self.views[chosen];
        view.in_flight += 1;
        self.open.insert(request, Open { endpoint: view.id, relayed: false });
        Action::Start { attempt: Attempt(0), endpoint: view.id }
    }

    fn end(&mut self, request: RequestKey) -> Option<Open> {
        let open = self.open.remove(&request)?;
        if let Some(view) = self.views.iter_mut().find(|view| view.id == open.endpoint) {
            view.in_flight = view.in_flight.saturating_sub(1);
        }
        Some(open)
    }
}

impl<P: Policy> Dispatch for Direct<P> {
    fn on(
        &mut self,
        request: RequestKey,
        about: &Arrival<'_>,
        event: Event,
        now: Duration,
        orders: &mut Orders,
    ) {
        let reason = Reason::EndpointFailed;
        match event {
            Event::Arrived => orders.push(self.arrived(request, about, now)),
            Event::Head { attempt, .. } => {
                if let Some(open) = self.open.get_mut(&request) {
                    open.relayed = true;
                    orders.push(Action::Relay { attempt });
                }
            }
            Event::Failed { .. } => match self.end(request) {
                Some(Open { relayed: true, .. }) => orders.push(Action::CutOff(reason)),
                Some(_) => orders.push(Action::Refuse(Refusal { reason, retry_after: None })),
                None => {}
            },
            Event::Finished { .. } | Event::ClientGone => drop(self.end(request)),
            Event::Turn | Event::FirstByte { .. } | Event::Due => {}
        }
    }

    fn set_ready(&mut self, endpoints: &[EndpointId], _now: Duration, _orders: &mut Orders) {
        let before = std::mem::take(&mut self.views);
        let known = |id: &EndpointId| before.iter().find(|view| view.id == *id).copied();
        let view = |id: &EndpointId| known(id).unwrap_or_else(|| EndpointView::unknown(*id));
        self.views = endpoints.iter().map(view).collect();
    }

    fn forget(&mut self, endpoint: EndpointId) {
        self.policy.forget(endpoint);
    }

    fn in_flight(&self, endpoint: EndpointId) -> u32 {
        self.views.iter().find(|view| view.id == endpoint).map_or(0, |view| view.in_flight)
    }

    fn set_scrape(&mut self, endpoint: EndpointId, scrape: Scrape) {
        if let Some(view) = self.views.iter_mut().find(|view| view.id == endpoint) {
            view.scrape = Some(scrape);
        }
    }

    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        self.policy.kv_event(endpoint, event);
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn reads_prompt(&self) -> bool {
        self.policy.reads_prompt()
    }

    fn write_metrics(&self, page: &mut String) {
        self.policy.write_metrics(page);
    }

    fn counts(&self, _now: Duration) -> Counts {
        let in_flight = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        let ready = u32::try_from(self.views.len()).unwrap_or(u32::MAX);
        Counts { in_flight, ready, ..Counts::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, RoundRobin};

    fn actions(direct: &mut Direct<RoundRobin>, key: u32, event: Event) -> Vec<Action> {
        let mut orders = Orders::default();
        direct.on(RequestKey(key), &Arrival::new(0), event, Duration::ZERO, &mut orders);
        orders.actions
    }

    #[test]
    fn passes_on_what_comes_and_never_tries_again() {
        let mut direct = Direct::new(RoundRobin::default());
        let refuse = |reason| Action::Refuse(Refusal { reason, retry_after: None });
        assert_eq!(actions(&mut direct, 0, Event::Arrived), [refuse(Reason::NobodyReady)]);
        direct.set_ready(&[EndpointId(4)], Duration::ZERO, &mut Orders::default());
        let attempt = Attempt(0);
        let start = Action::Start { attempt, endpoint: EndpointId(4) };
        assert_eq!(actions(&mut direct, 0, Event::Arrived), [start]);
        let failed = Event::Failed { attempt, why: Failure::Broken };
        assert_eq!(actions(&mut direct, 0, failed), [refuse(Reason::EndpointFailed)]);
        assert_eq!(actions(&mut direct, 0, Event::Arrived), [start]);
        let head = Event::Head { attempt, status: 500, retry_after: None };
        assert_eq!(actions(&mut direct, 0, head), [Action::Relay { attempt }]);
        assert_eq!(direct.counts(Duration::ZERO).in_flight, 1);
        assert_eq!(actions(&mut direct, 0, failed), [Action::CutOff(Reason::EndpointFailed)]);
        assert_eq!(direct.counts(Duration::ZERO).in_flight, 0);
    }
}
