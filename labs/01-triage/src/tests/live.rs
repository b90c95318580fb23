//! The checks on a real engine, started by `testbed` as the grader says. Ratios, counts and
//! orderings only: what the machine is too slow or too busy for ends without a verdict, never as a
//! failure.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serving::{EventKind, Timeline};
use testbed::{
    Answer, Client, EngineSpec, Page, Prompt, expect, expect_eq, expect_some, note, start, unknown,
};

use crate::{latencies, phases};

/// Clocks are read at slightly different places of one machine.
const SLACK: Duration = Duration::from_millis(2);

/// The naive twin of every part, so that a check needs only the task that it checks.
fn baseline() -> EngineSpec {
    EngineSpec::new()
        .with("scheduler", "static")
        .with("pool", "contiguous")
        .with("recorder", "counters")
        .with_switch("debug-timelines")
}

fn continuous(pool: &str) -> EngineSpec {
    EngineSpec::new()
        .with("scheduler", "continuous")
        .with("pool", pool)
        .with("recorder", "counters")
        .with_switch("debug-timelines")
}

const QUESTIONS: [&str; 6] = [
    "The capital of France is",
    "Water boils at a temperature of",
    "The first person on the moon was",
    "A prime number is a number that",
    "The opposite of cold is",
    "Once upon a time there was",
];

fn question(index: usize, max_tokens: usize) -> Prompt {
    Prompt::new(QUESTIONS[index % QUESTIONS.len()], max_tokens)
}

fn texts(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.text.as_str()).collect()
}

#[test]
#[ignore = "live: run by cargo xtask lab 1"]
fn task_1_1_phases_agree_with_the_clients_clock() {
    let client = start(&baseline().with("max-num-seqs", 1));
    let prompts: Vec<Prompt> = (0..4).map(|index| question(index, 12)).collect();
    let began = Instant::now();
    let answers = client.complete_all(&prompts);
    let wall = began.elapsed();
    let timelines = client.timelines(&answers);

    let mut inference = Duration::ZERO;
    let (mut engine_total, mut client_total) = (Duration::ZERO, Duration::ZERO);
    for (answer, timeline) in answers.iter().zip(&timelines) {
        let (phases, latencies) = (phases(timeline), latencies(timeline));
        let context = format!("request {}", answer.id);
        expect_eq(format!("{context}: the parts sum to E2E"), latencies.e2e, phases.total());
        expect(
            format!("{context}: E2E in the engine, against the client's {:?}", answer.e2e),
            latencies.e2e <= answer.e2e + SLACK,
            "no more than the client saw",
            format!("{:?}", latencies.e2e),
        );
        let ttft = expect_some(format!("{context}: TTFT"), "one", latencies.ttft);
        let first = answer.chunks.first().copied().unwrap_or(answer.e2e);
        expect(
            format!("{context}: TTFT in the engine, against the client's {first:?}"),
            ttft <= first + SLACK,
            "no more than the client saw",
            format!("{ttft:?}"),
        );
        let gaps = answer.usage.completion_tokens - 1;
        expect_eq(format!("{context}: inter-token latencies"), gaps, latencies.itl.len());
        inference += phases.prefill + phases.decode;
        engine_total += latencies.e2e;
        client_total += answer.e2e;
    }
    expect(
        "one request at a time (max_num_seqs 1): prefill and decode of all of them",
        inference <= wall + SLACK,
        format!("no more than the wall time, {wall:?}"),
        format!("{inference:?}"),
    );
    let share = engine_total.as_secs_f64() / client_total.as_secs_f64();
    note(format!("the engine accounts for {:.1} % of the clients' time", share * 100.0));
    if share < 0.5 {
        unknown("half of the clients' time passed outside the engine: the machine is too busy");
    }
}

#[test]
#[ignore = "live: run by cargo xtask lab 1"]
fn task_1_2_the_metrics_page_adds_up() {
    let client = start(&baseline().with("recorder", "histograms"));
    let prompts: Vec<Prompt> = (0..6).map(|index| question(index, 4 + 2 * index)).collect();
    let answers = client.complete_all(&prompts);
    let sent = answers.len() as f64;
    let ended = "vllm:e2e_request_latency_seconds_count";
    let page = client.settled_metrics(|page| page.total(ended) == Some(sent));

    expect_eq(format!("{sent} requests: {ended}"), Some(sent), page.total(ended));
    let first = "vllm:time_to_first_token_seconds_count";
    expect_eq(format!("{sent} requests: {first}"), Some(sent), page.total(first));
    let gaps: usize = answers.iter().map(|answer| answer.usage.completion_tokens - 1).sum();
    let between = "vllm:inter_token_latency_seconds_count";
    expect_eq(format!("{gaps} gaps: {between}"), Some(gaps as f64), page.total(between));
    check_histograms(&page);

    let sum = |name: &str| expect_some(name, "it on the page", page.total(name));
    let engine = sum("vllm:e2e_request_latency_seconds_sum");
    let client: f64 = answers.iter().map(|answer| answer.e2e.as_secs_f64()).sum();
    let saw = format!("{engine:.3} s");
    let most = client + sent * SLACK.as_secs_f64();
    let expected = format!("no more than the clients saw, {client:.3} s");
    expect("the sum of E2E on the page", engine <= most, expected, saw);
    let running = sum("vllm:request_inference_time_seconds_sum");
    let waiting = sum("vllm:request_queue_time_seconds_sum");
    let parts = running + waiting;
    let expected = format!("no more than E2E, {engine:.3} s");
    expect("queue and inference time", parts <= engine + 1e-6, expected, format!("{parts:.3} s"));

    let prefill = sum("vllm:request_prefill_time_seconds_sum") / sent;
    let buckets = page.buckets("vllm:request_prefill_time_seconds");
    let (bound, within) = buckets.first().copied().unwrap_or_default();
    note(format!(
        "mean prefill {:.1} ms; {within} of {sent} requests in the first bucket, which ends at {bound} s",
        prefill * 1e3
    ));
}

/// Every histogram of the page is cumulative and ends with its count.
fn check_histograms(page: &Page) {
    let names = page.samples.iter().filter_map(|sample| sample.name.strip_suffix("_bucket"));
    let names: BTreeSet<&str> = names.collect();
    expect("the metrics page", names.len() >= 10, "ten histograms or more", names.len());
    for name in names {
        let counts: Vec<f64> = page.buckets(name).iter().map(|(_, count)| *count).collect();
        let cumulative = counts.windows(2).all(|pair| pair[0] <= pair[1]);
        expect(name, cumulative, "cumulative buckets", format!("{counts:?}"));
        let count = page.total(&format!("{name}_count"));
        expect_eq(format!("{name}: the last bucket"), count, counts.last().copied());
    }
}

/// Three long answers among nine short ones, behind a request that keeps the engine busy while they
/// arrive, in their order.
struct Mixed {
    busy: Prompt,
    jobs: Vec<Prompt>,
}

/// What became of it.
struct MixedRun {
    answers: Vec<Answer>,
    /// Steps in which one of the jobs got a token.
    steps: usize,
    wall: Duration,
}

/// The least time that the busy request takes.
const BUSY: Duration = Duration::from_millis(300);

impl Mixed {
    /// Sized for this engine: a fast one needs a longer request to be kept busy.
    fn for_engine(client: &Client) -> Self {
        let probe = client.complete(&question(0, 16));
        let a_token = (probe.e2e / 16).max(Duration::from_micros(20));
        let tokens = (BUSY.as_nanos() / a_token.as_nanos()).clamp(16, 1500) as usize;
        let job = |index: usize| {
            let max_tokens = if index.is_multiple_of(4) { 40 } else { 4 + index % 4 };
            let delay = Duration::from_millis(20 + 4 * index as u64);
            Prompt { delay, ..question(index, max_tokens) }
        };
        Self { busy: question(5, tokens), jobs: (0..12).map(job).collect() }
    }

    /// Runs it. `None` where the jobs did not arrive in order while the engine was busy.
    fn run(&self, client: &Client) -> Option<MixedRun> {
        let prompts: Vec<Prompt> = [&self.busy].into_iter().chain(&self.jobs).cloned().collect();
        let began = Instant::now();
        let mut answers = client.complete_all(&prompts);
        let wall = began.elapsed();
        let mut timelines = client.timelines(&answers);
        answers.remove(0);
        let busy = timelines.remove(0);
        let queued: Vec<Duration> =
            timelines.iter().filter_map(|t| first(t, EventKind::Queued)).collect();
        let in_order = queued.is_sorted();
        let busy_until = busy.events().iter().rfind(|event| event.kind == EventKind::Token)?.at;
        if !in_order || queued.last().is_none_or(|last| *last >= busy_until) {
            return None;
        }
        let tokens = timelines.iter().flat_map(|timeline| timeline.events());
        let steps: BTreeSet<Duration> =
            tokens.filter(|event| event.kind == EventKind::Token).map(|event| event.at).collect();
        Some(MixedRun { answers, steps: steps.len(), wall })
    }
}

fn first(timeline: &Timeline, kind: EventKind) -> Option<Duration> {
    timeline.events().iter().find(|event| event.kind == kind).map(|event| event.at)
}

/// Three tries to have the jobs arrive as planned.
fn run_mixed(spec: &EngineSpec) -> MixedRun {
    let client = start(&spec.clone().with("max-num-seqs", 4));
    let mixed = Mixed::for_engine(&client);
    match (0..3).find_map(|_| mixed.run(&client)) {
        Some(run) => run,
        None => unknown("the requests did not arrive in order: the machine is too busy"),
    }
}

#[test]
#[ignore = "live: run by cargo xtask lab 1"]
fn task_1_3_beats_static_batching_on_the_engine() {
    let fixed = run_mixed(&baseline());
    let refilled = run_mixed(&continuous("contiguous"));
    expect_eq(
        "the same prompts, the same greedy answers",
        texts(&fixed.answers),
        texts(&refilled.answers),
    );

    let steps = refilled.steps as f64 / fixed.steps as f64;
    let wall = refilled.wall.as_secs_f64() / fixed.wall.as_secs_f64();
    note(format!(
        "mixed lengths, 4 places: {} steps against {} of static batching ({:.0} %), {:.0} % of its time",
        refilled.steps,
        fixed.steps,
        steps * 100.0,
        wall * 100.0
    ));
    let context = "3 long answers among 9 short ones, 4 places";
    let saw = format!("{} steps against {}", refilled.steps, fixed.steps);
    expect(context, steps <= 0.75, "at most 75 % of static batching's steps", saw);
    // Under two seconds, starting and polling is a good part of the time.
    if wall > 1.0 && fixed.wall > Duration::from_secs(2) {
        unknown(format!(
            "fewer steps, but {:.0} % of the time: the machine is too busy",
            wall * 100.0
        ));
    }
}

const SHARED: &str = "You are a careful assistant of a public library. Answer in one short sentence, \
    in plain words, and say so when you do not know. Never invent titles, names or dates. The library \
    opens at nine in the morning and closes at six in the evening, on Saturdays at one; on Sundays and \
    holidays it is closed. Books may be kept for four weeks, films for one week. Question: ";

#[test]
#[ignore = "live: run by cargo xtask lab 1"]
fn task_1_4_prefills_a_shared_prefix_once_on_the_engine() {
    let prompts: Vec<Prompt> =
        QUESTIONS.iter().map(|own| Prompt::new(format!("{SHARED}{own}"), 6)).collect();
    let run = |spec: &EngineSpec| {
        let client = start(spec);
        // The first alone: what it computed is there when the others come.
        let mut answers = vec![client.complete(&prompts[0])];
        answers.extend(client.complete_all(&prompts[1..]));
        let page = client.metrics();
        let total = |name: &str| expect_some(name, "it on the page", page.total(name));
        let prefilled = total("vllm:prompt_tokens_total");
        (answers, prefilled, total("vllm:prefix_cache_hits_total"))
    };
    let (plain, all, no_hits) = run(&continuous("paged").with_switch("no-prefix-caching"));
    let (cached, computed, hits) = run(&continuous("paged"));

    expect_eq("--no-prefix-caching: tokens that hit", 0.0, no_hits);
    let prompt_tokens: usize = cached.iter().map(|answer| answer.usage.prompt_tokens).sum();
    note(format!(
        "shared prefix: {computed} of {all} prompt tokens computed, {hits} found in the cache"
    ));
    expect_eq("tokens computed without a cache", prompt_tokens as f64, all);
    expect_eq("tokens computed and tokens that hit", all, computed + hits);
    let saw = format!("{computed} of {all}");
    expect("6 prompts with one long prefix", computed <= all / 2.0, "at most half computed", saw);
    expect_eq("the same prompts, the same greedy answers", texts(&plain), texts(&cached));
}

#[test]
#[ignore = "live: run by cargo xtask lab 1"]
fn task_1_4_gives_the_same_answers_when_it_must_preempt() {
    let prompts: Vec<Prompt> = (0..5).map(|index| question(index, 36)).collect();
    let spec = continuous("paged").with("max-model-len", 96).with("block-size", 8);
    let run = |blocks: usize| {
        let client = start(&spec.clone().with("num-kv-blocks", blocks));
        let answers = client.complete_all(&prompts);
        (answers, client.metrics().total("vllm:num_preemptions_total"))
    };
    // Five sequences of at least 40 tokens need 25 blocks of 8 at their end, with the tiny model 40
    // and more.
    let (roomy, none) = run(96);
    let (tight, some) = run(13);
    expect_eq("96 blocks: preemptions", Some(0.0), none);
    let preemptions = expect_some("num_preemptions_total", "it on the page", some);
    note(format!("5 requests in 13 blocks: {preemptions} preemptions"));
    expect("5 requests in 13 blocks", preemptions > 0.0, "preemptions", "none");
    expect_eq("the same prompts, the same greedy answers", texts(&roomy), texts(&tight));
}
