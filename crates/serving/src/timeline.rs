//! What happened to one request, and when.

use std::time::Duration;

/// Something that happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// ANCHOR: book_events
pub enum EventKind {
    /// The server read the request. Always first.
    Arrived,
    /// It entered the scheduler's waiting queue.
    Queued,
    /// The model finished loading; only in timelines of requests that arrived before.
    ModelReady,
    /// The scheduler gave it blocks and a place in the next step; again after each preemption.
    Scheduled,
    /// The step that computed the last token of its (re)prefill ended.
    PrefillDone,
    /// The step that sampled one token ended.
    Token,
    /// Bytes that carry this many tokens were handed to the connection.
    Flushed {
        /// How many: more than one where the stream coalesced them.
        tokens: u32,
    },
    /// The scheduler took its blocks away; it waits again.
    Preempted,
    /// The client went away, or the server gave up on it. Always last.
    Aborted,
}
// ANCHOR_END: book_events

/// One event and its time since the engine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Duration,
    /// What.
    pub kind: EventKind,
}

/// The events of one request in the order of their times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    events: Vec<Event>,
}

impl Timeline {
    /// Adds an event. A time before the last event's is moved up to it: clocks of two threads may
    /// disagree by a little, and order of arrival wins.
    pub fn push(&mut self, at: Duration, kind: EventKind) {
        let at = self.events.last().map_or(at, |last| last.at.max(at));
        self.events.push(Event { at, kind });
    }

    /// All events, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

impl FromIterator<(Duration, EventKind)> for Timeline {
    fn from_iter<I: IntoIterator<Item = (Duration, EventKind)>>(events: I) -> Self {
        let mut timeline = Self::default();
        for (at, kind) in events {
            timeline.push(at, kind);
        }
        timeline
    }
}

/// Where a request's time went. The parts sum to the time from its first to its last event, exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
// ANCHOR: book_phases
pub struct Phases {
    /// Waiting for a place: before the first schedule and after each preemption.
    pub queue: Duration,
    /// The part of the wait that the model spent loading.
    pub model_load: Duration,
    /// Computing the prompt; after a preemption, computing prompt and generated tokens again.
    pub prefill: Duration,
    /// Generating, from the end of a prefill to the last token.
    pub decode: Duration,
    /// The way back to the client: from the last token to the last byte. (`return` is a Rust keyword.)
    pub response: Duration,
}
// ANCHOR_END: book_phases

impl Phases {
    /// The whole: end to end.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.queue + self.model_load + self.prefill + self.decode + self.response
    }
}
