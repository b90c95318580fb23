//! Affinity and load together: the policy.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use routing::{EndpointId, EndpointView, KvEvent, Policy, RouteRequest};

use crate::affinity::{Affinity, PrefixCacheScorer, keep_warm};
use crate::kv_events::KvNames;
use crate::load::{Limits, keep_unsaturated};
use crate::picker::max_score;
use crate::pipeline::{Weighted, candidates, load_scorers, total};
use crate::prefix_blocks::{BlockName, PrefixBlocks};
use crate::prefix_index::{CAPACITY, MAX_ENDPOINTS, PrefixIndex};

/// The weight of the prefix scorer in the inference extension's defaults, beside 2 for the queue and 2 for the KV cache.
pub const PREFIX_WEIGHT: f64 = 3.0;

/// Sends requests where their beginning is cached, as long as that is wise.
pub struct PrefixAware {
    blocks: PrefixBlocks,
    index: PrefixIndex,
    told: BTreeMap<EndpointId, KvNames>,
    affinity: Affinity,
    limits: Limits,
    scorers: Vec<Weighted>,
    rng: Rng,
    /// Of the request at hand.
    names: Vec<BlockName>,
}

// === impl PrefixAware ===

impl PrefixAware {
    /// The prefix scorer beside those of load. Equal seeds give equal choices.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        let mut scorers = load_scorers();
        scorers.push(Weighted::new(PREFIX_WEIGHT, PrefixCacheScorer));
        Self {
            blocks: PrefixBlocks::default(),
            index: PrefixIndex::new(CAPACITY),
            told: BTreeMap::new(),
            affinity: Affinity::default(),
            limits,
            scorers,
            rng: Rng::with_seed(seed),
            names: Vec::new(),
        }
    }

    /// The prefix alone: where it is cached, whatever else happens there.
    #[must_use]
    pub fn prefix_only(seed: u64) -> Self {
        let scorers = vec![Weighted::new(1.0, PrefixCacheScorer)];
        let affinity = Affinity::NEVER_BREAKS;
        Self { scorers, affinity, ..Self::new(Limits::default(), seed) }
    }

    /// Another rule of when to stay.
    #[must_use]
    pub fn with_affinity(mut self, affinity: Affinity) -> Self {
        self.affinity = affinity;
        self
    }

    /// Other blocks, and room for `capacity` of them for each endpoint. Forgets what it knew.
    #[must_use]
    pub fn with_blocks(mut self, blocks: PrefixBlocks, capacity: usize) -> Self {
        self.blocks = blocks;
        self.index = PrefixIndex::new(capacity);
        self
    }

    /// What it believes.
    #[must_use]
    pub fn index(&self) -> &PrefixIndex {
        &self.index
    }
}

impl Policy for PrefixAware {
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize> {
        self.blocks.name(request.prompt, &mut self.names);
        let mut candidates = candidates(endpoints, now, &self.limits);
        for candidate in &mut candidates {
            let matched = self.index.matched(candidate.view.id, &self.names);
            candidate.matched = matched as f64 / self.names.len().max(1) as f64;
        }
        // Who keeps a warm cache may be saturated: leaving it for that costs more than waiting. `keep_warm` knows the limit.
        if !keep_warm(&mut candidates, &self.affinity, &mut self.rng) {
            keep_unsaturated(&mut candidates, &self.limits);
        }
        let scores = total(&self.scorers, &candidates);
        let picked = candidates.get(max_score(&scores, &mut self.rng)?)?;
        // Before the answer, not after it: the next request of this kind may come within a millisecond.
        self.index.record(picked.view.id, &self.names);
        Some(picked.index)
    }

    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        // Of who holds nothing there is nothing to remember, and others' place is not taken for it.
        if *event == KvEvent::Cleared {
            return self.forget(endpoint);
        }
        if self.told.len() >= MAX_ENDPOINTS && !self.told.contains_key(&endpoint) {
            self.told.pop_first();
        }
        let names = self.told.entry(endpoint).or_default();
        names.apply(event, &self.blocks, self.index.held_by(endpoint));
    }

    fn forget(&mut self, endpoint: EndpointId) {
        self.index.forget(endpoint);
        self.told.remove(&endpoint);
    }

    fn reads_prompt(&self) -> bool {
        true
    }
}
