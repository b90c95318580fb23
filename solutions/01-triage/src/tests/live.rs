//! The checks on a real engine, started by `testbed` as the grader says. Ratios, counts and
//! orderings only: what the machine is too slow or too busy for ends without a verdict, never as a
//! failure.

mod documents;
mod faults;

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

/// Places in the engine for the mixed workload, and its jobs in all: one in each batch is long.
const PLACES: usize = 4;
const JOBS: usize = 3 * PLACES;

/// Three long answers among nine short ones. They wait until one request with a choice for each
/// place is done, so that both schedulers start from the same full queue.
struct Mixed {
    busy: Prompt,
    jobs: Vec<Prompt>,
}

/// What became of it.
struct MixedRun {
    answers: Vec<Answer>,
    /// Steps in which one of the jobs got a token.
    steps: usize,
    /// From the first job's place to the last job's last token.
    time: Duration,
}

impl Mixed {
    /// The jobs arrive one `pause` after the other, while the engine needs `a_token` for each
    /// token.
    fn new(a_token: Duration, pause: Duration) -> Self {
        // Twice the time of all arrivals, and some more to begin with.
        let busy = pause * 3 * JOBS as u32;
        let tokens = (busy.as_nanos() / a_token.as_nanos()).clamp(8, 1500) as usize;
        let job = |index: usize| {
            let long = index.is_multiple_of(PLACES);
            let max_tokens = if long { 24 } else { 2 + index % PLACES };
            Prompt { delay: pause * (index as u32 + 3), ..question(index, max_tokens) }
        };
        Self {
            busy: Prompt { copies: PLACES, ..question(5, tokens) },
            jobs: (0..JOBS).map(job).collect(),
        }
    }

    /// Runs it. `None` where the jobs did not arrive as planned.
    fn run(&self, client: &Client) -> Option<MixedRun> {
        let prompts: Vec<Prompt> = [&self.busy].into_iter().chain(&self.jobs).cloned().collect();
        let mut answers = client.complete_all(&prompts);
        let mut timelines = client.timelines(&answers);
        answers.remove(0);
        let busy = timelines.remove(0);
        if !arrived_as_planned(&busy, &timelines) {
            return None;
        }
        let steps: BTreeSet<Duration> = timelines.iter().flat_map(tokens).collect();
        let began = timelines.iter().filter_map(|job| first(job, EventKind::Scheduled)).min()?;
        let time = *steps.last()? - began;
        Some(MixedRun { answers, steps: steps.len(), time })
    }
}

fn first(timeline: &Timeline, kind: EventKind) -> Option<Duration> {
    timeline.events().iter().find(|event| event.kind == kind).map(|event| event.at)
}

/// Whether all jobs were in the queue while the engine was busy, with one long one in each batch.
fn arrived_as_planned(busy: &Timeline, jobs: &[Timeline]) -> bool {
    let queued = jobs.iter().map(|job| first(job, EventKind::Queued));
    let mut arrivals: Vec<_> = queued.zip(0..).collect();
    arrivals.sort_unstable();
    let in_time = arrivals.last().is_some_and(|(last, _)| *last < tokens(busy).last());
    let one_long = |batch: &[(_, usize)]| {
        batch.iter().filter(|(_, index)| index.is_multiple_of(PLACES)).count() == 1
    };
    in_time && arrivals.chunks(PLACES).all(one_long)
}

/// When the tokens of a request were sampled.
fn tokens(timeline: &Timeline) -> impl Iterator<Item = Duration> {
    let events = timeline.events().iter();
    events.filter(|event| event.kind == EventKind::Token).map(|event| event.at)
}

/// Tries it with ever longer pauses: the busier the machine, the less precise are arrivals.
fn run_mixed(spec: &EngineSpec) -> MixedRun {
    let client = start(&spec.clone().with("max-num-seqs", PLACES));
    let probe = client.timelines(&[client.complete(&question(0, 17))]).remove(0);
    let gaps = tokens(&probe).zip(tokens(&probe).skip(1)).map(|(one, next)| next - one);
    let a_token = gaps.min().unwrap_or_default().max(Duration::from_micros(20));
    let pauses = [10, 20, 40].map(Duration::from_millis);
    match pauses.iter().find_map(|pause| Mixed::new(a_token, *pause).run(&client)) {
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
    let time = refilled.time.as_secs_f64() / fixed.time.as_secs_f64();
    let saw = format!("{} steps against {}", refilled.steps, fixed.steps);
    // Steps are counted, so they judge. Time is told: on a busy machine it says little.
    note(format!(
        "mixed lengths, {PLACES} places: {saw} of static batching ({:.0} %), in {:.0} % of its time",
        steps * 100.0,
        time * 100.0
    ));
    let context = "3 long answers among 9 short ones, 4 places";
    expect(context, steps <= 0.75, "at most 75 % of static batching's steps", saw);
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
    let prompts: Vec<Prompt> = (0..5).map(|index| question(index, 20)).collect();
    let spec = continuous("paged").with("max-model-len", 64).with("block-size", 4);
    let run = |blocks: usize| {
        let client = start(&spec.clone().with("num-kv-blocks", blocks));
        let answers = client.complete_all(&prompts);
        (answers, client.metrics().total("vllm:num_preemptions_total"))
    };
    // Five sequences of 24 tokens and more need 30 blocks of 4 at their end, twice that with the
    // tiny model, whose tokens are bytes.
    let (roomy, none) = run(96);
    let (tight, some) = run(16);
    expect_eq("96 blocks: preemptions", Some(0.0), none);
    let preemptions = expect_some("num_preemptions_total", "it on the page", some);
    note(format!("5 requests in 16 blocks: {preemptions} preemptions"));
    expect("5 requests in 16 blocks", preemptions > 0.0, "preemptions", "none");
    expect_eq("the same prompts, the same greedy answers", texts(&roomy), texts(&tight));
}
