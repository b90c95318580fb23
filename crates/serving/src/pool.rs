//! Who owns which block of KV-cache memory.

use crate::{BlockTable, SequenceId, TokenId};

/// Not enough free blocks. Nothing was changed by the call that returns this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of KV blocks: {needed} needed, {free} free")]
pub struct OutOfBlocks {
    /// Blocks that the call asked for.
    pub needed: usize,
    /// Blocks that could have been had.
    pub free: usize,
}

/// What a pool has done so far. Token counts, not blocks, as vLLM's prefix-cache counters are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Tokens of admitted sequences that were looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Tokens of those that were found there, and so need no prefill.
    pub prefix_hits: u64,
    /// Cached blocks whose content was given up to make room.
    pub evictions: u64,
}

/// Hands out the blocks of the KV cache and remembers whose they are.
///
/// Life of a sequence: [`admit`](Self::admit), then any number of [`allocate`](Self::allocate) and
/// [`publish`](Self::publish), then [`free`](Self::free).
// ANCHOR: book_pool
pub trait BlockPool: Send {
    /// Token slots in a block.
    fn block_size(&self) -> usize;

    /// Blocks in all.
    fn num_blocks(&self) -> usize;

    /// Blocks that [`allocate`](Self::allocate) could hand out now, cached but unused ones included.
    fn num_free(&self) -> usize;

    /// Starts a sequence that holds `tokens` now and never more than `max_len`.
    ///
    /// Returns how many leading tokens are in the cache already: a multiple of the block size, and less
    /// than `tokens.len()`, since the last token must run to sample the next one. Their blocks are
    /// referenced from now on.
    ///
    /// # Errors
    /// [`OutOfBlocks`] where the pool cannot start it; nothing is changed then.
    fn admit(
        &mut self,
        id: SequenceId,
        tokens: &[TokenId],
        max_len: usize,
    ) -> Result<usize, OutOfBlocks>;

    /// Makes sure that the sequence's first `num_tokens` tokens have slots.
    ///
    /// # Errors
    /// [`OutOfBlocks`] where there are not enough; all or nothing.
    fn allocate(&mut self, id: SequenceId, num_tokens: usize) -> Result<(), OutOfBlocks>;

    /// Says that keys and values of exactly these leading tokens are in the sequence's blocks, so that full
    /// blocks can be shared with later sequences.
    fn publish(&mut self, id: SequenceId, tokens: &[TokenId]);

    /// The sequence's blocks in token order; empty for an unknown sequence.
    fn block_table(&self, id: SequenceId) -> BlockTable;

    /// Gives up all blocks of a sequence. An unknown one is no error: finishing and aborting may race.
    fn free(&mut self, id: SequenceId);

    /// What the pool has done so far.
    fn stats(&self) -> PoolStats;
}
// ANCHOR_END: book_pool

/// How many blocks hold `num_tokens` tokens.
///
/// ```
/// assert_eq!(serving::blocks_for(17, 16), 2);
/// assert_eq!(serving::blocks_for(0, 16), 0);
/// ```
#[must_use]
pub fn blocks_for(num_tokens: usize, block_size: usize) -> usize {
    num_tokens.div_ceil(block_size)
}
