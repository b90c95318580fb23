//! The recorder behind its lock, and the ring of recent timelines.
//!
//! The lock is held for one record or one copy of the families, never across a step or an await.
//! A recorder may be a learner's: where it panics, metrics are gone and serving goes on.

use std::collections::VecDeque;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use otlp::Exporter;
use protocol::timelines::{RequestTimeline, TimelineEvent, TimelineKind, Timelines};
use protocol::traceparent::TraceParent;
use serving::{Event, EventKind, Load, Recorder, RequestSummary, StepReport, Timeline};

use crate::args::Config;
use crate::clock::{unix_now, unix_seconds};
use crate::own_metrics::OwnMetrics;
use crate::process;
use crate::spans::{Finished, Source};
use crate::tgi_metrics::TgiMetrics;

/// `service.name` where `OTEL_SERVICE_NAME` does not say.
const SERVICE: &str = "llm-systems-lab";

/// Timelines that `/debug/timelines` shows at most.
const MAX_TIMELINES: usize = 256;

pub(crate) struct Telemetry {
    pub(crate) own: OwnMetrics,
    /// When the server started, in seconds since 1970.
    started_s: u64,
    recorder: Mutex<Box<dyn Recorder>>,
    /// What the recorder said when it panicked.
    broken: OnceLock<String>,
    /// `None` where nobody asked for it.
    tgi: Option<TgiMetrics>,
    /// `None` where nobody asked for it.
    traces: Option<Exporter<Finished>>,
    /// `None` where nobody asked for it.
    recent: Option<Mutex<VecDeque<RequestTimeline>>>,
}

impl Telemetry {
    /// Nothing recorded yet.
    ///
    /// # Errors
    /// Where traces are asked for and the system has no thread for them.
    pub(crate) fn new(recorder: Box<dyn Recorder>, config: &Config) -> std::io::Result<Self> {
        let source = Source { model: config.served_model_name.clone(), epoch: unix_now() };
        let service = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| SERVICE.to_owned());
        let start = |endpoint: &str| {
            Exporter::start(endpoint, &service, move |one, ids| source.spans(one, ids))
        };
        let traces = config.otlp_traces_endpoint.as_deref();
        Ok(Self {
            own: OwnMetrics::new(&config.served_model_name),
            started_s: unix_seconds(),
            recorder: Mutex::new(recorder),
            broken: OnceLock::new(),
            tgi: config.tgi_metrics.then(TgiMetrics::new),
            traces: traces.map(start).transpose()?,
            recent: config.debug_timelines.then(Mutex::default),
        })
    }

    /// A choice ended.
    pub(crate) fn request(
        &self,
        id: &str,
        choice: usize,
        parent: Option<TraceParent>,
        of: &Timeline,
        summary: &RequestSummary,
    ) {
        // A caller that does not record has no use for our part.
        let recorded = parent.is_none_or(|parent| parent.sampled);
        if let Some(traces) = self.traces.as_ref().filter(|_| recorded) {
            let (id, timeline, summary) = (id.to_owned(), of.clone(), summary.clone());
            traces.finished(Finished { id, choice, timeline, summary, parent });
        }
        if let Some(recent) = &self.recent {
            let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.len() == MAX_TIMELINES {
                recent.pop_front();
            }
            recent.push_back(describe(id, choice, of, summary));
        }
        tracing::debug!(
            id,
            choice,
            finish = summary.finish.as_str(),
            prompt_tokens = summary.prompt_tokens,
            generated_tokens = summary.generated_tokens,
            "request ended"
        );
        self.own.request(summary);
        self.tgi.iter().for_each(|tgi| tgi.request(of, summary));
        self.with_recorder(|recorder| recorder.request(of, summary));
    }

    /// A step ended, or the load changed without one.
    pub(crate) fn step(&self, report: &StepReport, load: &Load) {
        self.own.step(report, load);
        self.tgi.iter().for_each(|tgi| tgi.step(load));
        self.with_recorder(|recorder| recorder.step(report, load));
    }

    /// The text of `/metrics`, or what the recorder said when it panicked.
    pub(crate) fn page(&self, now: Duration) -> Result<String, String> {
        let families = self.with_recorder(|recorder| recorder.families(now));
        let families = families.ok_or_else(|| self.broken.get().cloned().unwrap_or_default())?;
        let mut page = String::new();
        let own = self.own.families().into_iter().chain(process::families(self.started_s));
        let own = own.chain(self.tgi.iter().flat_map(TgiMetrics::families));
        let own = own.chain(self.traces.iter().flat_map(Exporter::families));
        for family in families.into_iter().chain(own) {
            write!(page, "{family}").map_err(|error| error.to_string())?;
        }
        Ok(page)
    }

    /// Sends what was recorded and not sent yet.
    pub(crate) fn flush(&self) {
        self.traces.iter().for_each(Exporter::flush);
    }

    /// Recent timelines, oldest first; `None` where nobody asked to keep them.
    pub(crate) fn timelines(&self) -> Option<Timelines> {
        let recent = self.recent.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Timelines { timelines: recent.iter().cloned().collect() })
    }

    fn with_recorder<T>(&self, ask: impl FnOnce(&mut dyn Recorder) -> T) -> Option<T> {
        if self.broken.get().is_some() {
            return None;
        }
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        match catch_unwind(AssertUnwindSafe(|| ask(recorder.as_mut()))) {
            Ok(answer) => Some(answer),
            Err(panic) => {
                let reason = panic_message(panic.as_ref());
                tracing::error!(reason, "the recorder panicked; /metrics is gone");
                let _ = self.broken.set(reason.to_owned());
                None
            }
        }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

fn describe(
    id: &str,
    choice: usize,
    timeline: &Timeline,
    summary: &RequestSummary,
) -> RequestTimeline {
    RequestTimeline {
        id: id.to_owned(),
        choice,
        finish_reason: summary.finish.as_str().to_owned(),
        prompt_tokens: summary.prompt_tokens,
        cached_tokens: summary.cached_tokens,
        generated_tokens: summary.generated_tokens,
        preemptions: summary.preemptions,
        events: timeline.events().iter().map(describe_event).collect(),
    }
}

fn describe_event(event: &Event) -> TimelineEvent {
    let (kind, tokens) = match event.kind {
        EventKind::Arrived => (TimelineKind::Arrived, None),
        EventKind::Queued => (TimelineKind::Queued, None),
        EventKind::ModelReady => (TimelineKind::ModelReady, None),
        EventKind::Scheduled => (TimelineKind::Scheduled, None),
        EventKind::PrefillDone => (TimelineKind::PrefillDone, None),
        EventKind::Token => (TimelineKind::Token, None),
        EventKind::Flushed { tokens } => (TimelineKind::Flushed, Some(tokens)),
        EventKind::Preempted => (TimelineKind::Preempted, None),
        EventKind::Aborted => (TimelineKind::Aborted, None),
    };
    let at_us = u64::try_from(event.at.as_micros()).unwrap_or(u64::MAX);
    TimelineEvent { at_us, kind, tokens }
}
