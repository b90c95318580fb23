//! Static batching: a batch starts together, and the next one waits until its last sequence is done.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{
    BlockPool, Chunk, Load, SampledToken, Scheduler, SchedulerLimits, Sequence, SequenceId,
    StepPlan, Tokens,
};

/// First come, first served, in batches that are never refilled.
///
/// Short answers wait for the longest of their batch: the places they leave stay empty.
#[derive(Debug)]
pub struct StaticScheduler<P> {
    limits: SchedulerLimits,
    pool: P,
    waiting: VecDeque<Sequence>,
    batch: Vec<Sequence>,
}

impl<P: BlockPool> StaticScheduler<P> {
    /// An idle scheduler. `pool` never runs out within a sequence's `max_len`, as
    /// [`ContiguousPool`](super::ContiguousPool) does.
    #[must_use]
    pub fn new(limits: SchedulerLimits, pool: P) -> Self {
        Self { limits, pool, waiting: VecDeque::new(), batch: Vec::new() }
    }

    /// Starts the next batch: as many waiting sequences as there are places and memory for.
    fn fill_batch(&mut self) {
        while self.batch.len() < self.limits.max_num_seqs {
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            match self.pool.admit(sequence.id, &sequence.tokens, sequence.max_len()) {
                Ok(cached) => sequence.computed = cached,
                Err(_) => return self.waiting.push_front(sequence),
            }
            self.batch.push(sequence);
        }
    }
}

// === impl Scheduler for StaticScheduler ===

impl<P: BlockPool> Scheduler for StaticScheduler<P> {
    fn add(&mut self, sequence: Sequence) {
        self.waiting.push_back(sequence);
    }

    fn remove(&mut self, id: SequenceId) -> bool {
        self.pool.free(id);
        let before = self.waiting.len() + self.batch.len();
        self.waiting.retain(|sequence| sequence.id != id);
        self.batch.retain(|sequence| sequence.id != id);
        before > self.waiting.len() + self.batch.len()
    }

    // ANCHOR: book_plan
    fn plan(&mut self, _now: Duration) -> StepPlan {
        if self.batch.is_empty() {
            self.fill_batch();
        }
        let mut plan = StepPlan::default();
        let mut budget = self.limits.max_num_batched_tokens;
        for sequence in &self.batch {
            let count = sequence.pending().min(budget);
            let end = sequence.computed + count;
            if count == 0 || self.pool.allocate(sequence.id, end).is_err() {
                continue;
            }
            budget -= count;
            plan.chunks.push(Chunk {
                sequence: sequence.id,
                start: sequence.computed,
                tokens: Tokens::from_slice(&sequence.tokens[sequence.computed..end]),
                block_table: self.pool.block_table(sequence.id),
                samples: end == sequence.tokens.len(),
            });
        }
        plan
    }
    // ANCHOR_END: book_plan

    fn commit(&mut self, plan: &StepPlan, sampled: &[SampledToken], _now: Duration) {
        let mut outcomes = plan.outcomes(sampled);
        for sequence in &mut self.batch {
            if let Some((chunk, token)) = outcomes.of(sequence.id) {
                sequence.commit(chunk.end(), token);
            }
        }
    }

    fn load(&self) -> Load {
        Load {
            waiting: self.waiting.len(),
            running: self.batch.len(),
            blocks_total: self.pool.num_blocks(),
            blocks_free: self.pool.num_free(),
            pool: self.pool.stats(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::ContiguousPool;

    const NOW: Duration = Duration::ZERO;

    fn step(scheduler: &mut impl Scheduler) -> StepPlan {
        let plan = scheduler.plan(NOW);
        let sampled: Vec<_> = plan
            .chunks
            .iter()
            .filter(|chunk| chunk.samples)
            .map(|chunk| SampledToken { sequence: chunk.sequence, token: 7 })
            .collect();
        scheduler.commit(&plan, &sampled, NOW);
        plan
    }

    #[test]
    fn a_place_stays_empty_until_the_whole_batch_is_done() {
        let limits = SchedulerLimits::try_new(2, 64).unwrap();
        let mut scheduler = StaticScheduler::new(limits, ContiguousPool::new(64, 4));
        for id in 0..3 {
            scheduler.add(Sequence::new(SequenceId(id), vec![1, 2, 3], 8));
        }
        assert_eq!(step(&mut scheduler).num_tokens(), 6);
        assert!(scheduler.remove(SequenceId(0)));
        assert_eq!(step(&mut scheduler).num_tokens(), 1);
        assert_eq!(scheduler.load().waiting, 1);
        assert!(scheduler.remove(SequenceId(1)));
        assert_eq!(step(&mut scheduler).chunks[0].sequence, SequenceId(2));
    }

    #[test]
    fn a_long_prompt_is_cut_at_the_token_budget() {
        let limits = SchedulerLimits::try_new(1, 4).unwrap();
        let mut scheduler = StaticScheduler::new(limits, ContiguousPool::new(64, 4));
        scheduler.add(Sequence::new(SequenceId(0), (0..6).collect(), 8));
        assert!(!step(&mut scheduler).chunks[0].samples);
        let second = step(&mut scheduler);
        assert_eq!((second.chunks[0].start, second.chunks[0].samples), (4, true));
    }
}
