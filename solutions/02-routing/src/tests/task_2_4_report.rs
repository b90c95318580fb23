//! Checks of task 2.4: what an A/B test found.

use rand::Rng;
use testbed::{expect, expect_close, expect_eq, expect_some, note, rng, seed};

use crate::report::{
    Interval, Proportion, Report, Sample, cliffs_delta, difference, sample_ratio, wilson,
};

fn seen(events: u64, total: u64) -> Proportion {
    Proportion { events, total }
}

#[track_caller]
fn lies(context: &str, expected: (f64, f64), interval: Interval) {
    let Interval { low, high } = interval;
    let close = |a: f64, b: f64| (a - b).abs() < 1e-4;
    let holds = close(expected.0, low) && close(expected.1, high);
    let expected = format!("{:.4} to {:.4}", expected.0, expected.1);
    expect(context, holds, expected, format!("{low:.4} to {high:.4}"));
}

#[test]
fn task_2_4_knows_where_a_rare_rate_lies() {
    let cases = [
        // No failure among 100 is not "none ever".
        ((0, 100), (0.0, 0.0370)),
        ((1, 29), (0.0061, 0.1718)),
        ((15, 148), (0.0624, 0.1605)),
        ((81, 263), (0.2553, 0.3662)),
        ((100, 100), (0.9630, 1.0)),
    ];
    // Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I: the rows of `score`.
    for ((events, total), expected) in cases {
        let interval = expect_some("observations", "an interval", wilson(seen(events, total)));
        lies(&format!("{events} of {total}: 95 % lie between"), expected, interval);
    }
    expect_eq("nothing of nothing", None, wilson(seen(0, 0)));
}

#[test]
fn task_2_4_compares_rates_as_newcombe_does() {
    // Newcombe 1998, table II, method 10.
    let cases = [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
    ];
    for (canary, stable, expected) in cases {
        let (canary, stable) = (seen(canary.0, canary.1), seen(stable.0, stable.1));
        let context = format!("canary {canary:?}, stable {stable:?}: the difference");
        let effect = expect_some(&context, "an effect", difference(canary, stable));
        let parts = canary.part().zip(stable.part()).map_or(f64::NAN, |(c, s)| c - s);
        expect_close(&context, parts, effect.estimate, 1e-9);
        lies(&context, expected, effect.interval);
    }
    expect_eq("a canary without requests", None, difference(seen(0, 0), seen(1, 9)));
    expect_eq("nothing to compare with", None, difference(seen(1, 9), seen(0, 0)));
}

#[test]
fn task_2_4_is_right_nineteen_times_of_twenty() {
    let mut rng = rng("coverage");
    let (rates, size, runs) = ((0.03, 0.01), 400, 600);
    let mut covered = 0;
    for _ in 0..runs {
        let mut draw =
            |rate: f64| seen((0..size).filter(|_| rng.random_bool(rate)).count() as u64, size);
        let (canary, stable) = (draw(rates.0), draw(rates.1));
        let effect = expect_some("400 requests each", "an effect", difference(canary, stable));
        let Interval { low, high } = effect.interval;
        covered += usize::from(low <= 0.02 && 0.02 <= high);
    }
    // Chance alone: 570, give or take 5.3.
    let context =
        format!("{runs} tests of 3 % against 1 %: intervals that hold the truth, 2 points");
    expect(context, covered >= 545, "at least 545", covered);
}

#[test]
fn task_2_4_compares_every_pair_of_latencies() {
    let mut rng = rng("latencies");
    for case in 0..200 {
        // Few values, so that there are ties.
        let mut draw = || {
            let len = rng.random_range(1..40);
            (0..len).map(|_| f64::from(rng.random_range(0..12))).collect::<Vec<f64>>()
        };
        let (canary, stable) = (draw(), draw());
        let pairs = canary.iter().flat_map(|c| stable.iter().map(move |s| c.total_cmp(s) as i64));
        let expected = pairs.sum::<i64>() as f64 / (canary.len() * stable.len()) as f64;
        let context =
            format!("case {case}, {} against {} latencies: delta", canary.len(), stable.len());
        let delta = expect_some(&context, "a number", cliffs_delta(&canary, &stable));
        expect(&context, (delta - expected).abs() < 1e-9, expected, delta);
    }
    expect_eq("no latency of the canary", None, cliffs_delta(&[], &[1.0]));
    expect_eq("no latency of the stable version", None, cliffs_delta(&[1.0], &[]));
    let shifted: Vec<f64> = (0..2_000).map(f64::from).collect();
    let delta = cliffs_delta(&shifted, &[-1.0, 5_000.0]);
    expect_eq("as often above as below", Some(0.0), delta);
}

#[test]
fn task_2_4_notices_a_split_that_is_not_the_planned_one() {
    // Chi-squared tables: 3.841 is 5 %, 6.635 is 1 %, 10.828 is 0.1 %.
    let cases = [
        (5_000, 5_000, 0.5, 1.0),
        (5_098, 4_902, 0.5, 0.0500),
        (1_000, 9_000, 0.1, 1.0),
        (1_077, 8_923, 0.1, 0.0103),
        (1_100, 8_900, 0.1, 0.000_858),
    ];
    for (canary, stable, part, expected) in cases {
        let context = format!("canary {canary}, stable {stable}, planned {part}: p");
        let p = expect_some(&context, "a probability", sample_ratio(canary, stable, part));
        expect_close(context, expected, p, 0.02);
    }
    for (canary, stable, part) in [(0, 0, 0.5), (5, 5, 0.0), (5, 5, 1.0)] {
        let context = format!("canary {canary}, stable {stable}, planned {part}: p");
        expect_eq(context, None, sample_ratio(canary, stable, part));
    }
}

#[test]
fn task_2_4_reports_what_was_there_to_be_found() {
    let mut rng = rng("an A/B test");
    // The canary fails three times as often, and its slowest 3 % take four times as long.
    let mut sample = |size: usize, failing: f64, slow: f64| {
        let mut sample = Sample::default();
        for _ in 0..size {
            let latency = 100.0 / rng.random_range(0.2..1.0_f64).sqrt();
            if rng.random_bool(failing) {
                sample.failed += 1;
            } else {
                sample.latencies_ms.push(if rng.random_bool(slow) {
                    4.0 * latency
                } else {
                    latency
                });
            }
        }
        sample
    };
    let (canary, stable) = (sample(4_000, 0.03, 0.03), sample(4_000, 0.01, 0.0));
    let report = Report::of(&canary, &stable, 0.5, seed());
    note(report);
    let again = Report::of(&canary, &stable, 0.5, seed());
    expect_eq("the same samples and seed", report, again);
    expect("an even split", report.is_trustworthy(), "trustworthy", "not");
    let above = |interval: Interval| interval.low > 0.0;
    let failures = expect_some("failures", "an effect", report.failures);
    expect("3 % against 1 %", above(failures.interval), "surely more", format!("{failures:?}"));
    let p99 = expect_some("p99", "an effect", report.p99_ms);
    expect("a slow tail: p99", above(p99.interval), "surely larger", format!("{p99:?}"));
    let delta = expect_some("delta", "a number", report.delta);
    expect("a slow tail: Cliff's delta", delta.abs() < 0.1, "nearly 0: most pairs are even", delta);
    let lost = Sample { failed: 0, latencies_ms: canary.latencies_ms[..3_700].to_vec() };
    let report = Report::of(&lost, &stable, 0.5, seed());
    let context = "300 of the canary's 4,000 requests never came back";
    expect(context, !report.is_trustworthy(), "not trustworthy", "trustworthy");
}
