//! Checks of task 1.7, triage: incidents from the simulator, with the cause hidden.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::scrape::{Page, Scraped};
use testbed::{expect, expect_close, expect_eq, rng};

use super::incidents::{ALL, Incident};
use crate::evidence::{DEVICE_BUSY, FLOPS, READ_BYTES};
use crate::triage::{increase, mean, place_capacity};
use crate::{Cause, Evidence, Remedy, Scrape, diagnose, remedy};

/// Incidents of each cause; device, traffic and magnitude differ.
const DRAWS: usize = 2;

/// Draws incidents of a cause and asks for it.
#[track_caller]
fn names(cause: Cause) {
    let mut rng = rng(&format!("incident {cause:?}"));
    for _ in 0..DRAWS {
        let evidence = Incident::draw(cause, &mut rng).evidence();
        expect_eq(describe(&evidence), cause, diagnose(&evidence));
    }
}

/// What the evidence shows, in one line.
fn describe(evidence: &Evidence) -> String {
    let (before, after) = (evidence.before(), evidence.after());
    let show = |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value:.3}"));
    let pair = |name: &str, before, after| format!("{name} {} -> {}", show(before), show(after));
    [
        format!("max_num_seqs {}", evidence.max_num_seqs),
        pair("running", before.running, after.running),
        pair("waiting", before.waiting, after.waiting),
        pair("kv_usage", before.kv_usage, after.kv_usage),
        pair("itl", before.itl, after.itl),
        pair("device_step", before.device_step, after.device_step),
    ]
    .join(", ")
}

fn pages(values: &[Option<f64>]) -> Vec<Scrape> {
    let page = |value: &Option<f64>| Page {
        samples: value.iter().map(|value| sample("x_total", *value)).collect(),
    };
    let scrape = |(at, value): (u64, &Option<f64>)| Scrape {
        at: Duration::from_secs(at),
        health: Some(200),
        in_flight: None,
        page: page(value),
    };
    (0..).zip(values).map(scrape).collect()
}

fn sample(name: &str, value: f64) -> Scraped {
    Scraped { name: name.to_owned(), labels: Default::default(), value }
}

#[track_caller]
fn grows(values: &[Option<f64>], expected: Option<f64>) {
    let pages = pages(values);
    let pages: Vec<&Scrape> = pages.iter().collect();
    expect_eq(format!("a counter that shows {values:?}"), expected, increase(&pages, "x_total"));
}

#[test]
fn task_1_7_counts_over_a_restart() {
    grows(&[Some(900.0), Some(960.0), Some(1020.0)], Some(120.0));
    grows(&[Some(900.0), Some(960.0), Some(1020.0), Some(15.0), Some(75.0)], Some(195.0));
    grows(&[Some(50.0), Some(10.0), Some(30.0), Some(5.0)], Some(35.0));
    grows(&[Some(7.0), Some(7.0)], Some(0.0));
}

#[test]
fn task_1_7_says_nothing_where_the_counter_is_missing() {
    grows(&[], None);
    grows(&[Some(5.0)], None);
    grows(&[None, Some(5.0), Some(9.0)], None);
    grows(&[Some(5.0), Some(9.0), None], None);
    grows(&[Some(5.0), None, Some(9.0)], Some(4.0));
}

#[test]
fn task_1_7_means_what_was_observed_in_the_stretch() {
    let page = |sum: f64, count: f64| Scrape {
        at: Duration::ZERO,
        health: Some(200),
        in_flight: None,
        page: Page {
            samples: vec![sample("y_seconds_sum", sum), sample("y_seconds_count", count)],
        },
    };
    let (one, two, three) = (page(100.0, 1000.0), page(103.0, 1010.0), page(103.0, 1010.0));
    let context = "sum 100 -> 103, count 1000 -> 1010: the mean of the ten new ones";
    let seen = mean(&[&one, &two], "y_seconds").unwrap_or(f64::NAN);
    expect_close(context, 0.3, seen, 1e-9);
    expect_eq("nothing new was observed", None, mean(&[&two, &three], "y_seconds"));
    expect_eq("a histogram that is not there", None, mean(&[&one, &two], "z_seconds"));
}

#[test]
fn task_1_7_knows_how_many_requests_the_places_can_serve() {
    // The rows of the chapter's article: 4 places, TPOT 18 ms, 0.1 s of prefill.
    for (answer, expected) in [(256.0, 0.849), (512.0, 0.429), (1024.0, 0.216)] {
        let context = format!("4 places, 0.1 s of prefill, {answer} tokens of 18 ms each");
        expect_close(context, expected, place_capacity(4, 0.1, answer, 0.018), 1e-3);
    }
    let context = "64 places, 2 s of prefill, one token";
    expect_close(context, 31.683, place_capacity(64, 2.0, 1.0, 0.02), 1e-3);
}

#[test]
fn task_1_7_leaves_a_healthy_engine_alone() {
    names(Cause::Healthy);
}

#[test]
fn task_1_7_sees_an_engine_that_hangs_behind_a_healthy_port() {
    names(Cause::EngineHung);
}

#[test]
fn task_1_7_notices_a_metric_that_is_gone() {
    names(Cause::MetricRenamed);
}

#[test]
fn task_1_7_tells_a_cold_start_from_a_queue() {
    names(Cause::ColdStart);
}

#[test]
fn task_1_7_finds_a_slow_tokenizer() {
    names(Cause::SlowTokenizer);
}

#[test]
fn task_1_7_finds_lumps_that_the_engine_cannot_see() {
    names(Cause::ClientCoalescing);
}

#[test]
fn task_1_7_tells_thrashing_from_starvation() {
    names(Cause::PreemptionThrash);
    names(Cause::KvStarvation);
}

#[test]
fn task_1_7_tells_too_few_places_from_overload() {
    names(Cause::MaxNumSeqs);
    names(Cause::Overload);
}

#[test]
fn task_1_7_finds_a_cold_prefix_cache() {
    names(Cause::ColdPrefixCache);
}

#[test]
fn task_1_7_finds_long_prompts_that_stall_the_others() {
    names(Cause::LongPrefill);
}

#[test]
fn task_1_7_tells_a_slow_sampler_from_a_slow_device() {
    names(Cause::SlowSampler);
    names(Cause::SlowDevice);
}

#[test]
fn task_1_7_needs_no_device_metrics_to_explain_a_queue() {
    for cause in
        [Cause::EngineHung, Cause::PreemptionThrash, Cause::KvStarvation, Cause::MaxNumSeqs]
    {
        let mut evidence = Incident::draw(cause, &mut rng("no device metrics")).evidence();
        for scrape in &mut evidence.scrapes {
            let of_the_device = [DEVICE_BUSY, FLOPS, READ_BYTES];
            scrape.page.samples.retain(|sample| !of_the_device.contains(&sample.name.as_str()));
        }
        let context = format!("no device metrics: {}", describe(&evidence));
        expect_eq(context, cause, diagnose(&evidence));
    }
}

#[test]
fn task_1_7_blames_nobody_without_evidence() {
    let nothing = Evidence {
        max_num_seqs: 8,
        max_num_batched_tokens: 256,
        watched: Vec::new(),
        scrapes: Vec::new(),
        since: Duration::from_secs(1),
        traces: Vec::new(),
        streams: Vec::new(),
    };
    expect_eq("no page, no trace, no stream", Cause::Healthy, diagnose(&nothing));
}

#[test]
fn task_1_7_has_a_remedy_of_its_own_for_each_cause() {
    let remedies: BTreeSet<String> =
        ALL.iter().map(|cause| format!("{:?}", remedy(*cause))).collect();
    expect_eq("14 causes: different remedies", ALL.len(), remedies.len());
    let plain = [
        (Cause::Healthy, Remedy::Nothing),
        (Cause::MetricRenamed, Remedy::FixQueries),
        (Cause::EngineHung, Remedy::RestartAndProbeProgress),
        (Cause::ColdStart, Remedy::KeepWarmReplica),
        (Cause::SlowTokenizer, Remedy::AddHostCpu),
        (Cause::ClientCoalescing, Remedy::StopBuffering),
        (Cause::ColdPrefixCache, Remedy::RestorePrefixAffinity),
        (Cause::SlowSampler, Remedy::SpeedUpSampling),
        (Cause::SlowDevice, Remedy::ReplaceDevice),
    ];
    for (cause, expected) in plain {
        expect_eq(format!("{cause:?}"), expected, remedy(cause));
    }
}

/// How much is wrong with the second half, and what it is called.
type Badness = (&'static str, fn(&Evidence) -> Option<f64>);

#[test]
fn task_1_7_has_remedies_that_work_when_tried() {
    let waiting: Badness = ("mean waiting", |evidence| evidence.after().waiting);
    let preempted: Badness =
        ("preemptions a request", |evidence| evidence.after().preemptions_per_request);
    let tail: Badness = ("p99 of ITL", |evidence| evidence.after().itl_p99);
    let tried = [
        (Cause::MaxNumSeqs, waiting, 0.2),
        (Cause::KvStarvation, waiting, 0.2),
        (Cause::Overload, waiting, 0.2),
        (Cause::PreemptionThrash, preempted, 0.2),
        (Cause::LongPrefill, tail, 0.5),
    ];
    for (cause, (what, badness), at_most) in tried {
        let incident = Incident::draw(cause, &mut rng("remedy"));
        let bad = badness(&incident.evidence()).unwrap_or(f64::NAN);
        let chosen = remedy(cause);
        let better = badness(&incident.with(chosen).evidence()).unwrap_or(f64::NAN);
        expect(
            format!("{cause:?}, with {chosen:?}: {what}, which was {bad:.3}"),
            better <= bad * at_most,
            format!("at most {:.3}", bad * at_most),
            format!("{better:.3}"),
        );
    }
}
