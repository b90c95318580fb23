//! `GET /debug/timelines`: the raw events of the requests that ended last. Our own, not vLLM's.

use serde::{Deserialize, Serialize};

/// The whole page, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timelines {
    /// One entry for each choice of each request.
    pub timelines: Vec<RequestTimeline>,
}

/// One choice of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestTimeline {
    /// The id that the response carries.
    pub id: String,
    /// The index of the choice in the response.
    pub choice: usize,
    /// `stop`, `length`, `abort` or `error`.
    pub finish_reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of those that came from the prefix cache.
    pub cached_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// How often it was preempted.
    pub preemptions: u32,
    /// What happened, in order.
    pub events: Vec<TimelineEvent>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEvent {
    /// Microseconds since the engine started.
    pub at_us: u64,
    /// What happened.
    pub kind: TimelineKind,
    /// How many tokens the flushed bytes carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
}

/// What can happen to a request; `serving::EventKind` says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "serving::EventKind explains each, and is the one to keep true")]
pub enum TimelineKind {
    Arrived,
    Queued,
    ModelReady,
    Scheduled,
    PrefillDone,
    Token,
    Flushed,
    Preempted,
    Aborted,
}
