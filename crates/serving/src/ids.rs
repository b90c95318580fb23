//! Names of things: newtypes, so that a block is never taken for a sequence.

use std::collections::{HashMap, HashSet};
use std::fmt;

use rustc_hash::FxBuildHasher;

/// An index into the model's vocabulary. A plain number, as tokenizers and tensors want it.
pub type TokenId = u32;

/// One sequence of tokens inside the engine. A request for `n` choices becomes `n` sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Things by sequence. The engine counts its ids itself, so nobody can choose them to collide, and a fast hash will
/// do.
pub type SequenceMap<T> = HashMap<SequenceId, T, FxBuildHasher>;

/// A set of sequences.
pub(crate) type SequenceSet = HashSet<SequenceId, FxBuildHasher>;

/// One block of the paged KV cache: `block_size` consecutive token slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sequence {}", self.0)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}", self.0)
    }
}
