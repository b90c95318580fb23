//! The blocks that nobody uses, in the order in which they are handed out. Given.

use serving::BlockId;

/// A queue of blocks from whose middle a block can be taken as well: when a prefix-cache hit needs
/// it again.
///
/// A doubly linked list whose links are kept by block id, as in vLLM's `FreeKVCacheBlockQueue`:
/// every operation takes the same short time, however many blocks there are.
#[derive(Debug)]
pub struct FreeList {
    /// The links of each block, and last of all those of the ends: its `next` is the block that was
    /// freed first, its `previous` the one that was freed last.
    links: Vec<Links>,
    len: usize,
}

/// Neighbours in the list. A block that is in use has itself for both.
#[derive(Debug, Clone, Copy)]
struct Links {
    previous: u32,
    next: u32,
}

impl FreeList {
    /// All of `num_blocks` blocks, lowest id first.
    #[must_use]
    pub fn full(num_blocks: u32) -> Self {
        let alone = |index| Links { previous: index, next: index };
        let mut list = Self { links: (0..=num_blocks).map(alone).collect(), len: 0 };
        (0..num_blocks).map(BlockId).for_each(|block| list.push_back(block));
        list
    }

    /// How many blocks are free.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no block is free.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this block is free.
    #[must_use]
    pub fn contains(&self, block: BlockId) -> bool {
        self.links[block.0 as usize].next != block.0
    }

    /// Puts a block at the end: [`pop_front`](Self::pop_front) hands it out after all others.
    ///
    /// # Panics
    /// Where the block is free already: somebody gave up a block that was not theirs.
    pub fn push_back(&mut self, block: BlockId) {
        assert!(!self.contains(block), "{block} was freed twice");
        let (last, ends) = (self.links[self.ends()].previous, self.ends() as u32);
        self.links[block.0 as usize] = Links { previous: last, next: ends };
        self.links[last as usize].next = block.0;
        self.links[ends as usize].previous = block.0;
        self.len += 1;
    }

    /// Takes the block that has been free for longest.
    pub fn pop_front(&mut self) -> Option<BlockId> {
        self.take(self.links[self.ends()].next)
    }

    /// Takes the block that was freed last.
    pub fn pop_back(&mut self) -> Option<BlockId> {
        self.take(self.links[self.ends()].previous)
    }

    /// Takes this block out, wherever it is. No error where it is not in the list.
    pub fn remove(&mut self, block: BlockId) {
        if self.contains(block) {
            self.take(block.0);
        }
    }

    /// Unlinks a free block; `None` for the ends, which are no block.
    fn take(&mut self, block: u32) -> Option<BlockId> {
        if block as usize == self.ends() {
            return None;
        }
        let Links { previous, next } = self.links[block as usize];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        self.links[block as usize] = Links { previous: block, next: block };
        self.len -= 1;
        Some(BlockId(block))
    }

    /// The place of the ends in `links`.
    fn ends(&self) -> usize {
        self.links.len() - 1
    }
}
