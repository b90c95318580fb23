//! Which block holds which content. Given.
//!
//! Knows nothing about sequences, references or the order of eviction.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serving::{BlockId, TokenId};

/// What a full block holds: its tokens and, through the chain, all tokens before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockHash(pub [u8; 32]);

impl BlockHash {
    /// The parent of a sequence's first block. No block has it for its own.
    pub const ROOT: Self = Self([0; 32]);

    /// A hash of 64 bits of a full block that follows `parent`; the rest is 0.
    ///
    /// Ten times as fast as SHA-256. Two contents have the same one with a probability of 2^-64,
    /// unless somebody looks for two, which is easy.
    #[must_use]
    pub fn fold(parent: Self, tokens: &[TokenId]) -> Self {
        let head = FixedState::with_seed(parent.head()).hash_one(tokens);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&head.to_le_bytes());
        Self(bytes)
    }

    fn head(&self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn tail(&self) -> [u8; 24] {
        self.0.last_chunk().copied().unwrap_or_default()
    }
}

/// Finds blocks by their content.
///
/// A hash finds one block, and a block is found by one hash. A simulator goes through all blocks of
/// a large device every few seconds, in no order, and what it waits for is memory. So the table
/// holds block ids alone, and of a hash only as much is kept as is not 0.
#[derive(Debug)]
pub struct BlockIndex {
    /// The blocks that can be found, by the heads of their hashes.
    table: HashTable<BlockId>,
    /// For each block the first 8 bytes of what it is found by; 0 where nothing finds it.
    heads: Vec<u64>,
    /// For each block the other 24; empty while those of all blocks are 0.
    tails: Vec<[u8; 24]>,
}

impl BlockIndex {
    /// Room for `num_blocks` blocks, none of which can be found.
    #[must_use]
    pub fn new(num_blocks: usize) -> Self {
        Self {
            table: HashTable::with_capacity(num_blocks),
            heads: vec![0; num_blocks],
            tails: Vec::new(),
        }
    }

    /// The block that holds this content.
    #[inline]
    #[must_use]
    pub fn get(&self, hash: BlockHash) -> Option<BlockId> {
        let is_it = |block: &BlockId| self.hash(*block) == hash;
        self.table.find(hash.head(), is_it).copied()
    }

    /// From now on this hash finds this block, and no other. A hash that begins with 8 bytes of 0, one
    /// in 2^64, finds nothing: that is what no hash looks like.
    pub fn insert(&mut self, hash: BlockHash, block: BlockId) {
        self.remove(block);
        if let Some(other) = self.get(hash) {
            self.remove(other);
        }
        if hash.head() == 0 {
            return;
        }
        let (index, tail) = (block.0 as usize, hash.tail());
        self.heads[index] = hash.head();
        if self.tails.is_empty() && tail != [0; 24] {
            self.tails.resize(self.heads.len(), [0; 24]);
        }
        if let Some(kept) = self.tails.get_mut(index) {
            *kept = tail;
        }
        let heads = &self.heads;
        let head = |block: &BlockId| heads[block.0 as usize];
        self.table.insert_unique(hash.head(), block, head);
    }

    /// From now on nothing finds this block. Returns what found it so far; `None` where nothing did.
    #[inline]
    pub fn remove(&mut self, block: BlockId) -> Option<BlockHash> {
        let head = self.heads[block.0 as usize];
        if head == 0 {
            return None;
        }
        let hash = self.hash(block);
        self.table.find_entry(head, |other| *other == block).ok()?.remove();
        self.heads[block.0 as usize] = 0;
        Some(hash)
    }

    /// What the block is found by, if it can be found.
    #[inline]
    fn hash(&self, block: BlockId) -> BlockHash {
        let index = block.0 as usize;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.heads[index].to_le_bytes());
        if let Some(tail) = self.tails.get(index) {
            bytes[8..].copy_from_slice(tail);
        }
        BlockHash(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Few hashes, so that they meet in chains and in blocks; some with a tail, one without a head.
    fn some_hash(random: &mut StdRng) -> BlockHash {
        let mut bytes = [0; 32];
        bytes[0] = random.random_range(0..24);
        bytes[7] = random.random_range(0..2);
        bytes[31] = random.random_range(0..2);
        BlockHash(bytes)
    }

    #[test]
    fn finds_what_a_map_would_find() {
        let mut random = StdRng::seed_from_u64(7);
        let mut index = BlockIndex::new(8);
        let mut map: HashMap<BlockHash, BlockId> = HashMap::new();
        for _ in 0..20_000 {
            let (hash, block) = (some_hash(&mut random), BlockId(random.random_range(0..8)));
            if random.random_bool(0.3) {
                let known = map.iter().find(|(_, held)| **held == block).map(|(hash, _)| *hash);
                assert_eq!(index.remove(block), known);
                map.retain(|_, held| *held != block);
            } else {
                index.insert(hash, block);
                map.retain(|_, held| *held != block);
                map.remove(&hash);
                if hash.head() != 0 {
                    map.insert(hash, block);
                }
            }
            let asked = some_hash(&mut random);
            assert_eq!(index.get(asked), map.get(&asked).copied());
        }
    }
}
