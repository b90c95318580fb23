//! Who runs in the next step.

use std::time::Duration;

use crate::{PoolStats, SampledToken, Sequence, SequenceId, StepPlan};

/// What a step may hold at most. vLLM's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerLimits {
    /// Sequences that may run at once.
    pub max_num_seqs: usize,
    /// Tokens that one step may feed to the model.
    pub max_num_batched_tokens: usize,
}

/// Limits that no scheduler could work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// With no sequence running, nothing ever would.
    #[error("max_num_seqs must be at least 1, got 0")]
    NoSequences,
    /// Every running sequence decodes one token a step.
    #[error("max_num_batched_tokens ({tokens}) must be at least max_num_seqs ({sequences})")]
    BudgetTooSmall {
        /// The token budget asked for.
        tokens: usize,
        /// The number of sequences asked for.
        sequences: usize,
    },
}

impl SchedulerLimits {
    /// Limits that leave room for every running sequence to decode in every step.
    ///
    /// # Errors
    /// [`LimitError`] names the limit that is too small.
    pub fn try_new(max_num_seqs: usize, max_num_batched_tokens: usize) -> Result<Self, LimitError> {
        if max_num_seqs == 0 {
            return Err(LimitError::NoSequences);
        }
        if max_num_batched_tokens < max_num_seqs {
            return Err(LimitError::BudgetTooSmall {
                tokens: max_num_batched_tokens,
                sequences: max_num_seqs,
            });
        }
        Ok(Self { max_num_seqs, max_num_batched_tokens })
    }
}

/// How full a scheduler is: what `/metrics` shows and a router looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Sequences that wait for their first or next turn.
    pub waiting: usize,
    /// Sequences that hold blocks and take part in steps.
    pub running: usize,
    /// Blocks of KV cache in all.
    pub blocks_total: usize,
    /// Blocks that could be handed out now.
    pub blocks_free: usize,
    /// What the pool has done so far.
    pub pool: PoolStats,
}

/// Decides, step by step, which tokens of which sequences run.
///
/// The engine calls [`plan`](Self::plan), executes the plan, then calls [`commit`](Self::commit) with that
/// plan and the tokens sampled, then [`remove`](Self::remove) for each sequence that is done.
// ANCHOR: book_scheduler
pub trait Scheduler: Send {
    /// Takes a new sequence; it waits. The caller made sure that it fits into an empty pool.
    fn add(&mut self, sequence: Sequence);

    /// Forgets a sequence that finished or was aborted, and frees its blocks at once. Returns whether it
    /// was known.
    fn remove(&mut self, id: SequenceId) -> bool;

    /// Chooses the next step. An empty plan means that nothing can run.
    fn plan(&mut self, now: Duration) -> StepPlan;

    /// Takes the outcome of `plan`: its chunks are in the cache now, and `sampled` has one new token for each
    /// chunk that [`samples`](crate::Chunk::samples).
    fn commit(&mut self, plan: &StepPlan, sampled: &[SampledToken], now: Duration);

    /// How full it is.
    fn load(&self) -> Load;
}
// ANCHOR_END: book_scheduler
