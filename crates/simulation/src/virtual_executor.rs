//! An executor without a model: it moves a virtual clock on by what the step would cost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serving::{
    Executor, ExecutorError, SampledToken, SamplingParams, SequenceId, StepOutput, StepPlan,
    TokenId,
};

use crate::{Fault, StepCost, StepTime};

/// The clock of one replica, shared between its executor, which moves it, and whoever drives its engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct VirtualClock(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    now: Duration,
    step: Option<StepTime>,
    faults: Vec<Fault>,
}

impl VirtualClock {
    /// Sets the clock, and forgets the last step.
    pub(crate) fn set(&self, now: Duration) {
        let mut state = self.state();
        state.now = now;
        state.step = None;
    }

    pub(crate) fn add_fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub(crate) fn now(&self) -> Duration {
        self.state().now
    }

    /// What the step took that was executed since the clock was set.
    pub(crate) fn step(&self) -> Option<StepTime> {
        self.state().step
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // One thread drives a replica; the lock is only there because an executor may be moved.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Predicts each step and samples tokens that nobody reads.
pub(crate) struct VirtualExecutor {
    pub(crate) cost: Box<dyn StepCost>,
    pub(crate) clock: VirtualClock,
}

// === impl Executor for VirtualExecutor ===

impl Executor for VirtualExecutor {
    fn register(&mut self, _id: SequenceId, _prompt: &[TokenId], _params: &SamplingParams) {}

    fn release(&mut self, _id: SequenceId) {}

    fn execute(&mut self, plan: &StepPlan) -> Result<StepOutput, ExecutorError> {
        let mut state = self.clock.state();
        let predicted = self.cost.step_time(plan);
        let now = state.now;
        let step = state.faults.iter().fold(predicted, |step, fault| fault.apply(now, step));
        state.now += step.total;
        state.step = Some(step);
        let sampling = plan.chunks.iter().filter(|chunk| chunk.samples);
        let sample = |chunk: &serving::Chunk| SampledToken {
            sequence: chunk.sequence,
            token: answer_token(chunk.sequence, chunk.end()),
        };
        let mut sampled = Vec::with_capacity(plan.chunks.len());
        sampled.extend(sampling.map(sample));
        Ok(sampled.into())
    }
}

/// The token of an answer: a function of whose and which it is, so that a recomputed sequence finds its own
/// blocks again and nobody else's.
fn answer_token(sequence: SequenceId, position: usize) -> TokenId {
    (sequence.0 as u32).wrapping_mul(0x85eb_ca77).wrapping_add(position as u32)
}
