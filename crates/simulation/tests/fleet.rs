//! What must hold for every run of a fleet, on the baseline's scheduler.

mod common;

use std::time::Duration;

use proptest::prelude::*;
use serving::baseline::Counters;
use serving::{Load, Recorder, RequestSummary, Timeline};
use simulation::{
    Arrival, Fault, FaultKind, Fleet, FleetError, Host, Limit, ObservedStep, Observer, Outcome,
    Prompt, ReplicaSpec, Report, RoundRobin, Slo,
};

use common::{NUM_BLOCKS, replica, replicas, spec};

const NO_END: Duration = Duration::MAX;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn fleet(count: usize) -> Fleet {
    Fleet::new(replicas(count), RoundRobin::default())
}

fn run(replicas: usize, arrivals: &[Arrival]) -> Report {
    fleet(replicas).run(arrivals.to_vec(), NO_END).expect("it runs to its end")
}

prop_compose! {
    fn arrival()(
        prompt in 1usize..600,
        output in 1usize..30,
        max in prop::option::of(1usize..30),
        abort in prop::option::weighted(0.2, 0u64..400),
    ) -> (usize, usize, Option<usize>, Option<u64>) {
        (prompt, output, max, abort)
    }
}

prop_compose! {
    fn arrivals()(
        gaps in prop::collection::vec((0u64..60, arrival()), 1..40),
    ) -> Vec<Arrival> {
        let mut at = Duration::ZERO;
        gaps.into_iter().map(|(gap, (prompt, output, max_tokens, abort))| {
            at += ms(gap);
            let abort_at = abort.map(|after| at + ms(after));
            Arrival { max_tokens, abort_at, ..Arrival::new(at, prompt, output) }
        }).collect()
    }
}

/// Counts what it is told, and follows each timeline.
#[derive(Default)]
struct Witness {
    requests: Vec<RequestSummary>,
    tokens: usize,
    steps: u64,
    /// Integral of the number of requests in the system over time, in request-seconds.
    in_system: f64,
    last_load: Load,
}

impl Observer for Witness {
    fn step(&mut self, step: &ObservedStep<'_>) {
        self.steps += u64::from(step.time.is_some());
        self.last_load = step.load;
    }

    fn request(&mut self, _replica: usize, timeline: &Timeline, summary: &RequestSummary) {
        let events = timeline.events();
        let is_token = |kind| matches!(kind, serving::EventKind::Token);
        self.tokens += events.iter().filter(|event| is_token(event.kind)).count();
        self.in_system += (events[events.len() - 1].at - events[0].at).as_secs_f64();
        self.requests.push(summary.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_ends_exactly_once(arrivals in arrivals(), replicas in 1usize..4) {
        let mut witness = Witness::default();
        let report = fleet(replicas).run_observed(arrivals.clone(), NO_END, &mut witness).unwrap();
        prop_assert_eq!(report.requests.len(), arrivals.len());
        let summary = report.summary(&Slo::default());
        let refused = summary.requests.get("refused").copied().unwrap_or(0) as usize;
        prop_assert_eq!(witness.requests.len() + refused, arrivals.len());
        prop_assert_eq!(summary.requests.get("unfinished"), None);
        prop_assert_eq!(witness.steps, summary.steps);
        prop_assert_eq!((witness.last_load.running, witness.last_load.waiting), (0, 0));
        prop_assert_eq!(witness.last_load.blocks_free, NUM_BLOCKS);
        let generated: usize = report.requests.iter().map(|request| request.generated_tokens).sum();
        prop_assert_eq!(witness.tokens, generated);
        for (arrival, request) in arrivals.iter().zip(&report.requests) {
            let due = arrival.output_tokens.min(arrival.max_tokens.unwrap_or(usize::MAX));
            match request.outcome {
                Outcome::Stop | Outcome::Length => {
                    prop_assert_eq!(request.generated_tokens, due);
                    prop_assert!(request.ttft.unwrap() <= request.e2e.unwrap());
                    prop_assert!(request.queue.unwrap() < request.ttft.unwrap());
                }
                Outcome::Aborted => {
                    prop_assert!(request.generated_tokens < due);
                    prop_assert!(arrival.at + request.e2e.unwrap() >= arrival.abort_at.unwrap());
                }
                Outcome::Refused => prop_assert!(request.e2e.is_none()),
                Outcome::Unfinished => prop_assert!(false),
            }
        }
        let gaps: usize = report.requests.iter().map(|r| r.generated_tokens.saturating_sub(1)).sum();
        prop_assert_eq!(report.itl.len() as usize, gaps);
    }

    #[test]
    fn equal_input_gives_an_equal_report(arrivals in arrivals()) {
        prop_assert_eq!(run(2, &arrivals), run(2, &arrivals));
    }

    #[test]
    fn the_mean_number_of_requests_is_rate_times_time(arrivals in arrivals()) {
        // Little's law: once from the records, once from the load over time.
        let report = run(1, &arrivals);
        let seconds: f64 = report.requests.iter().filter_map(|r| r.e2e).map(|t| t.as_secs_f64()).sum();
        let replica = &report.replicas[0];
        let mean = replica.running.mean_over(report.duration)
            + replica.waiting.mean_over(report.duration);
        let in_system = mean * report.duration.as_secs_f64();
        // A sequence is counted as running until its place is given up, which is when it ends.
        prop_assert!((in_system - seconds).abs() <= 1e-6 + 1e-6 * seconds, "{in_system} {seconds}");
    }

    #[test]
    fn a_run_that_is_cut_off_agrees_with_the_whole_one(arrivals in arrivals(), until in 1u64..800) {
        let whole = run(2, &arrivals);
        let cut = fleet(2).run(arrivals, ms(until)).unwrap();
        for (cut, whole) in cut.requests.iter().zip(&whole.requests) {
            if cut.outcome == Outcome::Unfinished {
                prop_assert!(cut.generated_tokens <= whole.generated_tokens);
                prop_assert!(cut.ttft.is_none() || cut.ttft == whole.ttft);
            } else {
                prop_assert_eq!(cut, whole);
            }
        }
    }

    #[test]
    fn a_stall_costs_its_length(
        lengths in prop::collection::vec((1usize..600, 1usize..30), 1..20),
        at in 0u64..500,
        len in 1u64..500,
    ) {
        // All at once: then a stall cannot change who runs with whom.
        let arrivals: Vec<_> =
            lengths.into_iter().map(|(prompt, output)| Arrival::new(ms(0), prompt, output)).collect();
        let fault = Fault { from: ms(at), until: ms(at + len), kind: FaultKind::Stall };
        let stalled = Fleet::new(vec![replica(spec(4)).with_fault(fault)], RoundRobin::default());
        let stalled = stalled.run(arrivals.clone(), NO_END).unwrap().duration;
        let smooth = run(1, &arrivals).duration;
        prop_assert_eq!(stalled, if smooth > ms(at) { smooth + ms(len) } else { smooth });
    }
}

#[test]
fn alone_a_request_waits_for_its_prefill_and_nothing_else() {
    let report = run(1, &[Arrival::new(ms(3), 100, 3)]);
    let request = &report.requests[0];
    let step = |tokens: u64, context: u64| {
        Duration::from_micros(5_000 + 20 * tokens) + Duration::from_nanos(100 * context)
    };
    assert_eq!(request.ttft, Some(step(100, 100)));
    assert_eq!(request.queue, Some(Duration::ZERO));
    assert_eq!(request.e2e, Some(step(100, 100) + step(1, 101) + step(1, 102)));
    assert_eq!(request.tpot, Some((step(1, 101) + step(1, 102)) / 2));
    assert_eq!(request.max_itl, Some(step(1, 102)));
    let itl = report.summary(&Slo::default()).itl;
    assert!(itl.max.abs_diff(step(1, 102)) < step(1, 102) / 1000, "{itl:?}");
}

#[test]
fn requests_of_one_instant_share_their_first_step() {
    let report = run(1, &vec![Arrival::new(ms(1), 50, 2); 4]);
    assert_eq!(report.replicas[0].steps, 2);
    assert_eq!(report.replicas[0].prefill_tokens, 200);
}

#[test]
fn a_binding_sees_each_plan_with_the_load_that_it_leaves_behind() {
    let arrivals: Vec<_> = (0..6).map(|_| Arrival::new(ms(0), 10, 10)).collect();
    let replica = replica(spec(4)).with_binding(|plan, time, load, limits| {
        assert_eq!(
            (plan.chunks.len(), load.running, limits.max_num_seqs),
            (load.running, load.running, 4)
        );
        if load.waiting > 0 { Limit::Queue } else { time.binds }
    });
    let report =
        Fleet::new(vec![replica], RoundRobin::default()).run(arrivals.clone(), NO_END).unwrap();
    let bound_by = &report.replicas[0].bound_by;
    assert_eq!((bound_by[&Limit::Queue], bound_by[&Limit::HostOverhead]), (10, 10));
    let untold = run(1, &arrivals);
    assert_eq!(untold.replicas[0].bound_by.keys().collect::<Vec<_>>(), [&Limit::HostOverhead]);
}

#[test]
fn what_can_never_fit_and_what_is_too_many_is_refused() {
    let outcomes = |spec: ReplicaSpec, arrivals: Vec<Arrival>| -> Vec<Outcome> {
        let fleet = Fleet::new(vec![replica(spec)], RoundRobin::default());
        fleet.run(arrivals, NO_END).unwrap().requests.iter().map(|r| r.outcome).collect()
    };
    let long = vec![Arrival::new(ms(0), 4000, 97), Arrival::new(ms(0), 4000, 96)];
    assert_eq!(outcomes(spec(1), long), [Outcome::Refused, Outcome::Stop]);
    let limited = ReplicaSpec { max_model_len: 100, max_queue: 2, ..spec(1) };
    let arrivals = (0..4).map(|_| Arrival::new(ms(0), 50, 50)).collect();
    let (yes, no) = (Outcome::Stop, Outcome::Refused);
    assert_eq!(outcomes(limited, arrivals), [yes, yes, no, no]);
    assert_eq!(outcomes(limited, vec![Arrival::new(ms(0), 50, 51)]), [no]);
}

#[test]
fn the_frontend_is_in_ttft_and_e2e_and_in_no_step() {
    let zero = Duration::ZERO;
    let (request, prompt_token) = (ms(8), Duration::from_micros(10));
    let host = Host { step: zero, sequence: zero, launch: zero, request, prompt_token };
    let spec = ReplicaSpec { frontend: Some(host), ..spec(4) };
    let arrivals = [Arrival::new(ms(3), 100, 3), Arrival::new(ms(3), 300, 3)];
    let serve = |spec, arrivals: &[Arrival]| {
        let fleet = Fleet::new(vec![replica(spec)], RoundRobin::default());
        fleet.run(arrivals.to_vec(), NO_END).unwrap().requests
    };
    // As if it came later by the way in, and got its tokens later by the way out.
    let entered = [Arrival::new(ms(3 + 4 + 1), 100, 3), Arrival::new(ms(3 + 4 + 3), 300, 3)];
    let bare = serve(self::spec(4), &entered);
    for (index, request) in serve(spec, &arrivals).iter().enumerate() {
        let under_way = host.frontend(request.prompt_tokens);
        assert_eq!(request.ttft, bare[index].ttft.map(|ttft| ttft + under_way));
        assert_eq!(request.e2e, bare[index].e2e.map(|e2e| e2e + under_way));
        assert_eq!((request.tpot, request.queue), (bare[index].tpot, bare[index].queue));
    }
    let gone = Arrival { abort_at: Some(ms(5)), ..arrivals[0].clone() };
    let requests = serve(spec, &[gone, arrivals[1].clone()]);
    assert_eq!(requests[0].outcome, Outcome::Aborted);
    assert_eq!((requests[0].generated_tokens, requests[1].outcome), (0, Outcome::Stop));
}

#[test]
fn a_recorder_sees_what_it_would_see_in_a_pod() {
    let mut recorders: Vec<Box<dyn Recorder>> =
        (0..2).map(|_| Box::new(Counters::new("m")) as Box<dyn Recorder>).collect();
    let arrivals = (0..5).map(|i| Arrival::new(ms(i), 10, 4));
    fleet(2).run_observed(arrivals, NO_END, &mut recorders).unwrap();
    let pages: Vec<String> = recorders
        .iter()
        .map(|recorder| recorder.families(ms(0)).iter().map(ToString::to_string).collect())
        .collect();
    assert!(
        pages[0].contains("vllm:generation_tokens_total{engine=\"0\",model_name=\"m\"} 12.0"),
        "{}",
        pages[0]
    );
    assert!(
        pages[1].contains("vllm:prompt_tokens_total{engine=\"0\",model_name=\"m\"} 20.0"),
        "{}",
        pages[1]
    );
}

#[test]
fn more_replicas_serve_more_within_the_slo() {
    let arrivals: Vec<_> = (0..200).map(|i| Arrival::new(ms(60 * i), 200, 20)).collect();
    let slo = Slo { ttft: Some(ms(90)), ..Slo::default() };
    let goodput = [1, 2, 4].map(|replicas| run(replicas, &arrivals).summary(&slo).slo_attainment);
    assert!(goodput.is_sorted() && goodput[0] < 0.8 && goodput[2] > 0.9, "{goodput:?}");
}

#[test]
fn what_cannot_run_says_why() {
    let none = Fleet::new(Vec::new(), RoundRobin::default());
    assert!(matches!(none.run([], NO_END), Err(FleetError::NoReplica)));
    let backwards = [Arrival::new(ms(5), 1, 1), Arrival::new(ms(4), 1, 1)];
    let error = fleet(1).run(backwards, NO_END).unwrap_err();
    assert_eq!(error.to_string(), "request 1 arrives at 4ms, when it is 5ms already");
    let empty = [Arrival { prompt: Prompt::Unique(0), ..Arrival::new(ms(5), 1, 1) }];
    assert!(matches!(fleet(1).run(empty, NO_END), Err(FleetError::EmptyPrompt { index: 0 })));
}
