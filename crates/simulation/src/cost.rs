//! How long a step takes, and why.

use std::time::Duration;

use serde::Serialize;
use serving::StepPlan;

/// What keeps an engine from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Moving weights and KV cache from memory takes longest: typical of decode.
    MemoryBandwidth,
    /// Arithmetic takes longest: typical of prefill.
    Compute,
    /// Scheduling, launching kernels, sampling and detokenizing on the host take longest.
    HostOverhead,
    /// Requests wait because no KV block is free.
    KvCapacity,
    /// Requests wait because `max_num_seqs` sequences run already.
    Queue,
}

impl Limit {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] =
        [Self::MemoryBandwidth, Self::Compute, Self::HostOverhead, Self::KvCapacity, Self::Queue];
}

/// How long one step takes, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTime {
    /// If only arithmetic cost time.
    pub compute: Duration,
    /// If only memory traffic cost time.
    pub memory: Duration,
    /// On the host, beside the device or before it.
    pub host: Duration,
    /// The step, from plan to sampled tokens.
    pub total: Duration,
    /// The largest part: [`Limit::Compute`], [`Limit::MemoryBandwidth`] or [`Limit::HostOverhead`].
    pub binds: Limit,
}

/// Predicts how long a step takes.
pub trait StepCost: Send {
    /// The time of one step that runs this plan. An empty plan takes no time.
    fn step_time(&self, plan: &StepPlan) -> StepTime;
}

impl<C: StepCost + ?Sized> StepCost for Box<C> {
    fn step_time(&self, plan: &StepPlan) -> StepTime {
        (**self).step_time(plan)
    }
}

/// A cost that is linear in what a step feeds and reads: a line fitted to measured steps.
///
/// Knows no device: good for checks of a scheduler, where the shape of the cost matters and its
/// origin does not. Vidur (Agrawal et al., MLSys 2024) learns such curves from profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearCost {
    /// Each step, however small: launches, weights, sampling.
    pub step: Duration,
    /// Each token fed.
    pub token: Duration,
    /// Each token of context that is read from the KV cache, over all sequences.
    pub context_token: Duration,
}

impl StepCost for LinearCost {
    fn step_time(&self, plan: &StepPlan) -> StepTime {
        if plan.is_empty() {
            let zero = Duration::ZERO;
            let binds = Limit::HostOverhead;
            return StepTime { compute: zero, memory: zero, host: zero, total: zero, binds };
        }
        let context: usize = plan.chunks.iter().map(serving::Chunk::end).sum();
        let compute = times(self.token, plan.num_tokens());
        let memory = times(self.context_token, context);
        let total = self.step + compute + memory;
        let binds = if self.step >= compute.max(memory) {
            Limit::HostOverhead
        } else if compute >= memory {
            Limit::Compute
        } else {
            Limit::MemoryBandwidth
        };
        StepTime { compute, memory, host: self.step, total, binds }
    }
}

fn times(each: Duration, count: usize) -> Duration {
    Duration::from_nanos(each.as_nanos() as u64 * count as u64)
}

#[cfg(test)]
mod tests {
    use serving::{BlockTable, Chunk, SequenceId};

    use super::*;

    fn plan(chunks: &[(usize, usize)]) -> StepPlan {
        let chunk = |(index, &(start, count)): (usize, &(usize, usize))| Chunk {
            sequence: SequenceId(index as u64),
            start,
            tokens: std::iter::repeat_n(0, count).collect(),
            block_table: BlockTable::default(),
            samples: true,
        };
        StepPlan { chunks: chunks.iter().enumerate().map(chunk).collect(), preempted: Vec::new() }
    }

    const COST: LinearCost = LinearCost {
        step: Duration::from_millis(5),
        token: Duration::from_micros(100),
        context_token: Duration::from_micros(1),
    };

    #[test]
    fn a_step_costs_its_base_its_tokens_and_its_context() {
        let time = COST.step_time(&plan(&[(999, 1), (0, 100)]));
        assert_eq!(time.total, Duration::from_micros(5_000 + 10_100 + 1_100));
        assert_eq!(time.binds, Limit::Compute);
        assert_eq!(COST.step_time(&plan(&[(10, 1)])).binds, Limit::HostOverhead);
        assert_eq!(COST.step_time(&plan(&[(9_999, 1)])).binds, Limit::MemoryBandwidth);
    }

    #[test]
    fn nothing_to_run_takes_no_time() {
        assert_eq!(COST.step_time(&StepPlan::default()).total, Duration::ZERO);
    }
}
