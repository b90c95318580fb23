//! What one step of the engine computes.

use crate::{BlockId, SequenceId, TokenId};

/// A run of consecutive tokens of one sequence, to be fed to the model in this step.
#[derive(Debug, Clone, PartialEq, Eq)]
// ANCHOR: book_chunk
pub struct Chunk {
    /// Whose tokens these are.
    pub sequence: SequenceId,
    /// Position of the first token in its sequence; all tokens before it are in the KV cache already.
    pub start: usize,
    /// The tokens to feed: one for a decode, many for a prefill. Never empty.
    pub tokens: Vec<TokenId>,
    /// The sequence's blocks in order: token `i` lives in `block_table[i / block_size]` at slot
    /// `i % block_size`. Covers at least `start + tokens.len()` tokens.
    pub block_table: Vec<BlockId>,
    /// Whether a new token is sampled after the last of these (false while a prefill is incomplete).
    pub samples: bool,
}
// ANCHOR_END: book_chunk

impl Chunk {
    /// One past the position of the last token fed: what the cache holds after this step.
    #[must_use]
    pub fn end(&self) -> usize {
        self.start + self.tokens.len()
    }
}

/// One step: the chunks that run together, and who had to make room for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepPlan {
    /// At most one chunk a sequence.
    pub chunks: Vec<Chunk>,
    /// Sequences that lost their blocks in this step and wait again.
    pub preempted: Vec<SequenceId>,
}

impl StepPlan {
    /// Whether there is nothing to compute.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many tokens the step feeds to the model: what a token budget limits.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.tokens.len()).sum()
    }

    /// The chunk of one sequence, if it takes part in this step.
    #[must_use]
    pub fn chunk(&self, id: SequenceId) -> Option<&Chunk> {
        self.chunks.iter().find(|chunk| chunk.sequence == id)
    }
}
