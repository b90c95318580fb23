//! How many tokens the next step may feed to the model.

use std::fmt;
use std::time::Duration;

/// What a step could run, before it is planned.
// ANCHOR: book_budget
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Sequences in decode: each wants one token of the budget.
    pub decodes: usize,
    /// Tokens in the KV cache that these decodes read.
    pub context_tokens: usize,
    /// Tokens of prompts that are not computed yet, running or waiting. Counted up to `limit`, for no step
    /// can take more; some of those that wait may turn out to be in the prefix cache.
    pub prefill_tokens: usize,
    /// `max_num_batched_tokens`: no budget is larger.
    pub limit: usize,
}

/// What a step ran, and how long it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepSample {
    /// Tokens fed by sequences in prefill.
    pub prefill_tokens: usize,
    /// Tokens fed by sequences in decode, one each.
    pub decode_tokens: usize,
    /// From the plan to the sampled tokens: what each of the decodes waited for its token.
    pub elapsed: Duration,
}

/// Decides, step by step, how many tokens the step may feed.
///
/// The scheduler asks before it plans a step and reports when the step is done.
pub trait TokenBudget: fmt::Debug + Send {
    /// Tokens that the next step may feed: at least `demand.decodes`, at most `demand.limit`.
    fn next(&mut self, demand: &Demand) -> usize;

    /// Takes note of a step that ran at least one token.
    fn observe(&mut self, step: &StepSample);
}
// ANCHOR_END: book_budget
