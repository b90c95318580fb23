//! The simulator's router keeps to the limits of the live one: behind both, a policy that never leaves a warm cache leaves it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use routing::{
    Action, Dispatch, EndpointId, Event, Orders, Policy, Reason, RequestKey, RouteRequest,
};
use serving::SchedulerLimits;
use simulation::{Arrival, Fleet, LinearCost, Outcome, Prompt, Replica, ReplicaSpec, RouterLimits};
use sol01_triage::{ContinuousScheduler, PagedPool};
use sol02_routing::policies::PolicyKind;
use sol02_routing::{Dispatcher, Limits, Rules};

const REPLICAS: u32 = 3;
const REQUESTS: usize = 40;
/// All requests ask about the same document.
const TOKENS: usize = 1_000;

fn policy() -> Box<dyn Policy> {
    PolicyKind::Prefix.build(Limits::default(), 7)
}

/// Who gets each request of a live router; `None`: refused, or still waiting. And how many were refused.
fn live(rules: Rules) -> (Vec<Option<u32>>, usize) {
    let mut dispatcher = Dispatcher::new(policy(), rules);
    let endpoints: Vec<_> = (0..REPLICAS).map(EndpointId).collect();
    dispatcher.set_ready(&endpoints, Duration::ZERO, &mut Orders::default());
    let prompt = vec![b'a'; 4 * TOKENS];
    let mut refused = 0;
    let chosen = (0..REQUESTS).map(|id| {
        let mut orders = Orders::default();
        let route = RouteRequest { prompt: &prompt, ..RouteRequest::new(id as u64) };
        let about = routing::Arrival { route, ..routing::Arrival::new(id as u64) };
        let key = RequestKey(id as u32);
        dispatcher.on(key, &about, Event::Arrived, Duration::ZERO, &mut orders);
        orders.actions.iter().find_map(|action| match action {
            Action::Start { endpoint, .. } => Some(endpoint.0),
            Action::Refuse(refusal) => {
                assert_eq!(refusal.reason, Reason::Shed);
                refused += 1;
                None
            }
            _ => None,
        })
    });
    let chosen = chosen.collect();
    (chosen, refused)
}

/// The same of a simulated one. Who waited has been served by the end, so only the first are compared.
fn simulated(limits: RouterLimits) -> (Vec<Option<u32>>, usize) {
    let engine = SchedulerLimits::try_new(32, 2_048).unwrap();
    let cost = LinearCost {
        step: Duration::from_millis(5),
        token: Duration::from_micros(20),
        context_token: Duration::ZERO,
    };
    let replica = |_| {
        let scheduler = ContinuousScheduler::new(engine, PagedPool::new(8_000, 16));
        Replica::new(ReplicaSpec::new(engine, 16), Box::new(scheduler), cost)
    };
    let prompt = Prompt::Shared { prefix: 1, prefix_tokens: TOKENS, tokens: TOKENS };
    let arrival = Arrival { prompt, ..Arrival::new(Duration::ZERO, TOKENS, 20) };
    let fleet = Fleet::new((0..REPLICAS).map(replica).collect(), policy()).with_limits(limits);
    let report = fleet.run(vec![arrival; REQUESTS], Duration::MAX).unwrap();
    let refused = report.requests.iter().filter(|r| r.outcome == Outcome::Refused).count();
    (report.requests.iter().map(|r| r.replica.map(|index| index as u32)).collect(), refused)
}

fn both(max_in_flight: u32, max_queue: usize) -> [(Vec<Option<u32>>, usize); 2] {
    let rules = Rules { max_in_flight, max_queue, ..Rules::default() };
    let max_wait = rules.exchange.max_wait;
    [live(rules), simulated(RouterLimits { max_in_flight, max_queue, max_wait })]
}

#[test]
fn without_a_limit_the_prefix_alone_sends_all_to_one_in_both_routers() {
    let [live, simulated] = both(u32::MAX, 0);
    assert_eq!(live, simulated);
    assert_eq!(live, (vec![live.0[0]; REQUESTS], 0));
}

#[test]
fn with_a_limit_it_goes_on_to_the_next_in_both_routers_and_the_same_number_is_refused() {
    let [(live, shed), (simulated, refused)] = both(8, 10);
    let places = 8 * REPLICAS as usize;
    assert_eq!(live[..places], simulated[..places]);
    for replica in 0..REPLICAS {
        let got = live.iter().filter(|chosen| **chosen == Some(replica)).count();
        assert_eq!(got, 8, "{live:?}");
    }
    assert_eq!((shed, refused), (REQUESTS - places - 10, REQUESTS - places - 10));
}
