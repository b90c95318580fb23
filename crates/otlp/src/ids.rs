//! Names of traces and spans.

use std::hash::{BuildHasher, RandomState};

/// Two sources of ids, so that tests know them.
pub trait Ids {
    /// Of a trace that begins here. Not zero.
    fn trace_id(&mut self) -> u128;
    /// Of a span. Not zero.
    fn span_id(&mut self) -> u64;
}

/// Ids from the hasher's random keys.
#[derive(Debug, Default)]
pub struct RandomIds {
    keys: RandomState,
    count: u64,
}

impl Ids for RandomIds {
    fn trace_id(&mut self) -> u128 {
        u128::from(self.span_id()) << 64 | u128::from(self.span_id())
    }

    fn span_id(&mut self) -> u64 {
        self.count += 1;
        // Zero is no id.
        self.keys.hash_one(self.count).max(1)
    }
}
