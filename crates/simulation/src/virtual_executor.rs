//! An executor without a model: it moves a virtual clock on by what the step would cost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serving::{
    Executor, ExecutorError, Load, SampledToken, SamplingParams, Scheduler, SchedulerLimits,
    Sequence, SequenceId, StepOutput, StepPlan, TokenId,
};

use crate::{Fault, Limit, StepCost, StepTime};

/// Says what bound a step: a part of its time, or what kept waiting requests out of it. Gets the plan, its time, the
/// load right after planning, and the scheduler's limits.
pub type Binding = fn(&StepPlan, &StepTime, &Load, SchedulerLimits) -> Limit;

/// The clock of one replica, shared between its executor, which moves it, and whoever drives its engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct VirtualClock(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    now: Duration,
    step: Option<StepTime>,
    faults: Vec<Fault>,
    /// Right after the step was planned.
    planned: Load,
    binding: Option<Binding>,
    binds: Option<Limit>,
}

impl VirtualClock {
    /// Sets the clock, and forgets the last step.
    pub(crate) fn set(&self, now: Duration) {
        let mut state = self.state();
        state.now = now;
        state.step = None;
        state.binds = None;
    }

    pub(crate) fn set_binding(&self, binding: Binding) {
        self.state().binding = Some(binding);
    }

    /// What bound the step that was executed since the clock was set.
    pub(crate) fn binds(&self) -> Option<Limit> {
        self.state().binds
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
    pub(crate) limits: SchedulerLimits,
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
        let binding = |binding: Binding| binding(plan, &step, &state.planned, self.limits);
        state.binds = Some(state.binding.map_or(step.binds, binding));
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

/// A scheduler whose load is looked at between planning a step and executing it.
pub(crate) struct Watched {
    pub(crate) scheduler: Box<dyn Scheduler>,
    pub(crate) clock: VirtualClock,
}

// === impl Scheduler for Watched ===

impl Scheduler for Watched {
    fn add(&mut self, sequence: Sequence) {
        self.scheduler.add(sequence);
    }

    fn remove(&mut self, id: SequenceId) -> bool {
        self.scheduler.remove(id)
    }

    fn plan(&mut self, now: Duration) -> StepPlan {
        let plan = self.scheduler.plan(now);
        self.clock.state().planned = self.scheduler.load();
        plan
    }

    fn commit(&mut self, plan: &StepPlan, sampled: &[SampledToken], now: Duration) {
        self.scheduler.commit(plan, sampled, now);
    }

    fn load(&self) -> Load {
        self.scheduler.load()
    }
}

/// The token of an answer: a function of whose and which it is, so that a recomputed sequence finds its own
/// blocks again and nobody else's.
fn answer_token(sequence: SequenceId, position: usize) -> TokenId {
    (sequence.0 as u32).wrapping_mul(0x85eb_ca77).wrapping_add(position as u32)
}
