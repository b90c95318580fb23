//! Task 2.2, its second step: who holds what.
//!
//! For each endpoint, the names of the blocks that it is believed to have in its KV cache. Nobody told us: whoever got a
//! prompt has computed it, and what it has not used for long it has evicted. So the index is a model of the endpoint's
//! cache, with the cache's own rule (least recently used first) and about its size. It is wrong now and then. A wrong
//! guess costs a computation that would otherwise have been certain.

use std::collections::BTreeMap;

use routing::EndpointId;

use crate::prefix_blocks::BlockName;
use crate::recency::Recency;

/// Blocks that an endpoint is believed to hold, unless told otherwise: half a million tokens.
pub const CAPACITY: usize = 8_192;
/// Endpoints of which anything is known. One more takes the place of the one with the smallest id, the oldest.
pub const MAX_ENDPOINTS: usize = 1_024;

/// Which endpoint holds which blocks.
#[derive(Debug, Clone)]
pub struct PrefixIndex {
    held: BTreeMap<EndpointId, Recency>,
    capacity: usize,
}

// === impl PrefixIndex ===

impl PrefixIndex {
    /// An empty index of at most `capacity` blocks for each endpoint.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { held: BTreeMap::new(), capacity }
    }

    /// How many blocks of this prompt, from its first, the endpoint is believed to hold.
    #[must_use]
    pub fn matched(&self, endpoint: EndpointId, names: &[BlockName]) -> usize {
        let Some(held) = self.held.get(&endpoint) else { return 0 };
        // Up to the first block that it does not hold. A later one is of no use to the engine without all before it. Looking
        // is no use of a block: only `record` is.
        // ANCHOR: task_2_2_matched
        todo!("task 2.2")
        // ANCHOR_END: task_2_2_matched
    }

    /// Takes note that an endpoint computes, or has found, all blocks of a prompt.
    pub fn record(&mut self, endpoint: EndpointId, names: &[BlockName]) {
        let held = self.held_by(endpoint);
        // Every block of the prompt was just used (`touch`). A full set forgets the block whose last touch is the longest ago;
        // make sure that of one prompt its end goes first, and its beginning, which other prompts share, last. Of a prompt
        // that is larger than the set, the beginning stays.
        // ANCHOR: task_2_2_record
        todo!("task 2.2")
        // ANCHOR_END: task_2_2_record
    }

    /// What an endpoint is believed to hold.
    pub fn held_by(&mut self, endpoint: EndpointId) -> &mut Recency {
        if self.held.len() >= MAX_ENDPOINTS && !self.held.contains_key(&endpoint) {
            self.held.pop_first();
        }
        let capacity = self.capacity;
        self.held.entry(endpoint).or_insert_with(|| Recency::new(capacity))
    }

    /// Forgets an endpoint that is gone.
    pub fn forget(&mut self, endpoint: EndpointId) {
        self.held.remove(&endpoint);
    }

    /// Blocks that are remembered, over all endpoints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.values().map(Recency::len).sum()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
