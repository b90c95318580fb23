//! What is sent, and what is measured of what comes back.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use loadgen::{
    BodyOptions, Endpoint, ErrorKind, FinishReason, Limits, Outcome, Pace, Plan, PromptForm,
    Record, Source, Target, run,
};
use workload::{Lengths, Mix, SharedPrefix, Trace};

use crate::double::{Double, Gate, PATIENCE, answer, begin, end, token};

/// What a test changes, beside the server.
pub(crate) struct Setup {
    pub(crate) options: BodyOptions,
    pub(crate) limits: Limits,
    pub(crate) source: Source,
}

pub(crate) fn setup() -> Setup {
    let options = BodyOptions {
        endpoint: Endpoint::Completions,
        model: "double".into(),
        prompt: PromptForm::Words,
        stream: true,
        continuous_usage: false,
        ignore_eos: false,
        extra: serde_json::Map::new(),
        headers: Vec::new(),
    };
    let limits = Limits { timeout: PATIENCE, max_in_flight: 512, threads: 1, keep_alive: true };
    let mix = Mix { input: Lengths::Fixed(7), output: Lengths::Fixed(3), shared_prefix: None };
    Setup { options, limits, source: Source::Mix(mix, 7) }
}

impl Setup {
    pub(crate) fn run(&self, server: &Double, pace: Pace) -> (Vec<Record>, Outcome) {
        self.run_until(server, pace, &AtomicBool::new(false), |_| {})
    }

    pub(crate) fn run_until(
        &self,
        server: &Double,
        pace: Pace,
        stop: &AtomicBool,
        tick: impl FnMut(usize),
    ) -> (Vec<Record>, Outcome) {
        let target = Target::parse(&server.url()).unwrap();
        let source = self.source.clone();
        let (options, limits) = (&self.options, self.limits);
        let plan = Plan::new(&target, server.address, pace, source, options, limits).unwrap();
        let mut records = Vec::new();
        let outcome = run(&plan, stop, |record| records.push(record), tick).unwrap();
        records.sort_by_key(|record| record.index);
        (records, outcome)
    }
}

/// So many requests, a millisecond apart.
pub(crate) fn open(count: u64) -> Pace {
    Pace::Open((0..count).map(Duration::from_millis).collect())
}

pub(crate) fn closed(concurrency: usize, requests: usize) -> Pace {
    let concurrency = NonZeroUsize::new(concurrency).unwrap();
    Pace::Closed { concurrency, requests, until: None }
}

pub(crate) fn kinds(records: &[Record]) -> Vec<Option<ErrorKind>> {
    records.iter().map(|record| record.failure.as_ref().map(|failure| failure.kind)).collect()
}

#[test]
fn tokens_are_noted_when_they_come() {
    const PAUSE: Duration = Duration::from_millis(15);
    let server = Double::start(|request, stream| {
        let begun = begin(stream);
        let mut slowly = |_| {
            std::thread::sleep(PAUSE);
            token(stream)
        };
        begun && (0..3).all(&mut slowly) && end(stream, 7, request.max_tokens())
    });
    let (records, _) = setup().run(&server, open(1));
    let record = &records[0];
    assert_eq!((record.failure.as_ref(), record.received.content_us.len()), (None, 3));
    assert_eq!((record.input_tokens(), record.output_tokens()), (7, 3));
    assert_eq!(record.received.finish_reason, Some(FinishReason::Length));
    // The server slept this long before each token; how much longer it took is the machine's affair.
    assert!(record.ttft_from_send().unwrap() >= PAUSE);
    assert!(record.e2e_from_send().unwrap() >= 3 * PAUSE);
    assert!(record.ttft() >= record.ttft_from_send() && record.e2e() >= record.e2e_from_send());
    assert!(record.ended >= record.sent.unwrap() + record.e2e_from_send().unwrap());
}

#[test]
fn a_whole_schedule_is_sent_in_order_and_answered() {
    for threads in [1, 3] {
        let server = Double::start(answer);
        let mut setup = setup();
        setup.limits.threads = threads;
        let (records, outcome) = setup.run(&server, open(60));
        assert_eq!(kinds(&records), [None; 60]);
        assert_eq!(outcome.workers.len(), threads);
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.index, index);
            assert_eq!(record.scheduled, Duration::from_millis(index as u64));
            assert!(record.sent.unwrap() >= record.scheduled, "never early");
        }
        let seen = server.seen();
        assert_eq!(seen.len(), 60);
        assert!(seen.iter().all(|request| request.path == "/v1/completions"));
        let prompts: HashSet<_> = seen.iter().map(|r| r.body["prompt"].to_string()).collect();
        assert_eq!(prompts.len(), 60, "no prompt is another's");
    }
}

#[test]
fn an_answer_in_one_piece_is_measured_to_its_end() {
    let server = Double::start(answer);
    let mut setup = setup();
    setup.options.stream = false;
    let (records, _) = setup.run(&server, closed(2, 9));
    assert_eq!(kinds(&records), [None; 9]);
    assert!(records.iter().all(|r| r.ttft().is_none() && r.e2e().is_some()));
    assert!(records.iter().all(|r| r.output_tokens() == 3 && r.input_tokens() == 7));
}

#[test]
fn a_closed_loop_keeps_so_many_in_flight_and_no_more() {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let peak = Arc::clone(&most);
    let gate = Gate::new(4);
    let server = Double::start(move |request, stream| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Four must be there before the first is answered.
        let passed = gate.pass();
        now.fetch_sub(1, Ordering::SeqCst);
        passed && answer(request, stream)
    });
    let (records, outcome) = setup().run(&server, closed(4, 40));
    assert_eq!(kinds(&records), [None; 40]);
    assert_eq!(most.load(Ordering::SeqCst), 4);
    assert_eq!(server.connections.load(Ordering::SeqCst), 4, "connections are kept");
    assert_eq!(outcome.workers[0].connections, 4);
    assert!(records.iter().all(|record| record.lateness() == Some(Duration::ZERO)));
}

#[test]
fn without_keep_alive_each_request_has_a_connection() {
    let server = Double::start(answer);
    let mut setup = setup();
    setup.limits.keep_alive = false;
    let (records, _) = setup.run(&server, closed(2, 10));
    assert_eq!(kinds(&records), [None; 10]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 10);
    assert!(records.iter().all(|record| !record.reused));
}

#[test]
fn prompts_of_a_group_begin_alike() {
    let server = Double::start(answer);
    let shared_prefix = Some(SharedPrefix::new(2, 20, 0.0).unwrap());
    let mix = Mix { input: Lengths::Fixed(5), output: Lengths::Fixed(1), shared_prefix };
    let setup = Setup { source: Source::Mix(mix, 7), ..setup() };
    setup.run(&server, open(30));
    let prompts = server.seen().into_iter().map(|r| r.body["prompt"].as_str().unwrap().to_owned());
    let words: Vec<Vec<String>> =
        prompts.map(|prompt| prompt.split(' ').map(str::to_owned).collect()).collect();
    assert!(words.iter().all(|words| words.len() == 25));
    let prefixes: HashSet<_> = words.iter().map(|words| &words[..20]).collect();
    let whole: HashSet<_> = words.iter().collect();
    assert_eq!((prefixes.len(), whole.len()), (2, 30));
}

#[test]
fn a_trace_is_replayed_with_its_lengths() {
    let text = r#"{"timestamp": 1000, "input_length": 600, "output_length": 2, "hash_ids": [1, 2]}
                  {"timestamp": 1004, "input_length": 700, "output_length": 4, "hash_ids": [1, 3]}"#;
    let trace = Trace::read(text.as_bytes(), 7).unwrap().speed_up(2.0).unwrap().requests;
    let times = trace.iter().map(|request| request.at).collect();
    let server = Double::start(answer);
    let setup = Setup { source: Source::Trace(trace.into()), ..setup() };
    let (records, _) = setup.run(&server, Pace::Open(times));
    assert_eq!(kinds(&records), [None; 2]);
    let asked: Vec<_> = records.iter().map(|r| (r.scheduled, r.input_asked)).collect();
    assert_eq!(asked, [(Duration::ZERO, 600), (Duration::from_millis(2), 700)]);
    let mut seen = server.seen();
    seen.sort_by_key(super::double::Request::max_tokens);
    assert_eq!(seen.iter().map(super::double::Request::max_tokens).collect::<Vec<_>>(), [2, 4]);
    let [a, b] = [0, 1].map(|i| seen[i].body["prompt"].as_str().unwrap());
    let first_512 = |prompt: &str| prompt.split(' ').take(512).collect::<Vec<_>>().join(" ");
    assert_eq!(first_512(a), first_512(b));
    assert_ne!(a.split(' ').nth(520), None);
}

#[test]
fn a_chat_asks_the_chat_endpoint() {
    let server = Double::start(answer);
    let mut setup = setup();
    setup.options.endpoint = Endpoint::Chat;
    setup.options.headers = vec![("X-Test".into(), "1".into())];
    let (records, _) = setup.run(&server, open(1));
    assert_eq!(kinds(&records), [None]);
    let request = &server.seen()[0];
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(request.body["messages"][0]["role"], "user");
    assert!(request.head.contains("X-Test: 1\r\n"));
}

#[test]
fn any_page_can_be_asked_for() {
    let server = Double::start(answer);
    let mut setup = setup();
    setup.options.endpoint = Endpoint::Get;
    let (records, _) = setup.run(&server, closed(2, 6));
    assert_eq!(kinds(&records), [None; 6]);
    assert!(records.iter().all(|record| record.e2e().is_some() && record.output_tokens() == 0));
}
