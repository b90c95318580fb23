//! Watches a simulated engine as an operator does: scrapes its page, keeps its traces, asks its clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::scrape::{Page, Scraped};
use serving::{EventKind, Recorder, RequestSummary, StepPlan, Timeline};
use simulation::{LinearCost, ObservedStep, Observer, StepCost, StepTime};

use super::incidents::{END, Incident, SINCE, TROUBLE};
use crate::evidence::{DEVICE_BUSY, FLOPS, READ_BYTES};
use crate::fault::rename;
use crate::{EngineMetrics, Evidence, Scrape, Stream};

/// Between two looks at the page.
const INTERVAL: Duration = Duration::from_secs(1);
/// The host's part of a quiet step.
const HOST: Duration = Duration::from_micros(300);
/// An 8B model: floating-point operations a token, and bytes of weights a step.
const FLOPS_A_TOKEN: f64 = 16e9;
const WEIGHT_BYTES: f64 = 16e9;

/// A device that gets into trouble. It learns the time from whoever watches, since a cost has no clock.
pub(super) struct Device {
    quiet: LinearCost,
    slower: f64,
    host: Duration,
    now: Arc<AtomicU64>,
}

impl StepCost for Device {
    fn step_time(&self, plan: &StepPlan) -> StepTime {
        let quiet = self.quiet.step_time(plan);
        let trouble = Duration::from_nanos(self.now.load(Ordering::Relaxed)) >= TROUBLE;
        let device = if trouble { quiet.total.mul_f64(self.slower) } else { quiet.total };
        let host = if trouble { HOST + self.host } else { HOST };
        StepTime { host, total: device + host, ..quiet }
    }
}

/// Sees what an operator sees.
pub(super) struct Watcher {
    incident: Incident,
    now: Arc<AtomicU64>,
    recorder: EngineMetrics,
    busy: f64,
    flops: f64,
    read: f64,
    /// When the process that is looked at has loaded its model.
    ready: Duration,
    /// When each request arrives, and when those ended that did.
    arrived: Vec<Duration>,
    ended: Vec<Duration>,
    scrapes: Vec<Scrape>,
    traces: Vec<Timeline>,
    streams: Vec<Stream>,
}

impl Watcher {
    pub(super) fn new(incident: &Incident) -> Self {
        Self {
            incident: incident.clone(),
            now: Arc::default(),
            recorder: EngineMetrics::new("incident"),
            busy: 0.0,
            flops: 0.0,
            read: 0.0,
            ready: Duration::ZERO,
            arrived: incident.arrivals().iter().map(|arrival| arrival.at).collect(),
            ended: Vec::new(),
            scrapes: Vec::new(),
            traces: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// A device of this incident, on this watcher's clock.
    pub(super) fn device(&self) -> Device {
        let Incident { cost, slower, host, .. } = self.incident;
        Device { quiet: cost, slower, host, now: Arc::clone(&self.now) }
    }

    /// A new process takes over: it counts from 0, and is ready then.
    pub(super) fn restart(&mut self, ready: Duration) {
        self.scrape_until(TROUBLE);
        *self = Self {
            ready,
            scrapes: std::mem::take(&mut self.scrapes),
            traces: std::mem::take(&mut self.traces),
            streams: std::mem::take(&mut self.streams),
            now: Arc::clone(&self.now),
            ..Self::new(&self.incident)
        };
    }

    /// All looks up to this moment show what is known now.
    fn scrape_until(&mut self, moment: Duration) {
        loop {
            let at = INTERVAL * self.scrapes.len() as u32;
            if at >= moment {
                return;
            }
            let page = self.page(at);
            let health = if at < self.ready { 503 } else { 200 };
            let in_flight = Some(self.in_flight(at));
            self.scrapes.push(Scrape { at, health: Some(health), in_flight, page });
        }
    }

    /// Requests that came and have not ended; a process that died took its own with it.
    fn in_flight(&self, at: Duration) -> f64 {
        let since = if self.ready > TROUBLE { TROUBLE } else { Duration::ZERO };
        let came = self.arrived.iter().filter(|came| since <= **came && **came <= at).count();
        let ended = self.ended.iter().filter(|ended| **ended <= at).count();
        came.saturating_sub(ended) as f64
    }

    fn page(&self, at: Duration) -> Page {
        let mut families = self.recorder.families(at);
        if self.incident.renamed && at >= TROUBLE {
            families.iter_mut().for_each(rename);
        }
        let text: String = families.iter().map(ToString::to_string).collect();
        let mut page = Page::parse(&text).expect("our own page can be read");
        for (name, value) in
            [(DEVICE_BUSY, self.busy), (FLOPS, self.flops), (READ_BYTES, self.read)]
        {
            page.samples.push(Scraped { name: name.into(), labels: Default::default(), value });
        }
        page
    }

    /// What an operator has when it is over.
    pub(super) fn evidence(mut self) -> Evidence {
        self.scrape_until(END);
        Evidence {
            max_num_seqs: self.incident.max_num_seqs,
            max_num_batched_tokens: self.incident.max_num_batched_tokens,
            watched: ["vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"]
                .map(Into::into)
                .into(),
            scrapes: self.scrapes,
            since: SINCE,
            traces: self.traces,
            streams: self.streams,
        }
    }

    /// A trace with what happened outside the simulated engine: reading the prompt, loading the model.
    fn trace(&self, simulated: &Timeline) -> Timeline {
        let events = simulated.events();
        let arrived = events.first().map_or(Duration::ZERO, |first| first.at);
        let slow = arrived >= TROUBLE;
        let tokenizer = if slow { self.incident.tokenizer } else { Duration::ZERO };
        let loads = arrived < self.ready;
        let (mut trace, mut ready) = (Timeline::default(), false);
        for event in events {
            if loads && !ready && event.kind != EventKind::Arrived {
                trace.push(self.ready, EventKind::ModelReady);
                ready = true;
            }
            // Everything behind a slow tokenizer is later by its delay.
            let delay = if event.kind == EventKind::Arrived { Duration::ZERO } else { tokenizer };
            trace.push(event.at + delay, event.kind);
        }
        trace
    }

    /// What the client of a request saw.
    fn stream(&self, trace: &Timeline) -> Stream {
        let late = trace.events().first().is_some_and(|first| first.at >= TROUBLE);
        let lump = if late { self.incident.lump } else { 1 };
        let tokens: Vec<Duration> = trace
            .events()
            .iter()
            .filter_map(|event| (event.kind == EventKind::Token).then_some(event.at))
            .collect();
        let piece = |tokens: &[Duration]| (tokens[tokens.len() - 1], tokens.len());
        Stream { pieces: tokens.chunks(lump).map(piece).collect() }
    }
}

// === impl Observer for Watcher ===

impl Observer for Watcher {
    fn step(&mut self, step: &ObservedStep<'_>) {
        self.scrape_until(step.report.ended.min(END));
        self.now.store(step.report.ended.as_nanos() as u64, Ordering::Relaxed);
        self.recorder.step(step.report, &step.load);
        let Some(time) = step.time else { return };
        let tokens = step.report.prefill_tokens + step.report.decode_tokens;
        self.busy += (time.total - time.host).as_secs_f64();
        self.flops += tokens as f64 * FLOPS_A_TOKEN;
        self.read += WEIGHT_BYTES;
    }

    fn request(&mut self, _replica: usize, timeline: &Timeline, summary: &RequestSummary) {
        self.ended.extend(timeline.events().last().map(|last| last.at));
        let trace = self.trace(timeline);
        self.recorder.request(&trace, summary);
        self.streams.push(self.stream(&trace));
        self.traces.push(trace);
    }
}
