//! Task 2.2, prefix affinity, its first step: names for the beginnings of prompts.
//!
//! A prompt is cut into blocks of bytes, and each block gets a name that covers everything before it too: lab 1's chained
//! hashes (task 1.4), on the other side of the network. Two prompts share a block's name exactly if they are equal up
//! to its end. So "who has the longest beginning of this prompt" is a walk along a list of numbers.
//!
//! Names have 64 bits of a hash that is fast and not secret. Who finds two prompts of one name makes the router choose
//! badly, for those two; the engine compares by a hash of its own and never answers from somebody else's prompt.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

/// Bytes of a block unless told otherwise: about 64 tokens of English. Smaller blocks find a little more of a prompt and cost
/// more for all of them; what is below a block is computed again within a step anyhow.
pub const BLOCK_BYTES: usize = 256;
/// The most blocks of a prompt that are named: half a megabyte of text. What follows them is not looked at.
pub const MAX_BLOCKS: usize = 2_048;

/// Names a block of a prompt and all that is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockName(pub u64);

/// How prompts are cut and named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixBlocks {
    block_bytes: usize,
}

impl Default for PrefixBlocks {
    fn default() -> Self {
        Self { block_bytes: BLOCK_BYTES }
    }
}

// === impl BlockName ===

impl BlockName {
    /// What the first block of every prompt follows.
    pub const START: Self = Self(0);

    /// The name of a block that follows another.
    #[must_use]
    pub fn after(self, block: &[u8]) -> Self {
        let mut hasher = FixedState::with_seed(self.0).build_hasher();
        hasher.write(block);
        Self(hasher.finish())
    }
}

// === impl PrefixBlocks ===

impl PrefixBlocks {
    /// Blocks of so many bytes.
    ///
    /// # Panics
    /// With blocks of no bytes.
    #[must_use]
    pub fn new(block_bytes: usize) -> Self {
        assert!(block_bytes > 0, "a block has at least one byte");
        Self { block_bytes }
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Names the blocks of a prompt, into a list that is emptied first.
    pub fn name(&self, prompt: &[u8], names: &mut Vec<BlockName>) {
        names.clear();
        // Only full blocks, at most `MAX_BLOCKS`. The first follows `BlockName::START`, each other one the block before it.
        // ANCHOR: task_2_2_name
        todo!("task 2.2")
        // ANCHOR_END: task_2_2_name
    }
}
