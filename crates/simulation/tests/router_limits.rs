//! What a router keeps to, whoever chooses.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use routing::{EndpointView, Feedback, Happening, Policy, RouteRequest};
use simulation::{Arrival, Fleet, FleetError, Outcome, Report, RouterLimits};

use common::replicas;

const NOBODY_WAITS_LONG: Duration = Duration::from_secs(60);

/// Sends everything to the first replica that it is shown, as a policy does that only looks for a warm cache.
#[derive(Default, Clone)]
struct First(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    shown: Vec<usize>,
    most_in_flight: u32,
    first_tokens: Vec<(u64, Duration)>,
}

impl Policy for First {
    fn choose(
        &mut self,
        _: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        _: Duration,
    ) -> Option<usize> {
        let mut notes = self.0.lock().expect("nobody panicked");
        notes.shown.push(endpoints.len());
        let most = endpoints.iter().map(|endpoint| endpoint.in_flight).max();
        notes.most_in_flight = notes.most_in_flight.max(most.unwrap_or(0));
        Some(0)
    }

    fn observe(&mut self, feedback: &Feedback) {
        if let Happening::FirstToken(took) = feedback.happening {
            let mut notes = self.0.lock().expect("nobody panicked");
            notes.first_tokens.push((feedback.request, took));
        }
    }
}

fn at_once(count: usize) -> Vec<Arrival> {
    vec![Arrival::new(Duration::ZERO, 40, 12); count]
}

fn limits(max_in_flight: u32) -> RouterLimits {
    RouterLimits { max_in_flight, ..RouterLimits::default() }
}

fn served(count: usize, limits: RouterLimits, arrivals: Vec<Arrival>) -> (Report, Notes) {
    let policy = First::default();
    let fleet = Fleet::new(replicas(count), policy.clone()).with_limits(limits);
    let report = fleet.run(arrivals, Duration::MAX).expect("it runs to its end");
    let notes = std::mem::take(&mut *policy.0.lock().expect("nobody panicked"));
    (report, notes)
}

fn chosen(report: &Report) -> Vec<usize> {
    report.requests.iter().filter_map(|request| request.replica).collect()
}

#[test]
fn a_policy_that_never_leaves_a_replica_leaves_one_that_has_all_it_may() {
    let (report, notes) = served(3, limits(3), at_once(8));
    assert_eq!(chosen(&report), [0, 0, 0, 1, 1, 1, 2, 2]);
    assert_eq!(notes.shown, [3, 3, 3, 2, 2, 2, 1, 1]);
    let (unlimited, _) = served(3, RouterLimits::default(), at_once(8));
    assert_eq!(chosen(&unlimited), [0; 8]);
}

#[test]
fn where_all_are_full_requests_wait_in_the_router_and_are_served_in_their_order() {
    let (report, notes) = served(1, limits(1), at_once(4));
    assert_eq!(chosen(&report), [0; 4]);
    assert!(report.requests.iter().all(|request| request.outcome.is_success()));
    assert_eq!(notes.most_in_flight, 0, "a place is free whenever the policy is asked");
    let ends: Vec<_> = report.requests.iter().filter_map(|request| request.e2e).collect();
    assert_eq!(ends, [1, 2, 3, 4].map(|turn| ends[0] * turn));
}

#[test]
fn a_client_counts_the_wait_in_the_router_and_the_policy_does_not() {
    let (report, notes) = served(1, limits(1), at_once(3));
    let ttft: Vec<_> = report.requests.iter().filter_map(|request| request.ttft).collect();
    assert!(ttft[0] < ttft[1] && ttft[1] < ttft[2], "{ttft:?}");
    assert_eq!(notes.first_tokens, [0, 1, 2].map(|request| (request, ttft[0])));
}

#[test]
fn who_finds_the_routers_queue_full_is_refused() {
    let limits = RouterLimits { max_queue: 2, ..limits(1) };
    let (report, _) = served(2, limits, at_once(6));
    let outcomes: Vec<_> = report.requests.iter().map(|request| request.outcome).collect();
    let [served, refused] = [Outcome::Stop, Outcome::Refused];
    assert_eq!(outcomes, [served, served, served, served, refused, refused]);
}

#[test]
fn who_waits_too_long_is_refused_and_whose_client_leaves_is_gone() {
    let (alone, _) = served(1, limits(1), at_once(1));
    let took = alone.requests[0].e2e.expect("it ended");
    let limits = RouterLimits { max_wait: took + took / 2, ..limits(1) };
    let mut arrivals = at_once(4);
    arrivals[1].abort_at = Some(took / 2);
    let (report, _) = served(1, limits, arrivals);
    let outcomes: Vec<_> = report.requests.iter().map(|request| request.outcome).collect();
    assert_eq!(outcomes, [Outcome::Stop, Outcome::Aborted, Outcome::Stop, Outcome::Refused]);
    assert_eq!(report.requests[1].e2e, Some(took / 2));
    assert_eq!(report.requests[1].replica, None);
}

#[test]
fn a_limit_that_nobody_reaches_changes_nothing() {
    let arrivals: Vec<_> =
        (0..60).map(|i| Arrival::new(Duration::from_millis(7 * i), 40, 12)).collect();
    let limited = RouterLimits { max_in_flight: 60, max_queue: 0, max_wait: NOBODY_WAITS_LONG };
    let (report, _) = served(3, limited, arrivals.clone());
    let (unlimited, _) = served(3, RouterLimits::default(), arrivals);
    assert_eq!(report.requests, unlimited.requests);
}

#[test]
fn a_choice_of_a_replica_that_was_not_shown_is_an_error_and_no_other_replica() {
    struct Second;
    impl Policy for Second {
        fn choose(
            &mut self,
            _: &RouteRequest<'_>,
            _: &[EndpointView],
            _: Duration,
        ) -> Option<usize> {
            Some(1)
        }
    }
    // The second fills up first; then only one is shown.
    let fleet = Fleet::new(replicas(2), Second).with_limits(limits(2));
    let error = fleet.run(at_once(3), Duration::MAX).expect_err("nobody is there");
    assert!(matches!(error, FleetError::NoSuchReplica { replicas: 2, .. }), "{error}");
}
