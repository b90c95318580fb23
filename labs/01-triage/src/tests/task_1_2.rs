//! Checks of task 1.2, metrics that do not lie.

use std::time::Duration;

use protocol::vllm::{REQUEST_BUCKETS, TTFT_BUCKETS};
use rand::Rng;
use rand::rngs::StdRng;
use serving::{EventKind, FinishReason, Recorder, RequestSummary, Timeline};
use testbed::{Page, expect, expect_close, expect_eq, expect_some, rng};

use crate::histogram::Bracket;
use crate::{BucketError, EngineMetrics, Histogram, buckets_for_slo};

/// Rounding of a few operations on f64.
const ROUNDING: f64 = 1e-9;

fn histogram(bounds: &[f64], values: &[f64]) -> Histogram {
    let mut histogram = Histogram::try_new(bounds).expect("the bounds of a check rise");
    values.iter().for_each(|value| histogram.observe(*value));
    histogram
}

/// 10 observations in (0, 0.1], 30 in (0.1, 0.2], 10 in (0.2, 0.5], none above.
fn fifty() -> Histogram {
    let values = [[0.05; 10].as_slice(), &[0.15; 30], &[0.4; 10]].concat();
    histogram(&[0.1, 0.2, 0.5], &values)
}

#[test]
fn task_1_2_counts_a_value_at_a_bound_below_it() {
    let histogram = histogram(&[0.1, 0.3, 1.0], &[0.1, 0.3, 0.2, 2.0]);
    let context = "bounds 0.1, 0.3, 1; values 0.1, 0.3, 0.2, 2 (le is less or equal)";
    expect_eq(context, vec![1, 3, 3, 4], histogram.cumulative());
    expect_close("their sum", 2.6, histogram.sum(), ROUNDING);
    expect_eq("their count", 4, histogram.count());
}

#[test]
fn task_1_2_counts_random_values_as_prometheus_does() {
    let mut rng = rng("cumulative");
    for case in 0..100 {
        let (bounds, values) = (random_bounds(&mut rng), random_values(&mut rng));
        let histogram = histogram(&bounds, &values);
        let at_most = |bound: f64| values.iter().filter(|value| **value <= bound).count() as u64;
        let mut expected: Vec<u64> = bounds.iter().map(|bound| at_most(*bound)).collect();
        expected.push(values.len() as u64);
        expect_eq(format!("case {case}: bounds {bounds:?}"), expected, histogram.cumulative());
    }
}

fn random_bounds(rng: &mut StdRng) -> Vec<f64> {
    let mut bound = 0.0;
    let mut next = || {
        bound += f64::from(rng.random_range(1..20));
        bound
    };
    (0..8).map(|_| next()).collect()
}

/// At least one; many of them are bounds, some are above all.
fn random_values(rng: &mut StdRng) -> Vec<f64> {
    (0..rng.random_range(1..60)).map(|_| f64::from(rng.random_range(0..200))).collect()
}

#[test]
fn task_1_2_interpolates_within_a_bucket() {
    let histogram = fifty();
    let context = "10 values up to 0.1, 30 up to 0.2, 10 up to 0.5: the quantile";
    // Rank 25 is the 15th of 30 in (0.1, 0.2]; rank 45 the 5th of 10 in (0.2, 0.5].
    for (q, expected) in [(0.5, 0.15), (0.9, 0.35), (0.1, 0.05), (0.2, 0.1), (0.8, 0.2), (1.0, 0.5)]
    {
        expect_close(format!("{context} {q}"), expected, histogram.quantile(q), ROUNDING);
    }
}

#[test]
fn task_1_2_does_not_round_the_rank() {
    let histogram = histogram(&[1.0, 2.0], &[1.5, 1.5, 1.5]);
    // Rank 1.5 of 3 in (1, 2].
    expect_close("3 values up to 2: the median", 1.5, histogram.quantile(0.5), ROUNDING);
    expect_close("3 values up to 2: the quantile 0.25", 1.25, histogram.quantile(0.25), ROUNDING);
}

#[test]
fn task_1_2_answers_the_last_bound_for_what_lies_above_it() {
    let histogram = histogram(&[0.1, 0.5], &[0.05, 7.0, 8.0, 9.0]);
    expect_eq("3 of 4 values above 0.5: the quantile 0.9", 0.5, histogram.quantile(0.9));
    let context = "3 of 4 values above 0.5: the bracket of the quantile 0.9";
    let above_all = Bracket { above: 0.5, at_most: f64::INFINITY };
    expect_eq(context, Some(above_all), histogram.bracket(0.9));
    expect_eq("the quantile 1.1", f64::INFINITY, histogram.quantile(1.1));
    expect_eq("the quantile -0.1", f64::NEG_INFINITY, histogram.quantile(-0.1));
}

#[test]
fn task_1_2_starts_the_first_bucket_at_zero() {
    let latencies = histogram(&[0.3, 1.0], &[0.04; 8]);
    expect_close(
        "8 values up to 0.3: the quantile 0.25",
        0.075,
        latencies.quantile(0.25),
        ROUNDING,
    );
    let signed = histogram(&[-1.0, 1.0], &[-5.0, -5.0, 0.5, 0.5]);
    expect_eq("first bound -1: the quantile 0.25", -1.0, signed.quantile(0.25));
    let below_all = Bracket { above: f64::NEG_INFINITY, at_most: -1.0 };
    expect_eq("first bound -1: its bracket", Some(below_all), signed.bracket(0.25));
}

#[test]
fn task_1_2_brackets_the_true_quantile() {
    let mut rng = rng("brackets");
    for case in 0..200 {
        let (bounds, mut values) = (random_bounds(&mut rng), random_values(&mut rng));
        let histogram = histogram(&bounds, &values);
        values.sort_by(f64::total_cmp);
        let q = f64::from(rng.random_range(0..=100)) / 100.0;
        let rank = (q * values.len() as f64).ceil().max(1.0);
        let truth = values[rank as usize - 1];
        let context = format!("case {case}: value {rank} of {}, bounds {bounds:?}", values.len());
        let bracket = expect_some(&context, "a bracket", histogram.bracket(q));
        let low = bracket.above < truth || (bracket.above, truth) == (0.0, 0.0);
        expect(
            &context,
            low && truth <= bracket.at_most,
            format!("{truth} inside"),
            format!("{bracket:?}"),
        );
        let tightest =
            bounds.iter().all(|bound| *bound <= bracket.above || *bound >= bracket.at_most);
        expect(&context, tightest, "the edges of one bucket", format!("{bracket:?}"));
    }
}

#[test]
fn task_1_2_brackets_the_least_value_for_the_quantile_0() {
    let least = histogram(&[1.0, 2.0, 3.0], &[1.5, 2.5]).bracket(0.0);
    expect_eq("values 1.5 and 2.5: the bracket", Some(Bracket { above: 1.0, at_most: 2.0 }), least);
}

#[test]
fn task_1_2_shows_what_a_first_bucket_of_300_ms_hides() {
    let prefills = vec![0.040; 100];
    let coarse = histogram(REQUEST_BUCKETS, &prefills);
    let context = "100 prefills of 40 ms in vLLM's phase buckets, which start at 0.3 s";
    expect_close(format!("{context}: the median"), 0.15, coarse.quantile(0.5), ROUNDING);
    let hidden = Bracket { above: 0.0, at_most: 0.3 };
    expect_eq(format!("{context}: its bracket"), Some(hidden), coarse.bracket(0.5));

    let fine = histogram(TTFT_BUCKETS, &prefills);
    let known = Bracket { above: 0.02, at_most: 0.04 };
    expect_eq("the same in vLLM's TTFT buckets: its bracket", Some(known), fine.bracket(0.5));
}

#[test]
fn task_1_2_makes_the_slo_a_bound() {
    let ms = Duration::from_millis;
    let mut rng = rng("slo");
    for case in 0..50 {
        let slo = ms(rng.random_range(1..5000));
        let range = ms(rng.random_range(1..50))..=ms(rng.random_range(50..5000));
        let context = format!("case {case}: SLO {slo:?}, range {range:?}, error 20 %");
        let bounds = chosen(&context, buckets_for_slo(slo, range, 0.2, 200));
        let slo = slo.as_secs_f64();
        let rises = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        expect(&context, rises, "bounds that rise", format!("{bounds:?}"));
        let exact = bounds.contains(&slo);
        expect(&context, exact, format!("{slo} among the bounds"), format!("{bounds:?}"));

        let values = [slo * 0.5, slo, slo * 1.0001, slo * 3.0];
        let share = histogram(&bounds, &values).share_within(slo);
        expect_eq(format!("{context}: 2 of 4 values within"), Some(0.5), share);
    }
}

#[track_caller]
fn chosen(context: &str, bounds: Result<Vec<f64>, BucketError>) -> Vec<f64> {
    match bounds {
        Ok(bounds) => bounds,
        Err(error) => panic!("{context}\nexpected bounds\nsaw {error}"),
    }
}

#[test]
fn task_1_2_bounds_the_relative_error_within_the_range() {
    let mut rng = rng("relative error");
    for case in 0..50 {
        let fastest = rng.random_range(1..100);
        let slowest = fastest + rng.random_range(0..4000);
        let slo = Duration::from_millis(rng.random_range(1..5000));
        let error = f64::from(rng.random_range(5..100)) / 100.0;
        let range = Duration::from_millis(fastest)..=Duration::from_millis(slowest);
        let context = format!("case {case}: SLO {slo:?}, range {range:?}, error {error}");
        let bounds = chosen(&context, buckets_for_slo(slo, range, error, 1000));
        for value_ms in [fastest, slowest, (fastest + slowest) / 2] {
            let value = Duration::from_millis(value_ms).as_secs_f64();
            let bracket = histogram(&bounds, &[value]).bracket(0.5);
            let bracket = expect_some(&context, "a bracket", bracket);
            let within = bracket.max_relative_error() <= error + ROUNDING;
            let expected = format!("{value_ms} ms known within {error}");
            expect(&context, within, expected, format!("{bracket:?}"));
        }
    }
}

#[test]
fn task_1_2_spends_no_more_buckets_than_allowed() {
    let ms = Duration::from_millis;
    let choose = |limit| buckets_for_slo(ms(400), ms(100)..=ms(1600), 1.0, limit);
    // Halving and doubling from 400 ms: 50 (below the fastest, so that 100 has a bucket), 100, 200,
    // 400, 800, 1600.
    let context = "SLO 400 ms, range 100 to 1600 ms, error 100 %";
    expect_eq(context, Ok(vec![0.05, 0.1, 0.2, 0.4, 0.8, 1.6]), choose(6));
    expect_eq(format!("{context}, 5 at most"), Err(BucketError::TooMany { limit: 5 }), choose(5));
    let endless = buckets_for_slo(ms(400), ms(100)..=ms(1600), 1e-30, 64);
    expect_eq(
        "an error too small to make a step",
        Err(BucketError::TooMany { limit: 64 }),
        endless,
    );
}

#[test]
fn task_1_2_feeds_the_metrics_page() {
    let ms = Duration::from_millis;
    let timeline: Timeline = [
        (ms(0), EventKind::Arrived),
        (ms(400), EventKind::Scheduled),
        (ms(440), EventKind::PrefillDone),
        (ms(440), EventKind::Token),
        (ms(441), EventKind::Flushed { tokens: 1 }),
        (ms(460), EventKind::Token),
        (ms(461), EventKind::Flushed { tokens: 1 }),
    ]
    .into_iter()
    .collect();
    let summary = RequestSummary {
        finish: FinishReason::Length,
        prompt_tokens: 12,
        cached_tokens: 0,
        generated_tokens: 2,
        max_tokens: 2,
        preemptions: 0,
    };
    let mut metrics = EngineMetrics::new("tiny");
    metrics.request(&timeline, &summary);
    metrics.request(&timeline, &summary);
    let families = metrics.families(ms(1000));
    let text: String = families.iter().map(ToString::to_string).collect();
    let page = Page::parse(&text).expect("protocol prints what testbed reads");

    let figures = [
        ("vllm:time_to_first_token_seconds_count", 2.0),
        ("vllm:time_to_first_token_seconds_sum", 0.882),
        ("vllm:inter_token_latency_seconds_sum", 0.04),
        ("vllm:request_queue_time_seconds_sum", 0.8),
        ("vllm:request_prefill_time_seconds_sum", 0.08),
        ("vllm:e2e_request_latency_seconds_sum", 0.922),
        ("vllm:request_success_total", 2.0),
    ];
    for (name, expected) in figures {
        let saw = expect_some(name, "it on the page", page.total(name));
        expect_close(format!("two requests of 461 ms: {name}"), expected, saw, ROUNDING);
    }
    let queue = page.buckets("vllm:request_queue_time_seconds");
    expect_eq("two waits of 400 ms: first two buckets", &[(0.3, 0.0), (0.5, 2.0)][..], &queue[..2]);
}
