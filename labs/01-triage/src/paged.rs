//! Task 1.4, paged KV: blocks on demand, shared by reference count, found again by content.
//!
//! Paging and sharing are vLLM's PagedAttention (Kwon et al., SOSP 2023); the prefix cache is its
//! automatic prefix caching: full blocks stay findable after their owners are gone, until the block
//! is needed for something else.
//!
//! A block is found by a SHA-256 of everything up to its end, so two different prefixes never meet:
//! tokens are not compared on a hit. A fast 64-bit hash would need that comparison, or a client
//! could forge a collision and read another client's cache (vLLM: CVE-2025-25183).

use serving::{
    BlockId, BlockPool, BlockTable, OutOfBlocks, PoolStats, SequenceId, SequenceMap, TokenId,
    blocks_for,
};
use sha2::{Digest, Sha256};

use crate::block_index::{BlockHash, BlockIndex};
use crate::free_list::FreeList;

/// The hash of a full block that follows `parent`.
///
/// The same tokens after another prefix have other keys and values, since attention has mixed the
/// prefix into them: so they have another hash.
#[must_use]
pub fn hash_block(parent: BlockHash, tokens: &[TokenId]) -> BlockHash {
    // `Sha256::new()`, then `update` it with the parent's bytes (`parent.0`) and with each token's
    // (`token.to_le_bytes()`); `finalize().into()` gives the bytes of the new hash.
    // ANCHOR: task_1_4_hash
    todo!("task 1.4")
    // ANCHOR_END: task_1_4_hash
}

/// How contents are hashed. That decides who could forge a hit, and never what is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Naming {
    /// By [`hash_block`]: nobody can find two prompts that collide. For the prompts of clients.
    #[default]
    Sha256,
    /// By [`BlockHash::fold`]: fast. For a simulation, which makes its prompts itself or reads them
    /// from a trace, and in which nobody has anything to steal.
    Trusting,
}

impl Naming {
    /// The hash of a full block that follows `parent`.
    #[inline]
    fn hash(self, parent: BlockHash, tokens: &[TokenId]) -> BlockHash {
        match self {
            Self::Sha256 => hash_block(parent, tokens),
            Self::Trusting => BlockHash::fold(parent, tokens),
        }
    }
}

/// What one sequence holds.
#[derive(Debug)]
struct Holding {
    table: BlockTable,
    /// How many leading blocks of `table` are full and hashed.
    full: usize,
    /// The hash of the last of those.
    parent: BlockHash,
}

/// Blocks on demand with a prefix cache.
#[derive(Debug)]
pub struct PagedPool {
    block_size: usize,
    prefix_caching: bool,
    naming: Naming,
    /// For each block the sequences whose table holds it. At 0 it is in the free list.
    references: Vec<u32>,
    /// Blocks that nobody references. Those that are `cached` can still be found, until they are
    /// handed out.
    free: FreeList,
    /// The blocks whose content can be found, by its hash.
    cached: BlockIndex,
    holdings: SequenceMap<Holding>,
    stats: PoolStats,
}

impl PagedPool {
    /// An empty pool with prefix caching.
    ///
    /// # Panics
    /// Where `block_size` is 0 or `num_blocks` does not fit a [`BlockId`].
    #[must_use]
    pub fn new(num_blocks: usize, block_size: usize) -> Self {
        assert!(block_size > 0, "block_size must be at least 1");
        Self {
            block_size,
            prefix_caching: true,
            naming: Naming::default(),
            references: vec![0; num_blocks],
            free: FreeList::full(u32::try_from(num_blocks).expect("num_blocks fits a BlockId")),
            cached: BlockIndex::new(num_blocks),
            holdings: SequenceMap::default(),
            stats: PoolStats::default(),
        }
    }

    /// Turns the prefix cache on or off. Off, nothing is published, so nothing is ever found.
    #[must_use]
    pub fn with_prefix_caching(mut self, on: bool) -> Self {
        self.prefix_caching = on;
        self
    }

    /// Hashes contents in another way than by SHA-256.
    #[must_use]
    pub fn with_naming(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    /// How many sequences hold a block.
    #[must_use]
    pub fn references(&self, block: BlockId) -> u32 {
        self.references[block.0 as usize]
    }

    fn references_mut(&mut self, block: BlockId) -> &mut u32 {
        &mut self.references[block.0 as usize]
    }

    /// The longest prefix of `tokens` that is in the cache: its blocks in order and the hash of the
    /// last.
    fn find_prefix(&self, tokens: &[TokenId]) -> (Vec<BlockId>, BlockHash) {
        let mut found = Vec::new();
        let mut parent = BlockHash::ROOT;
        // Walk over the full blocks of `tokens`, chaining their hashes (`self.naming.hash` calls
        // your `hash_block`), and collect blocks until one is not `cached`. The last token must run
        // to sample the next one, so leave at least one token out: a prompt of exactly two blocks
        // can hit one.
        // ANCHOR: task_1_4_lookup
        todo!("task 1.4");
        // ANCHOR_END: task_1_4_lookup
        (found, parent)
    }

    /// Hands out the block that has been free for longest, for one sequence. `None` where none is
    /// free.
    fn take_block(&mut self) -> Option<BlockId> {
        // Blocks wait in the free list, longest unused first: that order is the LRU order. If the
        // one you get is still `cached`, its content is given up now: it must not be found any more,
        // and `stats.evictions` counts it. It has one reference from now on.
        // ANCHOR: task_1_4_evict
        todo!("task 1.4")
        // ANCHOR_END: task_1_4_evict
    }

    /// Gives up one reference to each block of a table.
    fn release(&mut self, table: &[BlockId]) {
        // A block goes to the back of the free list when its *last* reference goes. It stays `cached`:
        // it can be found until it is handed out. Go through the table from its end: then the tail
        // of a sequence is evicted before its head, and the head is what other sequences share.
        // ANCHOR: task_1_4_free
        todo!("task 1.4")
        // ANCHOR_END: task_1_4_free
    }
}

// === impl BlockPool for PagedPool ===

impl BlockPool for PagedPool {
    fn block_size(&self) -> usize {
        self.block_size
    }

    fn num_blocks(&self) -> usize {
        self.references.len()
    }

    fn num_free(&self) -> usize {
        self.free.len()
    }

    fn admit(
        &mut self,
        id: SequenceId,
        tokens: &[TokenId],
        _max_len: usize,
    ) -> Result<usize, OutOfBlocks> {
        let (hits, parent) = self.find_prefix(tokens);
        // - Refuse, and change nothing, where the blocks that `tokens` need beyond the hits are not
        //   free: a prompt that cannot be prefilled to its end must not start. A hit that nobody
        //   references is in the free list, but it is not there for the taking: it is about to be
        //   used.
        // - Else reference every hit; one that nobody referenced leaves the free list.
        // ANCHOR: task_1_4_admit
        todo!("task 1.4");
        // ANCHOR_END: task_1_4_admit
        let cached_tokens = hits.len() * self.block_size;
        if self.prefix_caching {
            self.stats.prefix_queries += tokens.len() as u64;
            self.stats.prefix_hits += cached_tokens as u64;
        }
        self.holdings.insert(id, Holding { full: hits.len(), table: hits.into(), parent });
        Ok(cached_tokens)
    }

    fn allocate(&mut self, id: SequenceId, num_tokens: usize) -> Result<(), OutOfBlocks> {
        let held = self.holdings.get(&id).map(|holding| holding.table.len());
        // Nearly every call ends here, and a multiplication is faster than a division.
        if held.is_some_and(|held| held * self.block_size >= num_tokens) {
            return Ok(());
        }
        let needed = blocks_for(num_tokens, self.block_size) - held.unwrap_or(0);
        let free = self.free.len();
        if needed > free || held.is_none() {
            return Err(OutOfBlocks { needed, free });
        }
        let taken: Vec<BlockId> = std::iter::from_fn(|| self.take_block()).take(needed).collect();
        if let Some(holding) = self.holdings.get_mut(&id) {
            holding.table.extend(taken);
        }
        Ok(())
    }

    fn publish(&mut self, id: SequenceId, tokens: &[TokenId]) {
        if !self.prefix_caching {
            return;
        }
        let Some(holding) = self.holdings.get_mut(&id) else { return };
        if tokens.len() < (holding.full + 1) * self.block_size {
            // No block became full: so it is after most steps.
            return;
        }
        // For every block of `tokens` that became full since the last call (`holding.full` says how
        // many were): chain its hash to `holding.parent`, and let `cached` find the block by it,
        // unless it finds another block with the same content already: then that one stays, and
        // this one is simply not findable.
        // ANCHOR: task_1_4_publish
        todo!("task 1.4")
        // ANCHOR_END: task_1_4_publish
    }

    fn block_table(&self, id: SequenceId) -> BlockTable {
        self.holdings.get(&id).map(|holding| holding.table.clone()).unwrap_or_default()
    }

    fn free(&mut self, id: SequenceId) {
        if let Some(holding) = self.holdings.remove(&id) {
            self.release(&holding.table);
        }
    }

    fn stats(&self) -> PoolStats {
        self.stats
    }
}
