//! Checks of task 2.4: a rollout in a simulated fleet. The scheduler, the pool and the roofline are lab 1's, the canary's
//! replicas stall, and nobody tells the rollout.

use std::time::Duration;

use routing::{EndpointId, EndpointView, Feedback, Policy, RoundRobin, RouteRequest};
use simulation::{Arrival, Fault, FaultKind, Fleet};
use testbed::{expect_eq, expect_some, note, rng};

use super::canaries::{begin, ms, plan};
use super::fleet::{SMALL, replica, serve, times};
use crate::canary::Canary;
use crate::rollout::{Decision, Guard, Objective, Plan, slow_beyond};
use crate::split::{Share, Version};

/// Replicas 0 and 1 are stable, 2 and 3 the canary.
const CANARIES: u32 = 2;
const REPLICAS: usize = 4;
/// Requests a second.
const RATE: f64 = 60.0;

fn version_of(endpoint: EndpointId) -> Version {
    if endpoint.0 < CANARIES { Version::Stable } else { Version::Canary }
}

fn arrivals(count: usize, purpose: &str) -> Vec<Arrival> {
    let times = times(count, RATE, &mut rng(purpose));
    times.into_iter().map(|at| Arrival::new(at, 200, 6)).collect()
}

/// Two versions; the canary's replicas stand still for `stall` of every second. (A stalled step holds up all requests that are in
/// it or come meanwhile.)
fn fleet(policy: impl Policy + 'static, stall: Duration, seconds: u64) -> Fleet {
    let replicas = (0..REPLICAS as u32).map(|index| {
        let stalls = if version_of(EndpointId(index)) == Version::Canary { seconds } else { 0 };
        (0..stalls).fold(replica(SMALL), |replica, second| {
            let from = ms(1_000 * second + 400);
            replica.with_fault(Fault { from, until: from + stall, kind: FaultKind::Stall })
        })
    });
    Fleet::new(replicas.collect(), policy)
}

/// What the stable version's requests stay below: measured before the rollout, in a fleet without a canary.
fn baseline() -> Duration {
    let replicas = (0..CANARIES).map(|_| replica(SMALL)).collect();
    let report = serve(Fleet::new(replicas, RoundRobin::default()), arrivals(3_000, "baseline"));
    let mut ttft: Vec<Duration> =
        report.requests.iter().filter_map(|request| request.ttft).collect();
    expect_some("3,000 requests", "a 99th percentile", slow_beyond(&mut ttft))
}

/// Shows what the canary has decided when the fleet, which owns it, is gone.
struct Shown {
    canary: Canary<RoundRobin>,
    history: std::sync::mpsc::SyncSender<Vec<(Duration, Decision)>>,
}

impl Policy for Shown {
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize> {
        self.canary.choose(request, endpoints, now)
    }

    fn observe(&mut self, feedback: &Feedback) {
        self.canary.observe(feedback);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        _ = self.history.try_send(self.canary.history().to_vec());
    }
}

/// Rolls out a version whose replicas stall so long every second; returns what was decided, and when.
fn roll_out(stall: Duration, count: usize, purpose: &str) -> Vec<(Duration, Decision)> {
    let slow = baseline();
    let objective = Objective { within: 3 * slow, misses: 0.1, doubt: 0.05 };
    // A step lasts as long as it takes to see a slow tail: 20 s are 1,200 requests.
    let plan = Plan { slow, objective, hold: ms(20_000), alpha: 0.001, ..plan(&[5, 25, 50]) };
    let canary = Canary::new(purpose, begin(plan), [RoundRobin::default(); 2], version_of);
    let (history, seen) = std::sync::mpsc::sync_channel(1);
    let seconds = (count as f64 / RATE) as u64;
    serve(fleet(Shown { canary, history }, stall, seconds), arrivals(count, purpose));
    seen.try_recv().unwrap_or_default()
}

#[test]
fn task_2_4_promotes_an_equal_version_in_a_fleet() {
    let history = roll_out(Duration::ZERO, 4_500, "an equal version");
    let decisions: Vec<Decision> = history.iter().map(|(_, decision)| *decision).collect();
    let step = |percent| Decision::Advance(Share::percent(percent));
    let expected = vec![step(25), step(50), Decision::Promote];
    expect_eq("two versions that are equal: decisions", expected, decisions);
}

#[test]
fn task_2_4_rolls_back_a_version_that_stalls_in_a_fleet() {
    // What hits about one request in eight, and no median.
    let history = roll_out(ms(120), 4_500, "a version that stalls");
    let last = history.last().copied();
    let (at, decision) = expect_some("a version that stalls", "a decision", last);
    expect_eq(
        "a version that stalls: the last decision",
        Decision::RollBack(Guard::Slow),
        decision,
    );
    note(format!("rolled back after {at:.1?}, {:.0} requests", at.as_secs_f64() * RATE));
}
