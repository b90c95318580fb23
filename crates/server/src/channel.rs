//! The way of one choice from the engine to its client, and its timeline.
//!
//! A slot, not a queue: text that the client has not taken yet grows in place. It holds at most what
//! the choice may generate, so that a slow client costs memory within its own `max_tokens` and never a step.
//!
//! Who records the request: the receiver when it takes the end or is dropped after the end; the sender
//! otherwise. The slot's lock decides, so that it happens exactly once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::openai::StopReason;
use protocol::traceparent::TraceParent;
use serving::{EventKind, FinishReason, Logprobs, RequestSummary, Timeline, TokenId};
use tokio::sync::Notify;

use crate::engine_thread::Waker;
use crate::telemetry::Telemetry;

/// How a choice ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// As asked.
    Finished { reason: FinishReason, stop: Option<StopReason> },
    /// The engine failed.
    Failed,
}

/// One more token of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NewToken {
    /// Text that became certain with it.
    pub(crate) text: String,
    /// Which token, where the request wants to know.
    pub(crate) id: Option<TokenId>,
    /// How likely it was, where the request wants to know.
    pub(crate) logprobs: Option<Logprobs>,
    /// `Some` for the last one.
    pub(crate) end: Option<End>,
}

/// What a client gets in one go.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Flush {
    /// New text; empty where the new tokens' text is held back.
    pub(crate) text: String,
    /// The new tokens, where the request wants to know.
    pub(crate) ids: Vec<TokenId>,
    /// One a new token, where the request wants to know.
    pub(crate) logprobs: Vec<Logprobs>,
    /// One a prompt token but the first, in the first flush, where the request wants to know.
    pub(crate) prompt_logprobs: Vec<Logprobs>,
    /// Tokens generated so far.
    pub(crate) generated: usize,
    /// `Some` in the last one.
    pub(crate) end: Option<End>,
}

struct Slot {
    timeline: Timeline,
    summary: RequestSummary,
    text: String,
    ids: Vec<TokenId>,
    logprobs: Vec<Logprobs>,
    prompt_logprobs: Vec<Logprobs>,
    /// Tokens generated since the last flush.
    unflushed: u32,
    end: Option<End>,
    /// The client is gone; the sender records.
    abandoned: bool,
    recorded: bool,
}

struct Shared {
    id: Arc<str>,
    choice: usize,
    parent: Option<TraceParent>,
    slot: Mutex<Slot>,
    /// Wakes the request's one task, whichever of its choices has news.
    news: Arc<Notify>,
    telemetry: Arc<Telemetry>,
}

/// The engine's end.
pub(crate) struct ChoiceSender(Arc<Shared>);

/// The client's end. Dropping it aborts the choice.
pub(crate) struct ChoiceReceiver {
    shared: Arc<Shared>,
    waker: Waker,
    clock: crate::clock::Clock,
}

/// What a choice starts with.
pub(crate) struct NewChoice {
    pub(crate) id: Arc<str>,
    pub(crate) choice: usize,
    /// Who called, where it said so.
    pub(crate) parent: Option<TraceParent>,
    pub(crate) timeline: Timeline,
    pub(crate) prompt_tokens: usize,
    pub(crate) max_tokens: usize,
}

/// Both ends of a choice's way.
pub(crate) fn channel(
    new: NewChoice,
    news: &Arc<Notify>,
    telemetry: &Arc<Telemetry>,
    waker: &Waker,
    clock: crate::clock::Clock,
) -> (ChoiceSender, ChoiceReceiver) {
    let slot = Slot {
        timeline: new.timeline,
        summary: RequestSummary {
            finish: FinishReason::Abort,
            prompt_tokens: new.prompt_tokens,
            cached_tokens: 0,
            generated_tokens: 0,
            max_tokens: new.max_tokens,
            preemptions: 0,
        },
        text: String::new(),
        ids: Vec::new(),
        logprobs: Vec::new(),
        prompt_logprobs: Vec::new(),
        unflushed: 0,
        end: None,
        abandoned: false,
        recorded: false,
    };
    let shared = Arc::new(Shared {
        id: new.id,
        choice: new.choice,
        parent: new.parent,
        slot: Mutex::new(slot),
        news: Arc::clone(news),
        telemetry: Arc::clone(telemetry),
    });
    let receiver = ChoiceReceiver { shared: Arc::clone(&shared), waker: waker.clone(), clock };
    (ChoiceSender(shared), receiver)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the closed timeline to the recorder. The slot's lock is not held meanwhile.
    fn record(&self, timeline: &Timeline, summary: &RequestSummary) {
        self.telemetry.request(&self.id, self.choice, self.parent, timeline, summary);
    }
}

impl Slot {
    /// Closes the timeline of a request that did not end as asked.
    fn abort(&mut self, at: Duration, finish: FinishReason) -> (Timeline, RequestSummary) {
        self.timeline.push(at, EventKind::Aborted);
        self.summary.finish = finish;
        self.close()
    }

    fn close(&mut self) -> (Timeline, RequestSummary) {
        self.recorded = true;
        (std::mem::take(&mut self.timeline), self.summary.clone())
    }
}

// === impl ChoiceSender ===

impl ChoiceSender {
    /// It got a place.
    pub(crate) fn scheduled(&self, at: Duration, cached_tokens: usize) {
        let mut slot = self.0.lock();
        if slot.summary.preemptions == 0 {
            slot.summary.cached_tokens = cached_tokens;
        }
        slot.timeline.push(at, EventKind::Scheduled);
    }

    /// It lost its place.
    pub(crate) fn preempted(&self, at: Duration) {
        let mut slot = self.0.lock();
        slot.summary.preemptions += 1;
        slot.timeline.push(at, EventKind::Preempted);
    }

    /// Its prefill is complete.
    pub(crate) fn prefill_done(&self, at: Duration) {
        self.0.lock().timeline.push(at, EventKind::PrefillDone);
    }

    /// How likely its prompt's next tokens were.
    pub(crate) fn prompt_logprobs(&self, mut logprobs: Vec<Logprobs>) {
        self.0.lock().prompt_logprobs.append(&mut logprobs);
    }

    /// It got a token, perhaps text, perhaps its end.
    pub(crate) fn token(&self, at: Duration, new: NewToken) {
        let mut slot = self.0.lock();
        slot.timeline.push(at, EventKind::Token);
        slot.summary.generated_tokens += 1;
        slot.unflushed += 1;
        slot.text.push_str(&new.text);
        slot.ids.extend(new.id);
        slot.logprobs.extend(new.logprobs);
        if let Some(End::Finished { reason, .. }) = &new.end {
            slot.summary.finish = *reason;
        }
        slot.end = new.end;
        drop(slot);
        self.0.news.notify_one();
    }

    /// Whether the client is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.lock().abandoned
    }

    /// Records that the client went away. Call it after the engine forgot the sequence.
    pub(crate) fn abort(self, at: Duration) {
        let mut slot = self.0.lock();
        if !slot.recorded {
            let (timeline, summary) = slot.abort(at, FinishReason::Abort);
            drop(slot);
            self.0.record(&timeline, &summary);
        }
    }
}

/// A sender that goes without an end means that the engine failed.
impl Drop for ChoiceSender {
    fn drop(&mut self) {
        let mut slot = self.0.lock();
        if slot.recorded {
            return;
        }
        if slot.abandoned {
            let at = slot.timeline.events().last().map_or(Duration::ZERO, |event| event.at);
            let (timeline, summary) = slot.abort(at, FinishReason::Abort);
            drop(slot);
            return self.0.record(&timeline, &summary);
        }
        if slot.end.is_none() {
            slot.end = Some(End::Failed);
            drop(slot);
            self.0.news.notify_one();
        }
    }
}

// === impl ChoiceReceiver ===

impl ChoiceReceiver {
    /// Whether nothing more will come.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.lock().end.is_some()
    }

    /// Takes what is new, on its way to the connection now. `None` where nothing is, or all was taken.
    pub(crate) fn take(&self) -> Option<Flush> {
        let mut slot = self.shared.lock();
        if slot.recorded || (slot.unflushed == 0 && slot.end.is_none()) {
            return None;
        }
        let now = self.clock.now();
        let tokens = std::mem::take(&mut slot.unflushed);
        if tokens > 0 {
            slot.timeline.push(now, EventKind::Flushed { tokens });
        }
        let flush = Flush {
            text: std::mem::take(&mut slot.text),
            ids: std::mem::take(&mut slot.ids),
            logprobs: std::mem::take(&mut slot.logprobs),
            prompt_logprobs: std::mem::take(&mut slot.prompt_logprobs),
            generated: slot.summary.generated_tokens,
            end: slot.end.clone(),
        };
        let closed = match slot.end {
            None => None,
            Some(End::Finished { .. }) => Some(slot.close()),
            Some(End::Failed) => Some(slot.abort(now, FinishReason::Error)),
        };
        drop(slot);
        if let Some((timeline, summary)) = closed {
            self.shared.record(&timeline, &summary);
        }
        Some(flush)
    }
}

impl Drop for ChoiceReceiver {
    fn drop(&mut self) {
        let mut slot = self.shared.lock();
        if slot.recorded {
            return;
        }
        let finish = match slot.end {
            None => {
                slot.abandoned = true;
                drop(slot);
                return self.waker.wake();
            }
            Some(End::Failed) => FinishReason::Error,
            Some(End::Finished { .. }) => FinishReason::Abort,
        };
        let (timeline, summary) = slot.abort(self.clock.now(), finish);
        drop(slot);
        self.shared.record(&timeline, &summary);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use serving::baseline::Counters;

    use super::*;
    use crate::args::Config;
    use crate::clock::Clock;

    const AT: Duration = Duration::from_millis(1);

    struct Ends {
        sender: ChoiceSender,
        receiver: ChoiceReceiver,
        telemetry: Arc<Telemetry>,
        commands: std::sync::mpsc::Receiver<crate::engine_thread::Command>,
    }

    fn ends() -> Ends {
        let config = Config { debug_timelines: true, ..Config::default() };
        let counters = Box::new(Counters::new("m"));
        let telemetry = Arc::new(Telemetry::new(counters, &config).unwrap());
        let (inbox, commands) = sync_channel(1);
        let new = NewChoice {
            id: "cmpl-1".into(),
            choice: 0,
            parent: None,
            timeline: Timeline::from_iter([(AT, EventKind::Arrived)]),
            prompt_tokens: 3,
            max_tokens: 8,
        };
        let news = Arc::new(Notify::new());
        let (sender, receiver) = channel(new, &news, &telemetry, &Waker(inbox), Clock::start());
        Ends { sender, receiver, telemetry, commands }
    }

    /// How the one request was recorded.
    fn recorded(telemetry: &Telemetry) -> Vec<String> {
        let timelines = telemetry.timelines().unwrap().timelines;
        timelines.into_iter().map(|timeline| timeline.finish_reason).collect()
    }

    fn text(text: &str, end: Option<End>) -> NewToken {
        NewToken { text: text.to_owned(), end, ..NewToken::default() }
    }

    fn stop() -> Option<End> {
        Some(End::Finished { reason: FinishReason::Stop, stop: None })
    }

    #[test]
    fn tokens_that_nobody_takes_become_one_flush() {
        let Ends { sender, receiver, telemetry, .. } = ends();
        assert_eq!(receiver.take(), None);
        for _ in 0..1000 {
            sender.token(AT, text("ab", None));
        }
        sender.token(AT, text("", stop()));
        let flush = receiver.take().unwrap();
        assert_eq!((flush.text.len(), flush.generated, flush.end), (2000, 1001, stop()));
        assert_eq!(receiver.take(), None);
        drop((sender, receiver));
        assert_eq!(recorded(&telemetry), ["stop"]);
    }

    #[test]
    fn a_client_that_goes_early_wakes_the_engine_which_records() {
        let Ends { sender, receiver, telemetry, commands } = ends();
        sender.token(AT, text("a", None));
        drop(receiver);
        assert!(commands.try_recv().is_ok());
        assert!(sender.is_abandoned());
        assert!(recorded(&telemetry).is_empty());
        sender.abort(AT);
        assert_eq!(recorded(&telemetry), ["abort"]);
    }

    #[test]
    fn a_client_that_goes_before_it_took_the_end_is_an_abort_too() {
        let Ends { sender, receiver, telemetry, .. } = ends();
        sender.token(AT, text("a", stop()));
        drop((receiver, sender));
        assert_eq!(recorded(&telemetry), ["abort"]);
    }

    #[test]
    fn an_engine_that_goes_without_an_end_is_an_error() {
        let Ends { sender, receiver, telemetry, .. } = ends();
        sender.token(AT, text("a", None));
        drop(sender);
        let flush = receiver.take().unwrap();
        assert_eq!((flush.text.as_str(), flush.end), ("a", Some(End::Failed)));
        drop(receiver);
        assert_eq!(recorded(&telemetry), ["error"]);
    }

    #[test]
    fn a_client_and_an_engine_that_both_go_are_recorded_once() {
        let Ends { sender, receiver, telemetry, .. } = ends();
        drop(receiver);
        sender.token(AT, text("a", stop()));
        drop(sender);
        assert_eq!(recorded(&telemetry), ["abort"]);
    }
}
