//! The blocks that nobody uses, in the order in which they are handed out. Given.

use std::collections::BTreeMap;

use serving::BlockId;

/// A queue of blocks from whose middle a block can be taken as well: when a prefix-cache hit needs
/// it again.
#[derive(Debug)]
pub struct FreeList {
    /// Blocks by ticket: the lowest was freed first.
    queue: BTreeMap<u64, BlockId>,
    /// The ticket of each block; `None` while it is in use.
    tickets: Vec<Option<u64>>,
    next: u64,
}

impl FreeList {
    /// All of `num_blocks` blocks, lowest id first.
    #[must_use]
    pub fn full(num_blocks: u32) -> Self {
        let mut list =
            Self { queue: BTreeMap::new(), tickets: vec![None; num_blocks as usize], next: 0 };
        (0..num_blocks).map(BlockId).for_each(|block| list.push_back(block));
        list
    }

    /// How many blocks are free.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no block is free.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether this block is free.
    #[must_use]
    pub fn contains(&self, block: BlockId) -> bool {
        self.tickets[block.0 as usize].is_some()
    }

    /// Puts a block at the end: [`pop_front`](Self::pop_front) hands it out after all others.
    ///
    /// # Panics
    /// Where the block is free already: somebody gave up a block that was not theirs.
    pub fn push_back(&mut self, block: BlockId) {
        let old = self.tickets[block.0 as usize].replace(self.next);
        assert!(old.is_none(), "{block} was freed twice");
        self.queue.insert(self.next, block);
        self.next += 1;
    }

    /// Takes the block that has been free for longest.
    pub fn pop_front(&mut self) -> Option<BlockId> {
        let (_, block) = self.queue.pop_first()?;
        self.tickets[block.0 as usize] = None;
        Some(block)
    }

    /// Takes the block that was freed last.
    pub fn pop_back(&mut self) -> Option<BlockId> {
        let (_, block) = self.queue.pop_last()?;
        self.tickets[block.0 as usize] = None;
        Some(block)
    }

    /// Takes this block out, wherever it is. No error where it is not in the list.
    pub fn remove(&mut self, block: BlockId) {
        if let Some(ticket) = self.tickets[block.0 as usize].take() {
            self.queue.remove(&ticket);
        }
    }
}
