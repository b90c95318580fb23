//! Who computes a step: a model on a device, or a cost model that pretends to be one.

use crate::{SequenceId, StepPlan, TokenId};

/// How the next token is drawn from the model's distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the most likely token; 1 samples from the model's own distribution.
    pub temperature: f32,
    /// Only the `k` most likely tokens may be drawn; `None` for all.
    pub top_k: Option<usize>,
    /// Only the smallest set of tokens whose probabilities sum to at least this may be drawn; in (0, 1].
    pub top_p: f32,
    /// The same seed, prompt and parameters give the same tokens; `None` draws a fresh one.
    pub seed: Option<u64>,
}

impl SamplingParams {
    /// Always the most likely token.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: 1.0, seed: None }
    }
}

/// A token that a step produced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampledToken {
    /// Whose it is.
    pub sequence: SequenceId,
    /// What it is.
    pub token: TokenId,
}

/// A step could not be computed. The engine treats this as fatal: its cache can no longer be trusted.
#[derive(Debug, thiserror::Error)]
#[error("the model failed in a step of {tokens} tokens: {cause}")]
pub struct ExecutorError {
    /// Size of the step.
    pub tokens: usize,
    /// What the model said.
    pub cause: String,
}

/// Runs step plans. Holds the weights, the KV cache behind the block ids, and each sequence's sampler.
pub trait Executor: Send {
    /// Prepares for a sequence, before its first chunk.
    fn register(&mut self, id: SequenceId, params: &SamplingParams);

    /// Forgets a sequence. An unknown one is no error.
    fn release(&mut self, id: SequenceId);

    /// Computes one step: one token for each chunk that samples, in the plan's order.
    ///
    /// # Errors
    /// [`ExecutorError`] where the device or the model fails.
    fn execute(&mut self, plan: &StepPlan) -> Result<Vec<SampledToken>, ExecutorError>;
}
