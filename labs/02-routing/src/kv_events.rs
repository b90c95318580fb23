//! Task 2.2, its third step: an endpoint that tells what it holds.
//!
//! vLLM, SGLang and TensorRT-LLM can publish what happens to their blocks. Their names for blocks are not ours, and cannot
//! be: each engine has a hash of its own. But an event has the tokens. From those and the name of the block before, our
//! own names follow, as long as a block of theirs is a block of ours.

use std::collections::BTreeMap;

use routing::{KvBlock, KvEvent};

use crate::prefix_blocks::{BlockName, PrefixBlocks};
use crate::recency::Recency;

/// Bytes of a token where prompts are tokens: in the simulator, and in a router that tokenizes.
pub const TOKEN_BYTES: usize = 4;

/// What blocks of one endpoint are called here.
#[derive(Debug, Clone, Default)]
pub struct KvNames {
    ours: BTreeMap<KvBlock, BlockName>,
}

// === impl KvNames ===

impl KvNames {
    /// Blocks whose names are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ours.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ours.is_empty()
    }

    /// Brings what an endpoint is believed to hold up to date.
    pub fn apply(&mut self, event: &KvEvent, blocks: &PrefixBlocks, held: &mut Recency) {
        match event {
            KvEvent::Stored { block_size, .. }
                if block_size * TOKEN_BYTES != blocks.block_bytes() => {}
            KvEvent::Stored { blocks, parent, tokens, block_size } => {
                self.stored(blocks, *parent, tokens.chunks_exact(*block_size), held);
            }
            KvEvent::Removed { blocks } => self.removed(blocks, held),
            KvEvent::Cleared => {
                self.ours.clear();
                held.clear();
            }
        }
    }

    /// Blocks were filled, one after the other, behind `parent`.
    fn stored<'a>(
        &mut self,
        stored: &[KvBlock],
        parent: Option<KvBlock>,
        tokens: impl Iterator<Item = &'a [u32]>,
        held: &mut Recency,
    ) {
        // Our name of the first block follows our name of `parent`, or `BlockName::START` where there is none; that of each
        // other block follows the one before it. `name_of` gives it from a block's tokens. A parent that is not known here,
        // because its event was lost, makes the whole event useless. Note each name under the engine's own (`self.ours`), as
        // long as there are fewer than `held.capacity()`, and touch it in `held`.
        // ANCHOR: task_2_2_stored
        todo!("task 2.2")
        // ANCHOR_END: task_2_2_stored
    }

    /// Blocks cannot be found any more.
    fn removed(&mut self, removed: &[KvBlock], held: &mut Recency) {
        // Each is held no longer, and its name is forgotten. Of one that was never known, there is nothing to do.
        // ANCHOR: task_2_2_removed
        todo!("task 2.2")
        // ANCHOR_END: task_2_2_removed
    }
}

/// Our name of a block of tokens.
fn name_of(parent: BlockName, tokens: &[u32]) -> BlockName {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    parent.after(&bytes)
}
