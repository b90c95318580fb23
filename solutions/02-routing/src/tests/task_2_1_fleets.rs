//! Checks of task 2.1 on fleets: what the pieces are worth together.

use std::time::Duration;

use routing::{Policy, RoundRobin};
use simulation::{Arrival, Fault, FaultKind, Fleet, Replica, Report};
use testbed::{expect, note, rng, seed};

use super::fleet::{SMALL, fleet, goodput, in_fours, mixed, replica, serve};
use crate::pipeline::Weighted;
use crate::scorers::{KvCacheUtilizationScorer, QueueScorer};
use crate::{LeastRequest, Limits, LoadAware, Picker, TwoChoices};

/// Between two scrapes.
const SCRAPES: Duration = Duration::from_millis(50);
/// The replica that has a fault, of four.
const ILL: usize = 2;

fn load_aware(every: Duration, picker: Picker, seed: u64) -> LoadAware {
    LoadAware::new(Limits::for_scrapes_every(every), picker, seed)
}

/// Four replicas, one of which takes `factor` times as long for everything after 3 s.
fn one_slow(factor: f64) -> Vec<Replica> {
    let kind = FaultKind::Slow { factor };
    let fault = Fault { from: Duration::from_secs(3), until: Duration::MAX, kind };
    let well_or_ill = |index| match index {
        ILL => replica(SMALL).with_fault(fault),
        _ => replica(SMALL),
    };
    (0..4).map(well_or_ill).collect()
}

/// Requests of so many a second, the same for every policy.
fn traffic(count: usize, rate: f64) -> Vec<Arrival> {
    mixed(count, rate, &mut rng("traffic"))
}

fn run(policy: impl Policy + 'static, replicas: Vec<Replica>, arrivals: Vec<Arrival>) -> Report {
    serve(Fleet::new(replicas, policy).with_scrapes_every(SCRAPES), arrivals)
}

/// Part of all requests that went to the replica with the fault.
fn share_of_the_ill(report: &Report) -> f64 {
    let there = report.requests.iter().filter(|request| request.replica == Some(ILL)).count();
    there as f64 / report.requests.len() as f64
}

#[test]
fn task_2_1_serves_requests_of_all_sizes_better_than_round_robin() {
    let well = |policy: Box<dyn Policy>| {
        let replicas = (0..4).map(|_| replica(SMALL)).collect();
        goodput(&run(policy, replicas, in_fours(600, 20.0, &mut rng("fours"))))
    };
    let blind = well(Box::<RoundRobin>::default());
    let least = well(Box::new(LeastRequest::new(seed())));
    let two = well(Box::new(TwoChoices::new(seed())));
    let load = well(Box::new(load_aware(SCRAPES, Picker::BestOfTwo, seed())));
    note(format!(
        "four replicas, each fourth request is a document: goodput {blind:.2} with round robin, \
         {least:.2} with least request, {two:.2} with two choices, {load:.2} with all metrics"
    ));
    for (name, saw) in [("least request", least), ("two choices", two), ("load", load)] {
        let context = format!("four replicas, each fourth request is a document: goodput, {name}");
        expect(
            context,
            saw > blind + 0.1,
            format!("above {blind:.3} + 0.1, as round robin has"),
            saw,
        );
    }
}

#[test]
fn task_2_1_sends_less_to_a_replica_that_is_slow() {
    let blind = run(RoundRobin::default(), one_slow(4.0), traffic(800, 32.0));
    let two = run(TwoChoices::new(seed()), one_slow(4.0), traffic(800, 32.0));
    note(format!(
        "one of four at a quarter of its speed: goodput {:.2} with round robin, {:.2} with two \
         choices by peak EWMA, which sends {:.0} % there",
        goodput(&blind),
        goodput(&two),
        100.0 * share_of_the_ill(&two)
    ));
    let share = share_of_the_ill(&two);
    expect("share of the slow replica, one of four", share < 0.16, "less than 16 %", share);
    let (blind, two) = (goodput(&blind), goodput(&two));
    expect(
        "goodput with one slow replica",
        two > blind + 0.08,
        format!("above {blind:.3} + 0.08"),
        two,
    );
}

#[test]
fn task_2_1_is_not_drawn_to_a_replica_whose_metrics_stopped() {
    // It said that it was idle, and then nothing any more; later it becomes slow.
    let policy = load_aware(SCRAPES, Picker::MaxScore, seed());
    let fleet = Fleet::new(one_slow(4.0), policy).with_scrapes_every(SCRAPES);
    let fleet = fleet.with_silence(ILL, Duration::from_millis(1), Duration::MAX);
    let report = serve(fleet, traffic(800, 32.0));
    let (good, share) = (goodput(&report), share_of_the_ill(&report));
    note(format!("a slow replica without metrics gets {:.1} %, goodput {good:.2}", 100.0 * share));
    let context = "one of four replicas said once that it is idle, then nothing";
    expect(format!("{context}: its share"), share < 0.06, "less than 6 %", share);
    expect(format!("{context}: goodput"), good > 0.97, "above 0.97", good);
}

#[test]
fn task_2_1_goes_by_its_own_requests_when_all_metrics_stopped() {
    let policy = load_aware(SCRAPES, Picker::MaxScore, seed());
    let mut fleet = fleet(4, SMALL, policy).with_scrapes_every(SCRAPES);
    for index in 0..4 {
        fleet = fleet.with_silence(index, Duration::from_secs(2), Duration::MAX);
    }
    let report = serve(fleet, traffic(800, 48.0));
    let refused = report.requests.iter().filter(|request| !request.outcome.is_success()).count();
    let good = goodput(&report);
    expect("all metrics stopped after 2 s: requests lost", refused == 0, 0, refused);
    expect("all metrics stopped after 2 s: goodput", good > 0.93, "above 0.93", good);
}

/// Eight routers that ask once a second, and look at queue and cache only.
fn eight_routers(picker: Picker) -> Report {
    let every = Duration::from_secs(1);
    let policy = |seed| {
        let scorers =
            vec![Weighted::new(2.0, QueueScorer), Weighted::new(2.0, KvCacheUtilizationScorer)];
        load_aware(every, picker, seed).with_scorers(scorers)
    };
    let mut fleet = fleet(8, SMALL, policy(seed())).with_scrapes_every(every);
    for router in 1..8 {
        fleet = fleet.with_router(policy(seed() + router));
    }
    serve(fleet, traffic(1_200, 90.0))
}

#[test]
fn task_2_1_does_not_herd_where_many_see_the_same_old_picture() {
    let (best, two) =
        (goodput(&eight_routers(Picker::MaxScore)), goodput(&eight_routers(Picker::BestOfTwo)));
    note(format!(
        "eight routers, one scrape a second: goodput {best:.2} for the best, {two:.2} for the better of two"
    ));
    let context =
        "eight routers, eight replicas, one scrape a second: goodput of the better of two";
    expect(context, two > 0.95, "above 0.95", two);
    expect(
        context,
        two > best + 0.1,
        format!("above {best:.3} + 0.1, which all get who take the best"),
        two,
    );
}
