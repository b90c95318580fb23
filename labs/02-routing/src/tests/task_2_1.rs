//! Checks of task 2.1, look at the load: each piece for itself. On fleets: `task_2_1_fleets`.

use std::time::Duration;

use fastrand::Rng;
use rand::Rng as _;
use routing::{Ending, EndpointId, EndpointView, Happening, Scrape, Signals};
use testbed::{expect, expect_close, expect_eq, rng, seed};

use crate::least_request::least_request;
use crate::load::{Candidate, Limits, believed, keep_unsaturated};
use crate::peak_ewma::{FAILURE, PeakEwma, UNKNOWN, latency};
use crate::picker::max_score;
use crate::pipeline::{Weighted, total};
use crate::scorers::{KvCacheUtilizationScorer, Scorer, fewest_is_best};
use crate::two_choices::two_choices;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Endpoints with these ids and requests in flight.
fn endpoints(of: &[(u32, u32)]) -> Vec<EndpointView> {
    let view = |(id, in_flight): &(u32, u32)| EndpointView {
        in_flight: *in_flight,
        ..EndpointView::unknown(EndpointId(*id))
    };
    of.iter().map(view).collect()
}

// === least request ===

#[test]
fn task_2_1_chooses_the_fewest_in_flight() {
    let mut random = rng("fewest");
    for _ in 0..100 {
        let loads: Vec<u32> =
            (0..random.random_range(2..12)).map(|_| random.random_range(0..50)).collect();
        let all = endpoints(&loads.iter().map(|load| (0, *load)).collect::<Vec<_>>());
        let chosen = least_request(&all, &mut Rng::with_seed(seed()));
        let seen = chosen.and_then(|index| loads.get(index));
        expect_eq(format!("in flight: {loads:?}"), loads.iter().min(), seen);
    }
}

#[test]
fn task_2_1_answers_with_a_place_and_not_with_an_id() {
    let all = endpoints(&[(7, 5), (9, 1), (12, 3)]);
    let chosen = least_request(&all, &mut Rng::with_seed(seed()));
    expect_eq("endpoints 7, 9 and 12 have 5, 1 and 3 in flight", Some(1), chosen);
}

#[test]
fn task_2_1_gives_nobody_where_nobody_is_left() {
    let random = &mut Rng::with_seed(seed());
    expect_eq("least request, no endpoint", None, least_request(&[], random));
    expect_eq("two choices, no endpoint", None, two_choices(0, random, |_| 0.0));
    expect_eq("best score, no candidate", None, max_score(&[], random));
}

#[test]
fn task_2_1_shares_ties_among_all_that_are_best() {
    let all = endpoints(&[(0, 2), (1, 0), (2, 0), (3, 0), (4, 1)]);
    let mut random = Rng::with_seed(seed());
    let mut got = [0u32; 5];
    for _ in 0..3_000 {
        if let Some(chosen) = least_request(&all, &mut random) {
            got[chosen] += 1;
        }
    }
    // Six standard deviations of a binomial count.
    let fair = got[1..4].iter().all(|count| (845..=1_155).contains(count));
    expect(
        "in flight: 2, 0, 0, 0, 1; asked 3000 times",
        fair && got[0] + got[4] == 0,
        "about 1000 choices for each of the three that are idle",
        format!("{got:?}"),
    );
}

// === two choices by peak EWMA ===

const DECAY: Duration = Duration::from_secs(10);

/// What is known after these latencies, each with its time, in milliseconds.
fn after(observed: &[(u64, u64)]) -> PeakEwma {
    let mut known = PeakEwma::default();
    for (at, latency) in observed {
        known.observe(ms(*latency), ms(*at), DECAY);
    }
    known
}

fn estimate_ms(known: &PeakEwma, at: u64) -> f64 {
    known.estimate(ms(at), DECAY).map_or(f64::NAN, |seconds| seconds * 1e3)
}

#[test]
fn task_2_1_believes_bad_news_at_once() {
    let jumped = after(&[(0, 100), (1, 900)]);
    expect_close("100 ms, then 900 ms, one ms later", 900.0, estimate_ms(&jumped, 1), 1e-9);
    // 1000 ms have decayed to 368 ms after 10 s: 500 ms are a peak by then.
    let faded = after(&[(0, 1_000), (10_000, 500)]);
    expect_close("1000 ms, and 500 ms ten seconds later", 500.0, estimate_ms(&faded, 10_000), 1e-9);
}

#[test]
fn task_2_1_forgives_by_time_and_not_by_count() {
    let first = after(&[(0, 50)]);
    expect_close("the first observation, 50 ms", 50.0, estimate_ms(&first, 0), 1e-9);
    let burst: Vec<_> = [(0, 900)].into_iter().chain((0..100).map(|_| (0, 10))).collect();
    let saw = estimate_ms(&after(&burst), 0);
    expect_close("900 ms, then a hundred times 10 ms at once", 900.0, saw, 1e-9);
    // Half of the time constant: w = e^-0.5.
    let w = (-0.5f64).exp();
    let saw = estimate_ms(&after(&[(0, 900), (5_000, 100)]), 5_000);
    let context = "900 ms, and 100 ms five seconds later, with a decay of ten";
    expect_close(context, 900.0 * w + 100.0 * (1.0 - w), saw, 1e-9);
}

#[test]
fn task_2_1_counts_the_next_request_into_its_cost() {
    let known = after(&[(0, 200)]);
    expect_close("200 ms and nothing in flight", 0.2, known.cost(0, ms(0), DECAY), 1e-9);
    expect_close("200 ms and 4 in flight", 1.0, known.cost(4, ms(0), DECAY), 1e-9);
    let decayed = 0.6 * (-1.0f64).exp();
    expect_close(
        "200 ms, 2 in flight, 10 s later",
        decayed,
        known.cost(2, ms(10_000), DECAY),
        1e-9,
    );
    let unknown = PeakEwma::default();
    expect_eq("no history, nothing in flight", 0.0, unknown.cost(0, ms(0), DECAY));
    let (one, two) = (unknown.cost(1, ms(0), DECAY), unknown.cost(2, ms(0), DECAY));
    let holds = one >= UNKNOWN && two > one;
    expect(
        "no history, 1 and 2 in flight",
        holds,
        "UNKNOWN or more, rising",
        format!("{one}, {two}"),
    );
}

#[test]
fn task_2_1_takes_no_failure_for_a_fast_answer() {
    let ended = |ending, took| latency(Happening::Ended { ending, took });
    for ending in [Ending::Failed, Ending::Refused, Ending::TimedOut] {
        expect_eq(format!("{ending:?} after 1 ms"), Some(FAILURE), ended(ending, ms(1)));
        expect_eq(format!("{ending:?} after 30 s"), Some(ms(30_000)), ended(ending, ms(30_000)));
    }
}

#[test]
fn task_2_1_judges_by_the_first_token_alone() {
    expect_eq("a first token after 80 ms", Some(ms(80)), latency(Happening::FirstToken(ms(80))));
    expect_eq("a request that was sent", None, latency(Happening::Sent));
    for ending in [Ending::Answered, Ending::ClientError, Ending::Cancelled] {
        let saw = latency(Happening::Ended { ending, took: ms(20_000) });
        expect_eq(format!("{ending:?} after 20 s"), None, saw);
    }
}

#[test]
fn task_2_1_compares_two_different_places_and_every_pair_alike() {
    const PLACES: usize = 5;
    const ASKED: u32 = 20_000;
    let mut random = Rng::with_seed(seed());
    let mut pairs = [[0u32; PLACES]; PLACES];
    let mut won = [0u32; PLACES];
    for _ in 0..ASKED {
        let mut looked_at = Vec::new();
        let chosen = two_choices(PLACES, &mut random, |place| {
            looked_at.push(place);
            place as f64
        });
        looked_at.sort_unstable();
        looked_at.dedup();
        let [one, other] = looked_at[..] else {
            panic!("five places\nexpected two different places to be compared\nsaw {looked_at:?}")
        };
        expect_eq(format!("places {one} and {other}; a place costs its number"), Some(one), chosen);
        pairs[one][other] += 1;
        won[one] += 1;
    }
    let counts: Vec<u32> = pairs.iter().flatten().copied().filter(|count| *count > 0).collect();
    // Ten pairs, 2,000 each; six standard deviations are 255.
    let alike = counts.len() == 10 && counts.iter().all(|count| (1_745..=2_255).contains(count));
    expect(
        "five places, asked 20,000 times",
        alike,
        "ten pairs, about 2000 times each",
        format!("{counts:?}"),
    );
}

#[test]
fn task_2_1_takes_the_only_place_there_is() {
    let chosen = two_choices(1, &mut Rng::with_seed(seed()), |_| f64::NAN);
    expect_eq("one place", Some(0), chosen);
}

// === filter, score, pick ===

/// An endpoint that said this at 1 s.
fn said(waiting: u32, running: u32, kv_usage: f64) -> EndpointView {
    let scrape = Scrape { signals: Signals { waiting, running, kv_usage }, at: ms(1_000) };
    EndpointView { scrape: Some(scrape), ..EndpointView::unknown(EndpointId(0)) }
}

fn candidate(index: usize, load: Option<Signals>) -> Candidate {
    let view = EndpointView::unknown(EndpointId(index as u32));
    Candidate { index, view, load, matched: 0.0 }
}

fn busy(waiting: u32, kv_usage: f64) -> Option<Signals> {
    Some(Signals { waiting, running: 4, kv_usage })
}

#[test]
fn task_2_1_does_not_believe_what_is_old() {
    let limits = Limits { age: ms(200), ..Limits::default() };
    let view = said(3, 9, 0.5);
    let signals = view.scrape.map(|scrape| scrape.signals);
    expect_eq("asked 200 ms ago, 200 ms are allowed", signals, believed(&view, ms(1_200), &limits));
    expect_eq("asked 201 ms ago", None, believed(&view, ms(1_201), &limits));
    let silent = EndpointView::unknown(EndpointId(0));
    expect_eq("never answered", None, believed(&silent, ms(0), &limits));
}

#[test]
fn task_2_1_drops_who_is_saturated() {
    let limits = Limits { waiting: 5, kv_usage: 0.8, age: ms(200) };
    let loads = [busy(5, 0.8), busy(6, 0.1), busy(0, 0.81), None, busy(0, 0.0)];
    let mut left: Vec<_> = (0..).zip(loads).map(|(index, load)| candidate(index, load)).collect();
    keep_unsaturated(&mut left, &limits);
    let left: Vec<usize> = left.iter().map(|candidate| candidate.index).collect();
    let context =
        "(waiting, KV): (5, 0.8), (6, 0.1), (0, 0.81), unknown, (0, 0.0); limits 5 and 0.8";
    expect_eq(context, vec![0, 4], left);
}

#[test]
fn task_2_1_refuses_nobody_when_all_are_saturated() {
    let mut left = vec![candidate(0, None), candidate(1, busy(40, 1.0)), candidate(2, None)];
    keep_unsaturated(&mut left, &Limits::default());
    expect_eq("three saturated candidates: how many stay", 3, left.len());
}

#[test]
fn task_2_1_scores_counts_between_the_fewest_and_the_most() {
    let cases: [(&[Option<u32>], &[f64]); 5] = [
        (&[Some(2), Some(10), Some(4)], &[1.0, 0.0, 0.75]),
        (&[Some(7), Some(7)], &[1.0, 1.0]),
        (&[None, Some(3), Some(5)], &[0.0, 1.0, 0.0]),
        (&[None, None], &[0.0, 0.0]),
        (&[Some(6), None], &[1.0, 0.0]),
    ];
    for (counts, expected) in cases {
        expect_eq(format!("counts {counts:?}"), expected.to_vec(), fewest_is_best(counts));
    }
}

#[test]
fn task_2_1_scores_a_cache_by_what_is_free() {
    let loads = [busy(0, 0.25), busy(9, 1.0), None, busy(0, 1.02), busy(0, 0.0)];
    let all: Vec<_> = (0..).zip(loads).map(|(index, load)| candidate(index, load)).collect();
    let saw = KvCacheUtilizationScorer.score(&all);
    expect_eq("used 0.25, 1, unknown, 1.02, 0", vec![0.75, 0.0, 0.0, 0.0, 1.0], saw);
}

/// Says what it is told to.
struct Says(Vec<f64>);

impl Scorer for Says {
    fn name(&self) -> &'static str {
        "says"
    }

    fn score(&self, _candidates: &[Candidate]) -> Vec<f64> {
        self.0.clone()
    }
}

#[test]
fn task_2_1_weighs_opinions_and_survives_a_mad_one() {
    let all: Vec<_> = (0..3).map(|index| candidate(index, None)).collect();
    let sane = [
        Weighted::new(2.0, Says(vec![1.0, 0.5, 0.0])),
        Weighted::new(3.0, Says(vec![0.0, 0.5, 1.0])),
    ];
    expect_eq("weights 2 and 3", vec![2.0, 2.5, 3.0], total(&sane, &all));
    let mad =
        [Weighted::new(1.0, Says(vec![f64::NAN, 9.0, -4.0])), Weighted::new(1.0, Says(vec![0.25]))];
    expect_eq(
        "scores NaN, 9, -4, and one score for three",
        vec![0.25, 1.0, 0.0],
        total(&mad, &all),
    );
}

#[test]
fn task_2_1_picks_the_best_score_and_shares_ties() {
    let mut random = Rng::with_seed(seed());
    expect_eq("0.2, 0.9, 0.4", Some(1), max_score(&[0.2, 0.9, 0.4], &mut random));
    let mut got = [0u32; 4];
    // 0.1 + 0.2 is not 0.3 in binary.
    for _ in 0..2_000 {
        if let Some(picked) = max_score(&[0.3, 0.1 + 0.2, 0.1, f64::NAN], &mut random) {
            got[picked] += 1;
        }
    }
    let fair = got[..2].iter().all(|count| (865..=1_135).contains(count)) && got[2] + got[3] == 0;
    expect(
        "0.3, 0.1 + 0.2, 0.1 and NaN; asked 2000 times",
        fair,
        "about 1000 for each of the first two",
        format!("{got:?}"),
    );
    let picked = max_score(&[f64::NAN, f64::NAN], &mut random);
    expect(
        "two scores that are no numbers",
        picked.is_some(),
        "one of them",
        format!("{picked:?}"),
    );
}
