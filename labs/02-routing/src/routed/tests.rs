//! A route before two backends, told what happens by hand.

use std::collections::BTreeMap;

use discovery::{BackendRef, HttpRoute, HttpRouteSpec, RouteRule};
use routing::{Direct, Failure, RoundRobin};

use super::*;
use crate::route_plan::{Known, Target};
use crate::{Dispatcher, Rules};

const NOW: Duration = Duration::ZERO;
const HEAD: &[u8] = b"POST /v1/completions HTTP/1.1\r\nHost: h\r\n\r\n";

/// A router, and the plan that it follows. Endpoint 10 is stable's, 20 and 21 are the canary's.
struct Rig {
    planned: Planned,
    plan: Plan,
    routed: Routed,
    orders: Orders,
}

impl Rig {
    fn new() -> Self {
        let planned = Planned::default();
        let make = |_| -> Box<dyn Dispatch> { Box::new(Direct::new(RoundRobin::default())) };
        let routed = Routed::new(planned.clone(), false, Box::new(make));
        let backend = |(no, name): (u32, &str)| Backend {
            no: BackendNo(no),
            target: Target::Service(name.to_owned(), 80),
            missing: false,
            gauges: Arc::default(),
        };
        let plan = Plan {
            route: Known::Absent,
            backends: [(1, "stable"), (2, "canary")].map(backend).into(),
            endpoints: BTreeMap::from(
                [(10, 1), (20, 2), (21, 2)].map(|(id, no)| (EndpointId(id), BackendNo(no))),
            ),
        };
        Self { planned, plan, routed, orders: Orders::default() }
    }

    fn weights(mut self, stable: u32, canary: u32) -> Self {
        self.set_weights(stable, canary);
        self
    }

    fn set_weights(&mut self, stable: u32, canary: u32) {
        let backend = |(name, weight): (&str, u32)| BackendRef {
            name: name.to_owned(),
            port: Some(80),
            weight,
            ..BackendRef::default()
        };
        let backend_refs = [("stable", stable), ("canary", canary)].map(backend).into();
        let rules = vec![RouteRule { backend_refs, ..RouteRule::default() }];
        let route = HttpRoute { spec: HttpRouteSpec { rules }, ..HttpRoute::default() };
        self.plan.route = Known::Route(Box::new(route));
        self.publish();
    }

    fn publish(&self) {
        self.planned.set(self.plan.clone());
    }

    fn ready(&mut self, endpoints: &[u32]) {
        let endpoints: Vec<_> = endpoints.iter().map(|id| EndpointId(*id)).collect();
        self.routed.set_ready(&endpoints, NOW, &mut self.orders);
    }

    fn tell(&mut self, key: u32, event: Event) -> Option<Action> {
        let about = Arrival { head: HEAD, ..Arrival::new(u64::from(key)) };
        self.orders.actions.clear();
        self.routed.on(RequestKey(key), &about, event, NOW, &mut self.orders);
        self.orders.actions.first().copied()
    }

    /// The endpoint that a new request is sent to, or the status that it gets.
    fn ask(&mut self, key: u32) -> Result<u32, u16> {
        match self.tell(key, Event::Arrived) {
            Some(Action::Start { endpoint, .. }) => Ok(endpoint.0),
            Some(Action::Refuse(refusal)) => Err(refusal.reason.status()),
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, key: u32) {
        let attempt = Attempt(0);
        self.tell(key, Event::Head { attempt, status: 200, retry_after: None });
        self.tell(key, Event::Finished { attempt });
    }

    fn open(&self) -> [u32; 2] {
        [0, 1].map(|at: usize| self.plan.backends[at].gauges.open())
    }
}

#[test]
fn requests_go_to_the_endpoints_of_the_backend_that_the_weights_give_them() {
    let mut rig = Rig::new().weights(1, 0);
    rig.ready(&[10, 20, 21]);
    assert!((0..50).all(|key| rig.ask(key) == Ok(10)));
    rig.set_weights(0, 1);
    let canary: Vec<_> = (50..54).map(|key| rig.ask(key)).collect();
    assert_eq!(canary, [Ok(20), Ok(21), Ok(20), Ok(21)], "its own policy takes turns");
    assert_eq!(rig.open(), [50, 4]);
    (0..54).for_each(|key| rig.answer(key));
    assert_eq!(rig.open(), [0, 0]);
    let mut page = String::new();
    rig.routed.write_metrics(&mut page);
    assert!(
        page.contains("llm_router_route_requests_total{backend=\"stable:80\"} 50.0\n"),
        "{page}"
    );
    assert!(
        page.contains("llm_router_route_endpoints_ready{backend=\"canary:80\"} 2.0\n"),
        "{page}"
    );
}

#[test]
fn who_says_ready_has_a_route_by_which_a_request_can_go() {
    let mut rig = Rig::new();
    rig.plan.route = Known::Unknown;
    rig.publish();
    rig.ready(&[10, 20]);
    assert_eq!(rig.routed.counts(NOW).ready, 0, "both are well, and no route leads there");
    assert_eq!(rig.ask(0), Err(503));
    rig.set_weights(1, 1);
    assert_eq!(rig.routed.counts(NOW).ready, 2, "at once, and not only when somebody asks");
    assert!(rig.ask(1).is_ok());
}

#[test]
fn a_backend_without_endpoints_refuses_its_part_and_no_more() {
    let mut rig = Rig::new().weights(1, 1);
    rig.ready(&[10]);
    let outcomes: Vec<_> = (0..100).map(|key| rig.ask(key)).collect();
    let refused = outcomes.iter().filter(|outcome| **outcome == Err(503)).count();
    let served = outcomes.iter().filter(|outcome| **outcome == Ok(10)).count();
    assert!(refused > 30 && served > 30 && refused + served == 100, "{refused} and {served}");
    assert_eq!(rig.open(), [u32::try_from(served).unwrap(), 0]);
    rig.plan.backends[1].missing = true;
    rig.publish();
    assert!((100..200).all(|key| matches!(rig.ask(key), Ok(10) | Err(500))));
}

#[test]
fn what_is_under_way_stays_where_it_is_however_the_weights_change() {
    let mut rig = Rig::new().weights(0, 1);
    rig.ready(&[10, 20]);
    assert_eq!(rig.ask(0), Ok(20));
    rig.set_weights(1, 0);
    assert_eq!(rig.ask(1), Ok(10));
    let attempt = Attempt(0);
    let head = Event::Head { attempt, status: 200, retry_after: None };
    assert_eq!(rig.tell(0, head), Some(Action::Relay { attempt }));
    assert_eq!(rig.open(), [1, 1]);
    let failed = Event::Failed { attempt, why: Failure::Broken };
    assert_eq!(rig.tell(0, failed), Some(Action::CutOff(Reason::EndpointFailed)));
    assert_eq!(rig.tell(1, Event::ClientGone), None);
    assert_eq!(rig.open(), [0, 0]);
    // Its last request has ended: now it may go.
    rig.plan.backends.remove(1);
    rig.publish();
    rig.ready(&[10]);
    assert_eq!((rig.routed.parts.len(), rig.routed.counts(NOW).ready), (1, 1));
}

#[test]
fn a_backend_that_comes_later_is_told_who_is_ready_and_that_the_router_drains() {
    let mut rig = Rig::new();
    let canary = rig.plan.backends.remove(1);
    rig.set_weights(0, 1);
    rig.ready(&[10, 20]);
    assert_eq!(rig.ask(0), Err(500), "nobody follows it yet");
    rig.plan.backends.push(canary);
    rig.publish();
    assert_eq!(rig.ask(1), Ok(20));
    rig.routed.drain();
    rig.plan.backends[1].no = BackendNo(3);
    rig.publish();
    assert_eq!(rig.ask(2), Err(503));
}

#[test]
fn a_request_has_the_time_that_its_route_and_its_client_give_it() {
    let s = Duration::from_secs;
    for (route, client, deadline) in [
        (Some(s(5)), None, 5),
        (Some(s(5)), Some(s(3)), 3),
        (Some(s(5)), Some(s(9)), 5),
        (None, None, 600),
    ] {
        let mut rig = Rig::new();
        rig.routed.make =
            Box::new(|_| Box::new(Dispatcher::new(RoundRobin::default(), Rules::default())));
        rig.set_weights(1, 0);
        let Known::Route(known) = &mut rig.plan.route else { panic!("no route") };
        known.spec.rules[0].timeouts.request = route;
        rig.publish();
        rig.ready(&[10]);
        let about = Arrival { head: HEAD, patience: client, ..Arrival::new(0) };
        let mut at = |event, now| {
            let mut orders = Orders::default();
            rig.routed.on(RequestKey(0), &about, event, now, &mut orders);
            orders.actions
        };
        at(Event::Arrived, NOW);
        let attempt = Attempt(0);
        at(Event::Head { attempt, status: 200, retry_after: None }, NOW);
        at(Event::FirstByte { attempt }, NOW);
        let over = Action::CutOff(Reason::Deadline);
        assert!(!at(Event::Due, s(deadline - 1)).contains(&over), "{route:?} {client:?}");
        assert!(at(Event::Due, s(deadline)).contains(&over), "{route:?} {client:?}");
    }
}
