//! Task 1.3, from static to continuous batching: who runs in the next step, decided anew for every
//! step.
//!
//! Iteration-level scheduling is Orca's idea (Yu et al., OSDI 2022); cutting prompts into chunks
//! beside the decodes is Sarathi's (Agrawal et al., OSDI 2024). Knows blocks only through
//! [`BlockPool`]: contiguous or paged, the scheduler is the same.

use std::collections::VecDeque;
use std::time::Duration;

use serving::baseline::FixedBudget;
use serving::{
    BlockPool, Chunk, Demand, Load, SampledToken, Scheduler, SchedulerLimits, Sequence, SequenceId,
    StepPlan, StepSample, TokenBudget, Tokens,
};

use crate::preemption::preempt_last;

/// First come, first served, with a token budget for each step and places that are refilled in
/// every step.
#[derive(Debug)]
pub struct ContinuousScheduler<P> {
    limits: SchedulerLimits,
    pool: P,
    /// Sequences without blocks, in the order in which they get a place.
    waiting: VecDeque<Sequence>,
    /// Sequences with blocks, oldest first.
    running: Vec<Sequence>,
    /// How many tokens a step may feed, within `limits`.
    budget: Box<dyn TokenBudget>,
    /// When the step that runs now was planned.
    planned_at: Duration,
}

impl<P: BlockPool> ContinuousScheduler<P> {
    /// An idle scheduler that spends `max_num_batched_tokens` in every step.
    #[must_use]
    pub fn new(limits: SchedulerLimits, pool: P) -> Self {
        Self {
            limits,
            pool,
            waiting: VecDeque::new(),
            running: Vec::new(),
            budget: Box::new(FixedBudget),
            planned_at: Duration::ZERO,
        }
    }

    /// Lets `budget` decide how many tokens each step feeds.
    #[must_use]
    pub fn with_budget(mut self, budget: Box<dyn TokenBudget>) -> Self {
        self.budget = budget;
        self
    }

    /// The block pool, to look at.
    #[must_use]
    pub fn pool(&self) -> &P {
        &self.pool
    }

    /// Gives every running sequence, oldest first, its part of this step: adds chunks to `plan` and
    /// takes their tokens from `budget`.
    fn plan_running(&mut self, plan: &mut StepPlan, budget: &mut usize) {
        // For each running sequence, while there is budget:
        // - feed all its pending tokens (one in decode, the rest of the prompt in prefill), but no
        //   more than the budget: what is cut off runs in a later step,
        // - allocate slots up to the end of that chunk. While the pool has none, call
        //   `preempt_last`: it takes the youngest running sequence out of `self.running`. Try
        //   again, unless it took this very one: then there is nobody younger left, and you are
        //   done,
        // - add the `chunk` to the plan and pay for its tokens.
        // ANCHOR: task_1_3_running
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            let sequence = &self.running[index];
            let id = sequence.id;
            let count = sequence.pending().min(*budget);
            let end = sequence.computed + count;
            while self.pool.allocate(id, end).is_err() {
                let victim =
                    preempt_last(&mut self.pool, &mut self.running, &mut self.waiting, plan);
                if victim.is_none_or(|victim| victim == id) {
                    return;
                }
            }
            plan.chunks.push(chunk(&self.pool, &self.running[index], count));
            *budget -= count;
            index += 1;
        }
        // ANCHOR_END: task_1_3_running
    }

    /// Gives free places to waiting sequences, first come, first served, and plans their first
    /// chunks.
    fn admit_waiting(&mut self, plan: &mut StepPlan, budget: &mut usize) {
        // While there is budget and a place (`max_num_seqs` counts all that run), look at the front
        // of the queue:
        // - `admit` it to the pool. The pool says how many leading tokens it holds already: they
        //   count as `computed` and cost no budget,
        // - feed the pending tokens, but no more than the budget, and allocate slots for them,
        // - move it from `waiting` to `running`, add its `chunk` to the plan, pay for its tokens.
        // Where the pool refuses either, free what was admitted, leave the sequence where it was
        // and stop. Nobody overtakes: a later, shorter one that would fit must wait, or long ones
        // starve.
        // ANCHOR: task_1_3_admit
        while *budget > 0 && self.running.len() < self.limits.max_num_seqs {
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            let admitted = self.pool.admit(sequence.id, &sequence.tokens, sequence.max_len());
            sequence.computed = admitted.unwrap_or(0);
            let count = sequence.pending().min(*budget);
            let end = sequence.computed + count;
            if admitted.is_err() || self.pool.allocate(sequence.id, end).is_err() {
                self.pool.free(sequence.id);
                sequence.computed = 0;
                return self.waiting.push_front(sequence);
            }
            plan.chunks.push(chunk(&self.pool, &sequence, count));
            *budget -= count;
            self.running.push(sequence);
        }
        // ANCHOR_END: task_1_3_admit
    }
}

// What the token budget asks and is told: given.
impl<P> ContinuousScheduler<P> {
    fn demand(&self) -> Demand {
        let limit = self.limits.max_num_batched_tokens;
        let mut demand = Demand { limit, ..Demand::default() };
        for sequence in self.running.iter().chain(&self.waiting) {
            if decodes(sequence) {
                demand.decodes += 1;
                demand.context_tokens += sequence.computed;
            } else if demand.prefill_tokens < limit {
                demand.prefill_tokens = limit.min(demand.prefill_tokens + sequence.pending());
            } else if sequence.computed == 0 {
                // The queue may be long, and nothing in it can change the answer any more.
                break;
            }
        }
        demand
    }

    /// What the step that ran was made of.
    fn sample(&self, plan: &StepPlan, decode_tokens: usize, now: Duration) -> StepSample {
        StepSample {
            prefill_tokens: plan.num_tokens() - decode_tokens,
            decode_tokens,
            elapsed: now.saturating_sub(self.planned_at),
        }
    }
}

/// Whether only the token sampled last is pending.
fn decodes(sequence: &Sequence) -> bool {
    sequence.computed > 0 && sequence.generated() > 0 && sequence.pending() == 1
}

/// The next `count` pending tokens of a sequence that has slots for them.
fn chunk<P: BlockPool>(pool: &P, sequence: &Sequence, count: usize) -> Chunk {
    let end = sequence.computed + count;
    Chunk {
        sequence: sequence.id,
        start: sequence.computed,
        tokens: Tokens::from_slice(&sequence.tokens[sequence.computed..end]),
        block_table: pool.block_table(sequence.id),
        samples: end == sequence.tokens.len(),
    }
}

// === impl Scheduler for ContinuousScheduler ===

impl<P: BlockPool> Scheduler for ContinuousScheduler<P> {
    fn add(&mut self, sequence: Sequence) {
        self.waiting.push_back(sequence);
    }

    fn remove(&mut self, id: SequenceId) -> bool {
        self.pool.free(id);
        let is_it = |sequence: &Sequence| sequence.id == id;
        if let Some(index) = self.running.iter().position(is_it) {
            self.running.remove(index);
            return true;
        }
        let place = self.waiting.iter().position(is_it);
        place.and_then(|index| self.waiting.remove(index)).is_some()
    }

    fn plan(&mut self, now: Duration) -> StepPlan {
        let mut plan = StepPlan::default();
        plan.chunks.reserve(self.running.len() + 1);
        let demand = self.demand();
        let mut budget = self.budget.next(&demand).min(demand.limit);
        self.planned_at = now;
        self.plan_running(&mut plan, &mut budget);
        // A step that had to take blocks away has none to give to newcomers.
        if plan.preempted.is_empty() {
            self.admit_waiting(&mut plan, &mut budget);
        }
        plan
    }

    fn commit(&mut self, plan: &StepPlan, sampled: &[SampledToken], now: Duration) {
        let mut outcomes = plan.outcomes(sampled);
        let mut decode_tokens = 0;
        for sequence in &mut self.running {
            let Some((chunk, token)) = outcomes.of(sequence.id) else { continue };
            decode_tokens += usize::from(decodes(sequence));
            // The chunk's tokens are in the cache now. `Sequence::commit` takes note: how many
            // leading tokens it holds from now on, and the new `token`, which is not computed yet:
            // it is the one that the next step feeds. Then `publish` what is computed, and no token
            // more, so that the pool may share full blocks.
            // ANCHOR: task_1_3_commit
            sequence.commit(chunk.end(), token);
            self.pool.publish(sequence.id, &sequence.tokens[..sequence.computed]);
            // ANCHOR_END: task_1_3_commit
        }
        self.budget.observe(&self.sample(plan, decode_tokens, now));
    }

    fn load(&self) -> Load {
        Load {
            waiting: self.waiting.len(),
            running: self.running.len(),
            blocks_total: self.pool.num_blocks(),
            blocks_free: self.pool.num_free(),
            pool: self.pool.stats(),
        }
    }
}
