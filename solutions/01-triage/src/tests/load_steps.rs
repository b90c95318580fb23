//! Checks of task 1.5 on an engine under load: the simulator runs the learner's scheduler and
//! controller on devices that are drawn by seed.

use std::cell::RefCell;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serving::baseline::{ContiguousPool, FixedBudget};
use serving::{SchedulerLimits, StepPlan, TokenBudget};
use simulation::{
    Arrival, Fault, FaultKind, Fleet, LinearCost, ObservedStep, Observer, Replica, ReplicaSpec,
    RoundRobin, StepCost, StepTime,
};
use testbed::{expect, note, rng};

use crate::{AdaptiveBudget, ContinuousScheduler};

const BLOCK_SIZE: usize = 64;
const NUM_BLOCKS: usize = 8192;
/// An engine that was set up for throughput.
const PLACES: usize = 48;
const LIMIT: usize = 2048;
/// Steps with decodes, after a load begins, in which a controller may still learn.
const LEARNING: usize = 40;
/// Part of the steps that may be late: a p95.
const LATE: f64 = 0.05;

/// A device, and what was promised on it.
#[derive(Debug, Clone, Copy)]
struct Device {
    cost: LinearCost,
    slo: Duration,
}

impl Device {
    /// From a large GPU to a few cores of a CPU. The SLO leaves room beside 24 decodes.
    fn drawn(rng: &mut StdRng) -> Self {
        let step = Duration::from_micros(rng.random_range(4_000..40_000));
        let cost = LinearCost {
            step,
            token: step / rng.random_range(40..150),
            context_token: step / rng.random_range(10_000..30_000),
        };
        let decodes = step + cost.token * 24 + cost.context_token * 24 * 300;
        Self { cost, slo: decodes.mul_f64(rng.random_range(1.6..2.2)) }
    }

    fn adaptive(&self) -> Box<dyn TokenBudget> {
        Box::new(AdaptiveBudget::new(self.slo))
    }
}

/// Real steps never take the same time twice, and now and then one takes ten times as long.
struct Noisy {
    cost: LinearCost,
    stalls: f64,
    rng: RefCell<StdRng>,
}

impl StepCost for Noisy {
    fn step_time(&self, plan: &StepPlan) -> StepTime {
        let mut rng = self.rng.borrow_mut();
        let stall = if rng.random_bool(self.stalls) { 10.0 } else { 1.0 };
        let time = self.cost.step_time(plan);
        StepTime { total: time.total.mul_f64(stall * rng.random_range(0.94..1.06)), ..time }
    }
}

/// A step with decodes.
#[derive(Debug, Clone, Copy)]
struct Step {
    began: Duration,
    took: Duration,
    decodes: usize,
}

/// Keeps the steps in which somebody waited for a next token.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Observer for Steps {
    fn wants_timelines(&self) -> bool {
        false
    }

    fn step(&mut self, step: &ObservedStep<'_>) {
        let report = step.report;
        if report.decode_tokens > 0 {
            let took = report.ended - report.started;
            self.0.push(Step { began: report.started, took, decodes: report.decode_tokens });
        }
    }
}

/// One simulated engine.
struct Setup {
    device: Device,
    places: usize,
    limit: usize,
    stalls: f64,
    faults: Vec<Fault>,
}

/// What came of a load.
struct Run {
    steps: Vec<Step>,
    /// From the first arrival, at 0, to the last token.
    time: Duration,
}

impl Setup {
    fn new(device: Device) -> Self {
        Self { device, places: PLACES, limit: LIMIT, stalls: 0.0, faults: Vec::new() }
    }

    /// Serves the load until all have their answers.
    #[track_caller]
    fn serve(&self, budget: Box<dyn TokenBudget>, load: &[Arrival]) -> Run {
        let limits = SchedulerLimits::try_new(self.places, self.limit).expect("limits that work");
        let pool = ContiguousPool::new(NUM_BLOCKS, BLOCK_SIZE);
        let scheduler = ContinuousScheduler::new(limits, pool).with_budget(budget);
        let rng = RefCell::new(rng("noise of steps"));
        let cost = Noisy { cost: self.device.cost, stalls: self.stalls, rng };
        let spec = ReplicaSpec::new(limits, BLOCK_SIZE);
        let replica = Replica::new(spec, Box::new(scheduler), cost);
        let replica = self.faults.iter().fold(replica, |to, fault| to.with_fault(*fault));
        let mut steps = Steps::default();
        let fleet = Fleet::new(vec![replica], RoundRobin::default());
        match fleet.run_observed(load.iter().cloned(), Duration::MAX, &mut steps) {
            Ok(report) => Run { steps: steps.0, time: report.duration },
            Err(error) => panic!("the simulated engine\nexpected it to serve all\nsaw {error}"),
        }
    }
}

/// Requests that come all at once.
#[derive(Debug, Clone, Copy)]
struct Burst {
    name: &'static str,
    jobs: usize,
    prompt: usize,
    answer: usize,
}

const FEW: Burst = Burst { name: "4 chats", jobs: 4, prompt: 60, answer: 120 };
const CROWD: Burst = Burst { name: "100 chats", jobs: 100, prompt: 200, answer: 60 };
const DOCUMENTS: Burst = Burst { name: "24 documents", jobs: 24, prompt: 1200, answer: 40 };
const ESSAYS: Burst = Burst { name: "30 essays", jobs: 30, prompt: 60, answer: 350 };
const BOOKS: Burst = Burst { name: "50 long contexts", jobs: 50, prompt: 1600, answer: 80 };

impl Burst {
    /// Its requests, with lengths around the given ones.
    fn at(self, at: Duration, rng: &mut StdRng) -> Vec<Arrival> {
        let mut about = |length: usize| rng.random_range(length / 2..=length * 3 / 2);
        (0..self.jobs).map(|_| Arrival::new(at, about(self.prompt), about(self.answer))).collect()
    }
}

/// Part of these steps that took longer than the SLO.
fn late(steps: &[Step], slo: Duration) -> f64 {
    let late = steps.iter().filter(|step| step.took > slo).count();
    late as f64 / steps.len().max(1) as f64
}

/// Both while the controller learns and after, this load was within the SLO.
#[track_caller]
fn expect_held(context: &str, steps: &[Step], slo: Duration) {
    let (learning, learned) = steps.split_at(LEARNING.min(steps.len()));
    let (early, after) = (late(learning, slo), late(learned, slo));
    let saw = format!("{:.1} % of {}", after * 100.0, learned.len());
    let context = format!("{context}: steps over the SLO of {slo:.1?}");
    let expected = format!("at most {:.0} %", LATE * 100.0);
    expect(&context, after <= LATE, expected, saw);
    let saw = format!("{:.0} %", early * 100.0);
    let context = format!("{context}, of the first {LEARNING}");
    expect(&context, early <= 0.4, "at most 40 %", saw);
}

#[test]
fn task_1_5_holds_the_slo_over_load_steps() {
    let mut rng = rng("load steps");
    for case in 0..3 {
        let device = Device::drawn(&mut rng);
        let bursts = [FEW, CROWD, DOCUMENTS, BOOKS, ESSAYS, CROWD];
        // Far enough apart for all to be served: an idle engine costs no time here.
        let apart = device.slo * 20_000;
        let load: Vec<Arrival> =
            (0..).zip(bursts).flat_map(|(n, burst)| burst.at(apart * n, &mut rng)).collect();
        let run = Setup::new(device).serve(device.adaptive(), &load);
        for (number, burst) in (0..).zip(bursts) {
            let during = apart * number..apart * (number + 1);
            let steps = run.steps.iter().filter(|step| during.contains(&step.began));
            let steps: Vec<Step> = steps.copied().collect();
            let context = format!("device {case}, load {number}, {}", burst.name);
            expect_held(&context, &steps, device.slo);
        }
    }
}

#[test]
fn task_1_5_is_as_fast_as_the_best_fixed_budget() {
    let mut rng = rng("sweeps");
    for case in 0..2 {
        let device = Device::drawn(&mut rng);
        let mut best = Vec::new();
        for burst in [CROWD, DOCUMENTS, ESSAYS] {
            let load = burst.at(Duration::ZERO, &mut rng);
            let fixed = [48, 64, 96, 128, 160, 192, 256, 512].into_iter().filter_map(|limit| {
                let run = Setup { limit, ..Setup::new(device) }.serve(Box::new(FixedBudget), &load);
                (late(&run.steps, device.slo) <= LATE).then_some((run.time, limit))
            });
            let Some((time, limit)) = fixed.min() else { continue };
            let own = Setup::new(device).serve(device.adaptive(), &load);
            let speed = time.as_secs_f64() / own.time.as_secs_f64();
            best.push(format!("{:.2} of {limit} ({})", speed, burst.name));
            let context = format!("device {case}, {}: throughput", burst.name);
            let expected = format!(
                "at least 0.9 of a fixed budget of {limit}, the best that holds the SLO of {:.1?}",
                device.slo
            );
            expect(context, speed >= 0.9, expected, format!("{speed:.2}"));
        }
        note(format!("device {case}: throughput, against the best fixed: {}", best.join(", ")));
    }
}

#[test]
fn task_1_5_lets_the_batch_grow_as_far_as_the_slo_allows() {
    let mut rng = rng("crowds");
    for case in 0..2 {
        let device = Device::drawn(&mut rng);
        let crowd = Burst { jobs: 250, prompt: 120, answer: 120, ..CROWD };
        let load = crowd.at(Duration::ZERO, &mut rng);
        let setup = Setup { places: 250, ..Setup::new(device) };
        let largest = |run: &Run| run.steps.iter().map(|step| step.decodes).max().unwrap_or(0);
        let fixed = setup.serve(Box::new(FixedBudget), &load);
        let own = setup.serve(device.adaptive(), &load);
        let context = format!("device {case}, 250 chats on 250 places");
        let part = late(&fixed.steps, device.slo);
        note(format!(
            "{context}: at most {} decode at once ({:.0} % of the steps late), with a fixed budget {} \
             ({:.0} % late)",
            largest(&own),
            late(&own.steps, device.slo) * 100.0,
            largest(&fixed),
            part * 100.0,
        ));
        expect_held(&context, &own.steps, device.slo);
        // As many as take `MARGIN` of the SLO, with contexts of 180 tokens on average.
        let each = device.cost.token + device.cost.context_token * 180;
        let spare = device.slo.mul_f64(0.9) - device.cost.step;
        let fit = spare.as_secs_f64() / each.as_secs_f64();
        let saw = format!("{} of about {fit:.0} that fit", largest(&own));
        let holds = largest(&own) as f64 >= 0.6 * fit;
        expect(format!("{context}: decodes at once"), holds, "most of those that fit", saw);
    }
}

#[test]
fn task_1_5_follows_a_device_that_slows_down_and_recovers() {
    let mut rng = rng("throttling");
    for case in 0..2 {
        let device = Device::drawn(&mut rng);
        let load = Burst { jobs: 200, ..CROWD }.at(Duration::ZERO, &mut rng);
        let whole = Setup::new(device).serve(device.adaptive(), &load);
        let (from, until) = (whole.time / 4, whole.time / 2);
        let fault = Fault { from, until, kind: FaultKind::Slow { factor: 1.4 } };
        let setup = Setup { faults: vec![fault], ..Setup::new(device) };
        let run = setup.serve(device.adaptive(), &load);
        let stretches = [
            ("before", Duration::ZERO..from),
            ("while it takes 1.4 times as long", from..until),
            ("after", until..Duration::MAX),
        ];
        for (name, stretch) in stretches {
            let steps = run.steps.iter().filter(|step| stretch.contains(&step.began));
            let steps: Vec<Step> = steps.copied().collect();
            expect_held(&format!("device {case}, {name}"), &steps, device.slo);
        }
        let slower = run.time.as_secs_f64() / whole.time.as_secs_f64();
        let context = format!("device {case}: a quarter of the time 1.4 times as slow");
        let expected = "at most 1.35 times the time in all";
        expect(context, slower <= 1.35, expected, format!("{slower:.2} times"));
    }
}

#[test]
fn task_1_5_keeps_its_speed_on_a_device_that_stalls_now_and_then() {
    let mut rng = rng("stalling devices");
    for case in 0..2 {
        let device = Device::drawn(&mut rng);
        let load = Burst { jobs: 200, ..CROWD }.at(Duration::ZERO, &mut rng);
        let setup = Setup { stalls: 0.01, ..Setup::new(device) };
        let own = setup.serve(device.adaptive(), &load);
        let context = format!("device {case}: one step in 100 takes 10 times as long");
        expect_held(&context, &own.steps, device.slo);
        // Steps, not time: what the stalls themselves take is nobody's fault.
        let smooth = Setup::new(device).serve(device.adaptive(), &load);
        let (steps, without) = (own.steps.len(), smooth.steps.len());
        let expected = "at most 1.2 times the steps of a device that never stalls";
        let saw = format!("{steps} against {without}");
        expect(context, steps * 5 <= without * 6, expected, saw);
    }
}
