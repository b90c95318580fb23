//! A sequence's blocks in order, cheap to hand out.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::BlockId;

/// The blocks of one sequence, in token order. Reads as a slice.
///
/// Every step needs the table of every sequence that runs, and nearly no step changes one. So a copy is a shared
/// pointer. Whoever changes a table that somebody else still holds gets a copy of its own first; the pool changes
/// its tables between two steps, when nobody does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct BlockTable(Arc<Vec<BlockId>>);

impl BlockTable {
    /// Appends a block.
    pub fn push(&mut self, block: BlockId) {
        Arc::make_mut(&mut self.0).push(block);
    }

    /// Keeps the first `len` blocks.
    pub fn truncate(&mut self, len: usize) {
        Arc::make_mut(&mut self.0).truncate(len);
    }
}

impl Deref for BlockTable {
    type Target = [BlockId];

    fn deref(&self) -> &[BlockId] {
        &self.0
    }
}

impl DerefMut for BlockTable {
    fn deref_mut(&mut self) -> &mut [BlockId] {
        Arc::<Vec<_>>::make_mut(&mut self.0)
    }
}

impl From<Vec<BlockId>> for BlockTable {
    fn from(blocks: Vec<BlockId>) -> Self {
        Self(Arc::new(blocks))
    }
}

impl FromIterator<BlockId> for BlockTable {
    fn from_iter<I: IntoIterator<Item = BlockId>>(blocks: I) -> Self {
        Vec::from_iter(blocks).into()
    }
}

impl Extend<BlockId> for BlockTable {
    fn extend<I: IntoIterator<Item = BlockId>>(&mut self, blocks: I) {
        Arc::make_mut(&mut self.0).extend(blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_its_blocks_when_the_original_grows() {
        let mut table: BlockTable = (0..3).map(BlockId).collect();
        let copy = table.clone();
        table.push(BlockId(9));
        table.extend([BlockId(10)]);
        table[0] = BlockId(7);
        assert_eq!(*copy, [BlockId(0), BlockId(1), BlockId(2)]);
        assert_eq!(*table, [BlockId(7), BlockId(1), BlockId(2), BlockId(9), BlockId(10)]);
        table.truncate(1);
        assert_eq!(table, BlockTable::from(vec![BlockId(7)]));
    }
}
