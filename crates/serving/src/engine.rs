//! The engine's inner loop: plan, execute, commit, and say what happened.

use std::time::Duration;

use crate::ids::SequenceSet;
use crate::{
    Chunk, Executor, ExecutorError, Load, SamplingParams, Scheduler, Sequence, SequenceId,
    SequenceLogprobs, StepOutput, StepPlan, TokenId,
};

/// What happened to one sequence in a step, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Whom it happened to.
    pub sequence: SequenceId,
    /// When, since the engine started.
    pub at: Duration,
    /// What.
    pub kind: ProgressKind,
}

/// What can happen to a sequence in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressKind {
    /// It got a place in a step, for the first time or again.
    Scheduled {
        /// Leading tokens that the prefix cache held.
        cached_tokens: usize,
    },
    /// It lost its blocks and waits again.
    Preempted,
    /// Its (re)prefill is complete.
    PrefillDone,
    /// It got a new token.
    Token(TokenId),
}

/// One step, as metrics want to know it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepReport {
    /// When planning began.
    pub started: Duration,
    /// When the sampled tokens were known.
    pub ended: Duration,
    /// Tokens fed to the model by chunks of sequences in prefill.
    pub prefill_tokens: usize,
    /// Tokens fed by sequences in decode, one each.
    pub decode_tokens: usize,
    /// What happened, in order.
    pub progress: Vec<Progress>,
    /// How likely tokens were, for sequences that asked.
    pub logprobs: Vec<SequenceLogprobs>,
}

/// The engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model failed.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The executor broke its contract.
    #[error("the executor returned {got} tokens where the plan samples {expected}")]
    WrongCount {
        /// Chunks of the plan that sample.
        expected: usize,
        /// Tokens returned.
        got: usize,
    },
}

/// A scheduler and an executor, run in step.
pub struct Engine {
    scheduler: Box<dyn Scheduler>,
    executor: Box<dyn Executor>,
    /// The sequences that hold a place.
    placed: SequenceSet,
    /// Those of them whose prefill is not complete.
    prefilling: SequenceSet,
}

impl Engine {
    /// An idle engine.
    #[must_use]
    pub fn new(scheduler: Box<dyn Scheduler>, executor: Box<dyn Executor>) -> Self {
        Self {
            scheduler,
            executor,
            placed: SequenceSet::default(),
            prefilling: SequenceSet::default(),
        }
    }

    /// Takes a new sequence.
    pub fn add(&mut self, sequence: Sequence, params: &SamplingParams) {
        self.executor.register(sequence.id, &sequence.tokens, params);
        self.scheduler.add(sequence);
    }

    /// Forgets a sequence that finished or was aborted; its blocks are free when this returns.
    pub fn remove(&mut self, id: SequenceId) {
        self.scheduler.remove(id);
        self.executor.release(id);
        self.placed.remove(&id);
        self.prefilling.remove(&id);
    }

    /// How full the scheduler is.
    #[must_use]
    pub fn load(&self) -> Load {
        self.scheduler.load()
    }

    /// Runs one step. `None` where the scheduler had nothing to run.
    ///
    /// # Errors
    /// [`EngineError`] where the executor fails; the engine must not be stepped again.
    // ANCHOR: book_step
    pub fn step(
        &mut self,
        clock: &dyn Fn() -> Duration,
    ) -> Result<Option<StepReport>, EngineError> {
        let started = clock();
        let plan = self.scheduler.plan(started);
        let mut progress = self.note_places(&plan, started);
        if plan.is_empty() {
            let preempted_only = !progress.is_empty();
            return Ok(preempted_only.then_some(StepReport {
                started,
                ended: started,
                progress,
                ..StepReport::default()
            }));
        }
        let (prefill_tokens, decode_tokens) = self.split(&plan);
        let StepOutput { sampled, logprobs } = self.executor.execute(&plan)?;
        let expected = plan.chunks.iter().filter(|chunk| chunk.samples).count();
        if sampled.len() != expected {
            return Err(EngineError::WrongCount { expected, got: sampled.len() });
        }
        let ended = clock();
        self.scheduler.commit(&plan, &sampled, ended);
        for sample in &sampled {
            let (sequence, at) = (sample.sequence, ended);
            if !self.prefilling.is_empty() && self.prefilling.remove(&sequence) {
                progress.push(Progress { sequence, at, kind: ProgressKind::PrefillDone });
            }
            progress.push(Progress { sequence, at, kind: ProgressKind::Token(sample.token) });
        }
        Ok(Some(StepReport { started, ended, prefill_tokens, decode_tokens, progress, logprobs }))
    }
    // ANCHOR_END: book_step

    /// Who lost its place in this plan, and who got one.
    fn note_places(&mut self, plan: &StepPlan, at: Duration) -> Vec<Progress> {
        let mut progress = Vec::with_capacity(plan.chunks.len() + plan.preempted.len());
        for &sequence in &plan.preempted {
            self.placed.remove(&sequence);
            self.prefilling.remove(&sequence);
            progress.push(Progress { sequence, at, kind: ProgressKind::Preempted });
        }
        for chunk in &plan.chunks {
            if !self.placed.contains(&chunk.sequence) {
                self.placed.insert(chunk.sequence);
                self.prefilling.insert(chunk.sequence);
                let kind = ProgressKind::Scheduled { cached_tokens: chunk.start };
                progress.push(Progress { sequence: chunk.sequence, at, kind });
            }
        }
        progress
    }

    /// Tokens of the plan in prefill, and in decode.
    fn split(&self, plan: &StepPlan) -> (usize, usize) {
        if self.prefilling.is_empty() {
            return (0, plan.num_tokens());
        }
        let in_prefill = |chunk: &&Chunk| self.prefilling.contains(&chunk.sequence);
        let prefill = plan.chunks.iter().filter(in_prefill).map(|chunk| chunk.tokens.len()).sum();
        (prefill, plan.num_tokens() - prefill)
    }
}
