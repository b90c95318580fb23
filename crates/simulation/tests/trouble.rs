//! Troubles bite those who do not look, and those who look at one thing only.

mod common;

use std::time::Duration;

use routing::{EndpointView, Policy, RoundRobin, RouteRequest};
use simulation::{Arrival, Fleet, Report, Trouble};

use common::replicas;

const FROM: Duration = Duration::from_secs(1);
const UNTIL: Duration = Duration::from_secs(4);

/// The least by what a view says; the first of several.
struct Least(fn(&EndpointView) -> u32);

impl Policy for Least {
    fn choose(&mut self, _: &RouteRequest<'_>, all: &[EndpointView], _: Duration) -> Option<usize> {
        (0..all.len()).min_by_key(|&index| self.0(&all[index]))
    }
}

fn own_count() -> Least {
    Least(|view| view.in_flight)
}

fn what_pages_say() -> Least {
    Least(|view| view.scrape.map_or(0, |scrape| scrape.signals.waiting + scrape.signals.running))
}

/// Four replicas, a request every 10 ms for 5 s, and trouble in between.
fn run(policy: impl Policy + 'static, trouble: Option<Trouble>) -> Report {
    let fleet = Fleet::new(replicas(4), policy);
    let fleet = fleet.with_scrapes_every(Duration::from_millis(20));
    let fleet = match trouble {
        None => fleet,
        // A page that stands still from the beginning says idle for ever.
        Some(Trouble::StaleMetrics) => Trouble::StaleMetrics.strike(fleet, Duration::ZERO, UNTIL),
        Some(trouble) => trouble.strike(fleet, FROM, UNTIL),
    };
    let arrivals = (0..500).map(|i| Arrival::new(Duration::from_millis(10 * i), 40, 12));
    fleet.run(arrivals, Duration::MAX).expect("it runs to its end")
}

/// Which part of the requests that came in the bad time went to the first replica.
fn part_of_the_first(report: &Report) -> f64 {
    let bad = report.requests.iter().filter(|r| (FROM..UNTIL).contains(&r.arrived));
    let (first, all) = bad.fold((0, 0), |(first, all), request| {
        (first + u32::from(request.replica == Some(0)), all + 1)
    });
    f64::from(first) / f64::from(all)
}

fn slowest(report: &Report) -> Duration {
    report.requests.iter().filter_map(|request| request.ttft).max().unwrap_or_default()
}

#[test]
fn a_stale_page_that_said_idle_draws_everything() {
    assert!(part_of_the_first(&run(what_pages_say(), Some(Trouble::StaleMetrics))) > 0.9);
    assert!(part_of_the_first(&run(own_count(), Some(Trouble::StaleMetrics))) < 0.5);
}

#[test]
fn round_robin_feeds_a_slow_or_hung_replica_and_a_count_of_its_own_spares_it() {
    for trouble in [Trouble::SlowReplica, Trouble::HungEngine] {
        let blind = part_of_the_first(&run(RoundRobin::default(), Some(trouble)));
        let seeing = part_of_the_first(&run(own_count(), Some(trouble)));
        assert!((0.24..0.26).contains(&blind) && seeing < blind / 2.0, "{trouble}: {seeing}");
    }
}

#[test]
fn a_zone_that_is_cut_off_costs_who_was_sent_there() {
    let report = run(RoundRobin::default(), Some(Trouble::ZonePartition));
    let healthy = run(RoundRobin::default(), None);
    assert!(
        slowest(&report) > Duration::from_secs(2) && slowest(&healthy) < Duration::from_secs(1)
    );
}

#[test]
fn every_trouble_has_a_name_and_ends() {
    for trouble in Trouble::ALL {
        assert_eq!(trouble.name().parse(), Ok(trouble));
        let report = run(RoundRobin::default(), Some(trouble));
        assert!(report.requests.iter().all(|request| request.outcome.is_success()), "{trouble}");
    }
    let error = "earthquake".parse::<Trouble>().unwrap_err().to_string();
    assert!(error.contains("slow-replica, hung-engine"), "{error}");
}
