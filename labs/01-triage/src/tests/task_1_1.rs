//! Checks of task 1.1, where did the time go.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serving::{EventKind, Phases, Timeline};
use testbed::{expect_eq, rng};

use crate::{latencies, phases};

use EventKind::{
    Aborted, Arrived, Flushed, ModelReady, Preempted, PrefillDone, Queued, Scheduled, Token,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A timeline from times in milliseconds.
fn timeline(events: &[(u64, EventKind)]) -> Timeline {
    events.iter().map(|(at, kind)| (ms(*at), *kind)).collect()
}

/// Three tokens, each flushed at once; 5 ms on the way back.
fn plain() -> Timeline {
    timeline(&[
        (0, Arrived),
        (1, Queued),
        (10, Scheduled),
        (50, PrefillDone),
        (50, Token),
        (51, Flushed { tokens: 1 }),
        (70, Token),
        (72, Flushed { tokens: 1 }),
        (90, Token),
        (95, Flushed { tokens: 1 }),
    ])
}

/// Preempted after its second token; waits 20 ms and computes everything again.
fn preempted() -> Timeline {
    timeline(&[
        (0, Arrived),
        (0, Queued),
        (10, Scheduled),
        (30, PrefillDone),
        (30, Token),
        (31, Flushed { tokens: 1 }),
        (40, Token),
        (41, Flushed { tokens: 1 }),
        (45, Preempted),
        (65, Scheduled),
        (90, PrefillDone),
        (90, Token),
        (92, Flushed { tokens: 1 }),
    ])
}

#[test]
fn task_1_1_attributes_each_interval_to_its_phase() {
    let expected = Phases {
        queue: ms(10),
        prefill: ms(40),
        decode: ms(40),
        response: ms(5),
        ..Phases::default()
    };
    expect_eq(
        "scheduled at 10, prefilled at 50, last token at 90 of 95 ms",
        expected,
        phases(&plain()),
    );
}

#[test]
fn task_1_1_counts_the_wait_after_a_preemption_as_queue() {
    let expected = Phases {
        queue: ms(10 + 20),
        prefill: ms(20 + 25),
        decode: ms(10 + 5),
        response: ms(2),
        ..Phases::default()
    };
    expect_eq("preempted at 45, scheduled again at 65 ms", expected, phases(&preempted()));
}

#[test]
fn task_1_1_tells_loading_from_waiting() {
    let waited = timeline(&[
        (0, Arrived),
        (2, Queued),
        (3000, ModelReady),
        (3040, Scheduled),
        (3100, PrefillDone),
        (3100, Token),
        (3101, Flushed { tokens: 1 }),
    ]);
    let expected = Phases {
        model_load: ms(3000),
        queue: ms(40),
        prefill: ms(60),
        response: ms(1),
        ..Phases::default()
    };
    expect_eq("the model was ready at 3000 ms", expected, phases(&waited));
}

#[test]
fn task_1_1_attributes_all_time_of_a_request_that_was_aborted() {
    let never_scheduled = timeline(&[(0, Arrived), (1, Queued), (500, Aborted)]);
    let expected = Phases { queue: ms(500), ..Phases::default() };
    expect_eq("aborted in the queue at 500 ms", expected, phases(&never_scheduled));

    let in_prefill = timeline(&[(0, Arrived), (1, Queued), (5, Scheduled), (30, Aborted)]);
    let expected = Phases { queue: ms(5), prefill: ms(25), ..Phases::default() };
    expect_eq("aborted in prefill at 30 ms", expected, phases(&in_prefill));

    let unread = timeline(&[
        (0, Arrived),
        (5, Scheduled),
        (20, PrefillDone),
        (20, Token),
        (21, Flushed { tokens: 1 }),
        (30, Token),
        (70, Aborted),
    ]);
    let expected = Phases {
        queue: ms(5),
        prefill: ms(15),
        decode: ms(10),
        response: ms(40),
        ..Phases::default()
    };
    expect_eq("last token at 30, aborted at 70 ms", expected, phases(&unread));
}

#[test]
fn task_1_1_sums_to_the_whole_for_every_timeline() {
    let mut rng = rng("any timeline");
    for case in 0..300 {
        let mut at = rng.random_range(0..1000);
        let mut events = vec![(at, Arrived)];
        for _ in 0..rng.random_range(0..20) {
            at += rng.random_range(0..50);
            events.push((at, any_event(&mut rng)));
        }
        let whole = ms(at - events[0].0);
        let timeline = timeline(&events);
        let context = format!("timeline {case}, in any order: {:?}", timeline.events());
        expect_eq(format!("{context:.200}: the parts sum to"), whole, phases(&timeline).total());
    }
}

fn any_event(rng: &mut StdRng) -> EventKind {
    let tokens = rng.random_range(0..4);
    let kinds =
        [Queued, ModelReady, Scheduled, PrefillDone, Token, Flushed { tokens }, Preempted, Aborted];
    kinds[rng.random_range(0..kinds.len())]
}

/// A request made of known phases: what `phases` must find again.
struct Known {
    events: Vec<(u64, EventKind)>,
    now: u64,
    phases: Phases,
}

impl Known {
    fn spend(&mut self, rng: &mut StdRng, part: fn(&mut Phases) -> &mut Duration, end: EventKind) {
        let spent = rng.random_range(1..100);
        self.now += spent;
        *part(&mut self.phases) += ms(spent);
        self.events.push((self.now, end));
    }
}

#[test]
fn task_1_1_finds_the_phases_of_random_requests_again() {
    let mut rng = rng("known phases");
    for case in 0..200 {
        let mut known = Known { events: vec![(7, Arrived)], now: 7, phases: Phases::default() };
        if rng.random_bool(0.3) {
            known.spend(&mut rng, |phases| &mut phases.model_load, ModelReady);
        }
        let turns = rng.random_range(1..4);
        for turn in 1..=turns {
            known.spend(&mut rng, |phases| &mut phases.queue, Scheduled);
            known.spend(&mut rng, |phases| &mut phases.prefill, PrefillDone);
            known.events.push((known.now, Token));
            for _ in 0..rng.random_range(1..5) {
                let flushed = Flushed { tokens: 1 };
                known.spend(&mut rng, |phases| &mut phases.decode, flushed);
                known.spend(&mut rng, |phases| &mut phases.decode, Token);
            }
            if turn < turns {
                known.spend(&mut rng, |phases| &mut phases.decode, Preempted);
            }
        }
        known.spend(&mut rng, |phases| &mut phases.response, Flushed { tokens: 1 });
        let context = format!("request {case} with {turns} turns");
        expect_eq(context, known.phases, phases(&timeline(&known.events)));
    }
}

#[test]
fn task_1_1_ends_ttft_when_the_first_token_is_flushed() {
    expect_eq("first token at 50, flushed at 51 ms: TTFT", Some(ms(51)), latencies(&plain()).ttft);

    let chat = timeline(&[
        (100, Arrived),
        (101, Flushed { tokens: 0 }),
        (110, Scheduled),
        (150, PrefillDone),
        (150, Token),
        (160, Token),
        (162, Flushed { tokens: 2 }),
        (163, Flushed { tokens: 0 }),
    ]);
    let context =
        "arrived at 100; a chunk with a role and no token at 101, two tokens at 162 ms: TTFT";
    expect_eq(context, Some(ms(62)), latencies(&chat).ttft);

    let unread =
        timeline(&[(0, Arrived), (5, Scheduled), (9, PrefillDone), (9, Token), (20, Aborted)]);
    expect_eq("aborted before a flush: TTFT", None, latencies(&unread).ttft);
}

#[test]
fn task_1_1_divides_tpot_by_the_gaps_between_tokens() {
    expect_eq("tokens at 50, 70, 90 ms: TPOT", Some(ms(20)), latencies(&plain()).tpot);

    let one =
        timeline(&[(0, Arrived), (5, Scheduled), (9, PrefillDone), (9, Token), (20, Aborted)]);
    expect_eq("one token: TPOT", None, latencies(&one).tpot);
    expect_eq("no event: latencies", crate::Latencies::default(), latencies(&Timeline::default()));
}

#[test]
fn task_1_1_measures_itl_where_tokens_are_sampled() {
    let coalesced = timeline(&[
        (0, Arrived),
        (10, Scheduled),
        (50, PrefillDone),
        (50, Token),
        (51, Flushed { tokens: 1 }),
        (70, Token),
        (85, Token),
        (120, Token),
        (121, Flushed { tokens: 3 }),
    ]);
    let latencies = latencies(&coalesced);
    let context = "tokens at 50, 70, 85, 120 ms; the last three in one chunk: ITL";
    expect_eq(context, vec![ms(20), ms(15), ms(35)], latencies.itl);
    expect_eq("from arrival to the last flush: E2E", ms(121), latencies.e2e);
}

#[test]
fn task_1_1_keeps_the_stall_of_a_preemption_in_itl_and_tpot() {
    let latencies = latencies(&preempted());
    expect_eq("tokens at 30, 40, 90 ms: ITL", vec![ms(10), ms(50)], latencies.itl);
    expect_eq("tokens at 30, 40, 90 ms: TPOT", Some(ms(30)), latencies.tpot);
}
