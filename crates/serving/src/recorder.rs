//! Who turns what happens into metrics.

use std::time::Duration;

use protocol::exposition::MetricFamily;

use crate::{Load, StepReport, Timeline};

/// Why a request ended. vLLM's `finished_reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// An end-of-text token or a stop string.
    Stop,
    /// `max_tokens` or the model's context was used up.
    Length,
    /// The client went away.
    Abort,
    /// The engine failed.
    Error,
}

impl FinishReason {
    /// The label and the wire's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}

/// A request that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSummary {
    /// Why it ended.
    pub finish: FinishReason,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Tokens of those that came from the prefix cache.
    pub cached_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// The most it had asked for.
    pub max_tokens: usize,
    /// How often it was preempted.
    pub preemptions: u32,
}

/// Collects what happens in an engine and shows it as metric families.
pub trait Recorder: Send {
    /// A request ended.
    fn request(&mut self, timeline: &Timeline, summary: &RequestSummary);

    /// A step ended. A report without tokens only says that the load changed without a step: the last running
    /// request was aborted. It is no iteration.
    fn step(&mut self, report: &StepReport, load: &Load);

    /// Everything collected, for `/metrics`. `now` is the time since the engine started.
    fn families(&self, now: Duration) -> Vec<MetricFamily>;
}
