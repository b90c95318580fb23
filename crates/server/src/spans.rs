//! From a request's timeline to spans. Pure.
//!
//! One span a request, with vLLM's name and attributes, and one under it for each stretch of a phase: a preempted
//! request waits, and is computed, more than once.
//! Source: `vllm/tracing/utils.py` of 0.32.

use std::time::Duration;

use otlp::attribute::{number, seconds, text};
use otlp::{Attribute, Ids, Kind, Span};
use protocol::traceparent::TraceParent;
use serving::{EventKind, FinishReason, RequestSummary, Timeline};

/// A request that ended, or one choice of it.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) id: String,
    pub(crate) choice: usize,
    pub(crate) timeline: Timeline,
    pub(crate) summary: RequestSummary,
    pub(crate) parent: Option<TraceParent>,
}

/// A stretch of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) name: &'static str,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// Cuts a timeline where its request went from one phase to the next. Stretches without length are left out.
pub(crate) fn stretches(timeline: &Timeline) -> Vec<Stretch> {
    let events = timeline.events();
    let Some((first, last)) = events.first().zip(events.last()) else { return Vec::new() };
    let last_token = events.iter().rposition(|event| event.kind == EventKind::Token);
    let mut stretches = Vec::new();
    let (mut name, mut from) = ("queue", first.at);
    let mut cut = |name: &mut &'static str, from: &mut Duration, at: Duration, next| {
        if at > *from {
            stretches.push(Stretch { name, from: *from, to: at });
        }
        (*name, *from) = (next, at);
    };
    for (i, event) in events.iter().enumerate() {
        match event.kind {
            EventKind::ModelReady => cut(&mut "model_load", &mut from, event.at, "queue"),
            EventKind::Scheduled => cut(&mut name, &mut from, event.at, "prefill"),
            EventKind::PrefillDone => cut(&mut name, &mut from, event.at, "decode"),
            EventKind::Preempted => cut(&mut name, &mut from, event.at, "queue"),
            EventKind::Token if Some(i) == last_token => {
                cut(&mut name, &mut from, event.at, "response");
            }
            _ => {}
        }
    }
    cut(&mut name, &mut from, last.at, "");
    stretches
}

/// What all spans of a server have in common.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) model: String,
    /// When the server's clock was zero, since 1970.
    pub(crate) epoch: Duration,
}

impl Source {
    /// The spans of one request, or of one choice of it.
    pub(crate) fn spans(&self, finished: &Finished, ids: &mut impl Ids) -> Vec<Span> {
        let Finished { timeline, summary, parent, .. } = finished;
        let events = timeline.events();
        let Some((first, last)) = events.first().zip(events.last()) else { return Vec::new() };
        let trace_id = parent.map_or_else(|| ids.trace_id(), |parent| parent.trace_id);
        let failed = matches!(summary.finish, FinishReason::Error);
        let root = Span {
            trace_id,
            id: ids.span_id(),
            parent: parent.map(|parent| parent.span_id),
            name: "llm_request",
            kind: Kind::Server,
            from: self.epoch + first.at,
            to: self.epoch + last.at,
            attributes: self.attributes(finished),
            error: failed.then_some("the engine failed"),
        };
        let part = |Stretch { name, from, to }: Stretch| Span {
            id: ids.span_id(),
            parent: Some(root.id),
            name,
            kind: Kind::Internal,
            from: self.epoch + from,
            to: self.epoch + to,
            attributes: Vec::new(),
            error: None,
            trace_id,
        };
        let parts: Vec<Span> = stretches(timeline).into_iter().map(part).collect();
        std::iter::once(root).chain(parts).collect()
    }

    fn attributes(&self, finished: &Finished) -> Vec<Attribute> {
        let Finished { id, choice, timeline, summary, .. } = finished;
        let events = timeline.events();
        let sum = |name: &str| -> f64 {
            let of = stretches(timeline).into_iter().filter(|stretch| stretch.name == name);
            of.map(|stretch| (stretch.to - stretch.from).as_secs_f64()).sum()
        };
        let start = events.first().map_or(Duration::ZERO, |event| event.at);
        let until = |at: Duration| at.saturating_sub(start).as_secs_f64();
        let first_token = events.iter().find(|event| event.kind == EventKind::Token);
        let (prefill, decode) = (sum("prefill"), sum("decode"));
        let mut attributes = vec![
            text("gen_ai.operation.name", "text_completion"),
            text("gen_ai.request.id", id),
            number("gen_ai.request.choice", *choice),
            text("gen_ai.response.model", &self.model),
            text("gen_ai.response.finish_reason", summary.finish.as_str()),
            number("gen_ai.request.max_tokens", summary.max_tokens),
            number("gen_ai.usage.prompt_tokens", summary.prompt_tokens),
            number("gen_ai.usage.completion_tokens", summary.generated_tokens),
            number("gen_ai.usage.cached_tokens", summary.cached_tokens),
            number("llm.preemptions", summary.preemptions as usize),
            seconds("gen_ai.latency.time_in_queue", sum("queue")),
            seconds("gen_ai.latency.time_in_model_prefill", prefill),
            seconds("gen_ai.latency.time_in_model_decode", decode),
            seconds("gen_ai.latency.time_in_model_inference", prefill + decode),
            seconds("gen_ai.latency.e2e", until(events.last().map_or(start, |event| event.at))),
        ];
        attributes.extend(
            first_token.map(|event| seconds("gen_ai.latency.time_to_first_token", until(event.at))),
        );
        attributes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timeline(events: &[(u64, EventKind)]) -> Timeline {
        events.iter().map(|&(at, kind)| (Duration::from_millis(at), kind)).collect()
    }

    fn told(timeline: &Timeline) -> Vec<(&'static str, u128, u128)> {
        let told = |s: Stretch| (s.name, s.from.as_millis(), s.to.as_millis());
        stretches(timeline).into_iter().map(told).collect()
    }

    #[test]
    fn a_preempted_request_waits_and_is_computed_twice() {
        use EventKind::{
            Arrived, Flushed, ModelReady, Preempted, PrefillDone, Queued, Scheduled, Token,
        };
        let events = timeline(&[
            (0, Arrived),
            (1, Queued),
            (5, ModelReady),
            (7, Scheduled),
            (9, PrefillDone),
            (9, Token),
            (12, Preempted),
            (15, Scheduled),
            (18, PrefillDone),
            (18, Token),
            (20, Token),
            (21, Flushed { tokens: 3 }),
        ]);
        assert_eq!(
            told(&events),
            [
                ("model_load", 0, 5),
                ("queue", 5, 7),
                ("prefill", 7, 9),
                ("decode", 9, 12),
                ("queue", 12, 15),
                ("prefill", 15, 18),
                ("decode", 18, 20),
                ("response", 20, 21),
            ]
        );
    }

    #[test]
    fn a_request_that_never_ran_only_waited() {
        let events =
            timeline(&[(0, EventKind::Arrived), (1, EventKind::Queued), (4, EventKind::Aborted)]);
        assert_eq!(told(&events), [("queue", 0, 4)]);
        assert!(stretches(&Timeline::default()).is_empty());
    }

    fn any_kind() -> impl Strategy<Value = EventKind> {
        use EventKind::{
            Aborted, Arrived, ModelReady, Preempted, PrefillDone, Queued, Scheduled, Token,
        };
        prop::sample::select(vec![
            Aborted,
            Arrived,
            ModelReady,
            Preempted,
            PrefillDone,
            Queued,
            Scheduled,
            Token,
        ])
    }

    proptest! {
        #[test]
        fn stretches_follow_each_other_from_the_first_event_to_the_last(
            events in prop::collection::vec((0u64..100, any_kind()), 1..30),
        ) {
            let timeline = timeline(&events);
            let stretches = stretches(&timeline);
            let whole: Duration = stretches.iter().map(|s| s.to - s.from).sum();
            let (first, last) = (timeline.events()[0].at, timeline.events().last().unwrap().at);
            prop_assert_eq!(whole, last - first);
            prop_assert!(stretches.windows(2).all(|pair| pair[0].to == pair[1].from));
        }
    }
}
