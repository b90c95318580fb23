//! The same requests in the names of text-generation-inference's metrics, for dashboards made for it.
//!
//! Off unless `--tgi-metrics` is given: two sets of names for one thing are one too many.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::exposition::MetricFamily;
use protocol::tgi;
use protocol::vllm::Metric;
use serving::{EventKind, FinishReason, Load, RequestSummary, Timeline};

use crate::own_metrics::Histogram;

/// The histograms, in the order of [`State::histograms`].
const HISTOGRAMS: [&Metric; 8] = [
    &tgi::REQUEST_DURATION,
    &tgi::REQUEST_VALIDATION_DURATION,
    &tgi::REQUEST_QUEUE_DURATION,
    &tgi::REQUEST_INFERENCE_DURATION,
    &tgi::REQUEST_MEAN_TIME_PER_TOKEN,
    &tgi::REQUEST_GENERATED_TOKENS,
    &tgi::REQUEST_INPUT_LENGTH,
    &tgi::REQUEST_MAX_NEW_TOKENS,
];

#[derive(Debug)]
struct State {
    load: Load,
    succeeded: u64,
    failed: u64,
    aborted: u64,
    histograms: [Histogram; 8],
}

#[derive(Debug)]
pub(crate) struct TgiMetrics(Mutex<State>);

impl TgiMetrics {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            load: Load::default(),
            succeeded: 0,
            failed: 0,
            aborted: 0,
            histograms: HISTOGRAMS.map(Histogram::new),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn step(&self, load: &Load) {
        self.lock().load = *load;
    }

    pub(crate) fn request(&self, timeline: &Timeline, summary: &RequestSummary) {
        let mut state = self.lock();
        match summary.finish {
            FinishReason::Stop | FinishReason::Length => state.succeeded += 1,
            FinishReason::Abort => state.aborted += 1,
            FinishReason::Error => state.failed += 1,
        }
        let events = timeline.events();
        let first = |kind: EventKind| events.iter().find(|event| event.kind == kind).map(|e| e.at);
        let (Some(arrived), Some(last)) = (events.first(), events.last()) else { return };
        let seconds = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64();
        let queued = first(EventKind::Queued).unwrap_or(arrived.at);
        let scheduled = first(EventKind::Scheduled);
        let inference = scheduled.map(|from| seconds(from, last.at));
        let per_token = inference
            .filter(|_| summary.generated_tokens > 0)
            .map(|inference| inference / summary.generated_tokens as f64);
        let values = [
            Some(seconds(arrived.at, last.at)),
            Some(seconds(arrived.at, queued)),
            scheduled.map(|to| seconds(queued, to)),
            inference,
            per_token,
            Some(summary.generated_tokens as f64),
            Some(summary.prompt_tokens as f64),
            Some(summary.max_tokens as f64),
        ];
        for (histogram, value) in state.histograms.iter_mut().zip(values) {
            value.into_iter().for_each(|value| histogram.observe(value));
        }
    }

    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        let state = self.lock();
        let one = |metric: &Metric, value: u64| {
            let mut family = metric.family();
            family.add(Vec::new(), value as f64);
            family
        };
        let mut failure = tgi::REQUEST_FAILURE.family();
        for (kind, count) in [("generation", state.failed), ("incomplete", state.aborted)] {
            failure.add(vec![("err".to_owned(), kind.to_owned())], count as f64);
        }
        let all = state.succeeded + state.failed + state.aborted;
        let mut families = vec![
            one(&tgi::REQUEST_COUNT, all),
            one(&tgi::REQUEST_SUCCESS, state.succeeded),
            failure,
            one(&tgi::QUEUE_SIZE, state.load.waiting as u64),
            one(&tgi::BATCH_CURRENT_SIZE, state.load.running as u64),
        ];
        families.extend(HISTOGRAMS.iter().zip(&state.histograms).map(|(metric, histogram)| {
            let mut family = metric.family();
            histogram.add_to(&mut family, &Vec::new());
            family
        }));
        families
    }
}
