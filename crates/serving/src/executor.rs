//! Who computes a step: a model on a device, or a cost model that pretends to be one.

use crate::{SequenceId, SequenceLogprobs, StepPlan, TokenId};

/// How the next token is drawn from the model's distribution, and what is told about it.
///
/// The steps are vLLM's, in its order: mask, bias, penalties, temperature, `min_p`, `top_k`, `top_p`.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the most likely token; 1 samples from the model's own distribution.
    pub temperature: f32,
    /// Only the `k` most likely tokens may be drawn; `None` for all.
    pub top_k: Option<usize>,
    /// Only the smallest set of tokens whose probabilities sum to at least this may be drawn; in (0, 1].
    pub top_p: f32,
    /// Only tokens at least this share as likely as the likeliest may be drawn; 0 for all.
    pub min_p: f32,
    /// The same seed, prompt and parameters give the same tokens; `None` draws a fresh one.
    pub seed: Option<u64>,
    /// Taken off the logit of each token that was generated before.
    pub presence_penalty: f32,
    /// Taken off the logit of a token once for each time it was generated.
    pub frequency_penalty: f32,
    /// Divides a positive logit, and multiplies a negative one, of each token in prompt or answer; 1 for none.
    pub repetition_penalty: f32,
    /// Added to these tokens' logits.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Only these may be drawn; `None` for all.
    pub allowed_tokens: Option<Vec<TokenId>>,
    /// None of `stop_tokens` is drawn before this many tokens were generated.
    pub min_tokens: usize,
    /// The tokens that would end the answer; looked at only where `min_tokens` is not 0.
    pub stop_tokens: Vec<TokenId>,
    /// Tell each sampled token's log probability, with this many of the likeliest; `None` for nothing.
    pub logprobs: Option<usize>,
    /// The same for each prompt token but the first.
    pub prompt_logprobs: Option<usize>,
}

impl SamplingParams {
    /// Always the most likely token.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }
}

/// The model's own distribution, with a fresh seed.
impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            seed: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            allowed_tokens: None,
            min_tokens: 0,
            stop_tokens: Vec::new(),
            logprobs: None,
            prompt_logprobs: None,
        }
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

/// What a step produced.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepOutput {
    /// One token for each chunk that samples, in the plan's order.
    pub sampled: Vec<SampledToken>,
    /// For sequences that asked; empty, and without an allocation, where none did.
    pub logprobs: Vec<SequenceLogprobs>,
}

/// Tokens alone: nobody asked for more.
impl From<Vec<SampledToken>> for StepOutput {
    fn from(sampled: Vec<SampledToken>) -> Self {
        Self { sampled, logprobs: Vec::new() }
    }
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
    /// Prepares for a sequence, before its first chunk. Its chunks may leave out leading tokens of `prompt` that
    /// the prefix cache holds; penalties and the prompt's log probabilities need them all the same.
    fn register(&mut self, id: SequenceId, prompt: &[TokenId], params: &SamplingParams);

    /// Forgets a sequence. An unknown one is no error.
    fn release(&mut self, id: SequenceId);

    /// Computes one step.
    ///
    /// # Errors
    /// [`ExecutorError`] where the device or the model fails.
    fn execute(&mut self, plan: &StepPlan) -> Result<StepOutput, ExecutorError>;
}
