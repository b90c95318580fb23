//! Memory as engines handed it out before paging: room for the longest possible sequence, up front.

use crate::{
    BlockId, BlockPool, BlockTable, OutOfBlocks, PoolStats, SequenceId, SequenceMap, TokenId,
    blocks_for,
};

/// Reserves `max_len` slots for every sequence when it is admitted, shares nothing and remembers nothing.
///
/// [`allocate`](BlockPool::allocate) never fails within `max_len`, so nothing is ever preempted; the price is
/// that most of the memory holds nothing. Kwon et al. (SOSP 2023, figure 2) measured 20 % to 38 % of it in
/// use.
#[derive(Debug)]
pub struct ContiguousPool {
    block_size: usize,
    num_blocks: usize,
    free: Vec<BlockId>,
    tables: SequenceMap<BlockTable>,
    prefix_queries: u64,
}

impl ContiguousPool {
    /// An empty pool.
    ///
    /// # Panics
    /// Where `block_size` is 0 or `num_blocks` does not fit a [`BlockId`].
    #[must_use]
    pub fn new(num_blocks: usize, block_size: usize) -> Self {
        assert!(block_size > 0, "block_size must be at least 1");
        let last = u32::try_from(num_blocks).expect("num_blocks fits a BlockId");
        Self {
            block_size,
            num_blocks,
            free: (0..last).rev().map(BlockId).collect(),
            tables: SequenceMap::default(),
            prefix_queries: 0,
        }
    }
}

// === impl BlockPool for ContiguousPool ===

impl BlockPool for ContiguousPool {
    fn block_size(&self) -> usize {
        self.block_size
    }

    fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    fn num_free(&self) -> usize {
        self.free.len()
    }

    fn admit(
        &mut self,
        id: SequenceId,
        tokens: &[TokenId],
        max_len: usize,
    ) -> Result<usize, OutOfBlocks> {
        let needed = blocks_for(max_len, self.block_size);
        if needed > self.free.len() {
            return Err(OutOfBlocks { needed, free: self.free.len() });
        }
        let table = self.free.split_off(self.free.len() - needed);
        self.tables.insert(id, table.into());
        self.prefix_queries += tokens.len() as u64;
        Ok(0)
    }

    fn allocate(&mut self, id: SequenceId, num_tokens: usize) -> Result<(), OutOfBlocks> {
        let needed = blocks_for(num_tokens, self.block_size);
        let held = self.tables.get(&id).map_or(0, |table| table.len());
        if needed > held { Err(OutOfBlocks { needed: needed - held, free: 0 }) } else { Ok(()) }
    }

    fn publish(&mut self, _id: SequenceId, _tokens: &[TokenId]) {}

    fn block_table(&self, id: SequenceId) -> BlockTable {
        self.tables.get(&id).cloned().unwrap_or_default()
    }

    fn free(&mut self, id: SequenceId) {
        if let Some(table) = self.tables.remove(&id) {
            self.free.extend_from_slice(&table);
        }
    }

    fn stats(&self) -> PoolStats {
        PoolStats { prefix_queries: self.prefix_queries, ..PoolStats::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_for_the_longest_possible_sequence() {
        let mut pool = ContiguousPool::new(8, 4);
        assert_eq!(pool.admit(SequenceId(1), &[1, 2, 3], 20), Ok(0));
        assert_eq!(pool.num_free(), 3);
        assert_eq!(pool.admit(SequenceId(2), &[1], 16), Err(OutOfBlocks { needed: 4, free: 3 }));
        assert_eq!(pool.allocate(SequenceId(1), 20), Ok(()));
        assert!(pool.allocate(SequenceId(1), 21).is_err());
        pool.free(SequenceId(1));
        pool.free(SequenceId(1));
        assert_eq!(pool.num_free(), 8);
    }
}
