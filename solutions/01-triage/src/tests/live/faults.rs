//! The live check of task 1.7: a fault is switched on in a running engine, and the triage names it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serving::Timeline;
use testbed::{Answer, Client, EngineSpec, Prompt, expect_eq, note, seed, start, unknown};

use crate::fault::{Fault, FaultSwitch, RENAMED};
use crate::{Cause, Evidence, Scrape, diagnose};

/// The faults that a learner's triage can tell from a running engine's page and traces, and what they are.
const PRACTISED: [(Fault, Cause); 3] = [
    (Fault::Hang, Cause::EngineHung),
    (Fault::RenamedMetric, Cause::MetricRenamed),
    (Fault::SlowTokenizer, Cause::SlowTokenizer),
];
const PLACES: usize = 4;
/// Between two looks at the page.
const INTERVAL: Duration = Duration::from_millis(60);
/// Looks at the page in the quiet stretch, and at least in the other.
const LOOKS: usize = 6;
/// The longest that either stretch may take.
const STRETCH: Duration = Duration::from_secs(20);
/// Requests whose traces are evidence, of each stretch.
const TRACES: usize = 6;

/// Where files switch the engine's faults; gone when the check ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("lab-faults-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        if let Err(error) = std::fs::create_dir_all(&folder) {
            unknown(format!("no folder for faults: {error}"));
        }
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A request that ended, and when it was sent.
struct Sent {
    at: Instant,
    answer: Answer,
}

/// Sends requests without a pause until it is told to stop.
fn keep_busy(client: &Client, stop: &AtomicBool, sent: &Mutex<Vec<Sent>>) {
    while !stop.load(Ordering::Acquire) {
        let prompt =
            |index: usize| Prompt::new(format!("Request {index} is about"), 12 + 6 * index);
        let prompts: Vec<Prompt> = (0..PLACES).map(prompt).collect();
        let at = Instant::now();
        let answers = client.complete_all(&prompts);
        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.extend(answers.into_iter().map(|answer| Sent { at, answer }));
    }
}

/// Traces of the last requests that were sent in this stretch and have ended. Asked for soon: an engine
/// keeps only some.
fn traces(client: &Client, sent: &Mutex<Vec<Sent>>, from: Instant, to: Instant) -> Vec<Timeline> {
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    let inside = sent.iter().rev().filter(|sent| from <= sent.at && sent.at < to);
    let answers: Vec<Answer> = inside.take(TRACES).map(|sent| sent.answer.clone()).collect();
    drop(sent);
    client.timelines(&answers)
}

/// Looks at the page until `enough` says so, or for too long.
fn look(client: &Client, clock: Instant, enough: impl Fn(&[Scrape]) -> bool) -> Vec<Scrape> {
    let began = Instant::now();
    let mut scrapes = Vec::new();
    loop {
        let page = client.metrics();
        scrapes.push(Scrape {
            at: clock.elapsed(),
            health: client.health(),
            in_flight: client.load(),
            page,
        });
        if (scrapes.len() >= LOOKS && enough(&scrapes)) || began.elapsed() > STRETCH {
            return scrapes;
        }
        thread::sleep(INTERVAL);
    }
}

fn total(scrape: &Scrape, name: &str) -> f64 {
    scrape.page.total(name).unwrap_or(0.0)
}

/// How much a counter grew within these looks.
fn grown(scrapes: &[Scrape], name: &str) -> f64 {
    match (scrapes.first(), scrapes.last()) {
        (Some(first), Some(last)) => total(last, name) - total(first, name),
        _ => 0.0,
    }
}

const STEPS: &str = "vllm:iteration_tokens_total_count";
const ENDED: &str = "vllm:request_success_total";

/// Lets the engine work, switches the fault on, looks, and switches it off again.
fn incident(client: &Client, switch: &FaultSwitch, fault: Fault) -> Evidence {
    let clock = Instant::now();
    let (stop, sent) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let (scrapes, quiet, since, over) = thread::scope(|scope| {
        scope.spawn(|| keep_busy(client, &stop, &sent));
        let mut scrapes = look(client, clock, |looks| grown(looks, ENDED) >= TRACES as f64);
        let quiet = traces(client, &sent, clock, Instant::now());
        if let Err(error) = std::fs::write(switch.file(fault), "") {
            unknown(format!("the fault cannot be switched on: {error}"));
        }
        // The step under way, and the requests that are past the fault, end first.
        look(client, clock, |looks| {
            let recent = &looks[looks.len() - LOOKS / 2..];
            grown(recent, STEPS) == 0.0 || grown(looks, ENDED) >= 2.0 * PLACES as f64
        });
        let since = Instant::now();
        scrapes.extend(look(client, clock, |looks| {
            grown(looks, STEPS) == 0.0 || grown(looks, ENDED) >= TRACES as f64
        }));
        let over = Instant::now();
        // A file that is gone already is as good.
        let _ = std::fs::remove_file(switch.file(fault));
        stop.store(true, Ordering::Release);
        (scrapes, quiet, since, over)
    });
    let late = traces(client, &sent, since, over);
    let since = since - clock;
    let begins_at = |at: Duration| move |trace: &Timeline| beginning_at(trace, at);
    Evidence {
        max_num_seqs: PLACES,
        max_num_batched_tokens: 256,
        watched: vec!["vllm:num_requests_waiting".into(), RENAMED.0.into()],
        scrapes,
        since,
        traces: (quiet.iter().map(begins_at(Duration::ZERO)))
            .chain(late.iter().map(begins_at(since)))
            .collect(),
        streams: Vec::new(),
    }
}

/// A trace moved to our clock: only on which side of the fault it begins matters.
fn beginning_at(trace: &Timeline, at: Duration) -> Timeline {
    let Some(first) = trace.events().first() else { return Timeline::default() };
    trace.events().iter().map(|event| (at + (event.at - first.at), event.kind)).collect()
}

#[test]
#[ignore = "live: run by cargo xtask lab 1"]
fn task_1_7_names_a_fault_of_the_running_engine() {
    let (fault, expected) = PRACTISED[(seed() % 3) as usize];
    let folder = Folder::new();
    let switch = FaultSwitch::new(&folder.0);
    let spec = EngineSpec::new()
        .with("max-num-seqs", PLACES)
        .with("debug-faults", folder.0.display())
        .with_switch("debug-timelines");
    let client = start(&spec);
    let evidence = incident(&client, &switch, fault);
    let after = evidence.after();
    let moved = after.steps > Some(0.0);
    match fault {
        Fault::Hang if moved => {
            unknown("the last step before the hang did not end: the machine is too busy");
        }
        Fault::SlowTokenizer if after.tokenize.is_none() => {
            unknown("no request came after the fault: the machine is too busy");
        }
        _ => {}
    }
    note(format!(
        "fault {}: /health said {:?} throughout",
        fault.as_str(),
        evidence.scrapes.last().and_then(|s| s.health)
    ));
    let context = format!(
        "the running engine, with the fault {} switched on; arrival to queue {:?} s, before {:?} s",
        fault.as_str(),
        after.tokenize,
        evidence.before().tokenize
    );
    expect_eq(context, expected, diagnose(&evidence));
}
