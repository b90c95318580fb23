//! The engine's loop over random workloads: what it reports is complete, in order, and true.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use serving::baseline::{ContiguousPool, StaticScheduler};
use serving::{
    Engine, EngineError, Executor, ExecutorError, ProgressKind, SampledToken, SamplingParams,
    SchedulerLimits, Sequence, SequenceId, StepOutput, StepPlan, TokenId,
};

const BLOCK_SIZE: usize = 4;

/// Answers every sampling chunk with the position that its token will take.
struct Positions;

impl Executor for Positions {
    fn register(&mut self, _id: SequenceId, _prompt: &[TokenId], _params: &SamplingParams) {}
    fn release(&mut self, _id: SequenceId) {}
    fn execute(&mut self, plan: &StepPlan) -> Result<StepOutput, ExecutorError> {
        let sampling = plan.chunks.iter().filter(|chunk| chunk.samples);
        let token = |end: usize| u32::try_from(end).expect("short sequences");
        let sampled: Vec<_> = sampling
            .map(|chunk| SampledToken { sequence: chunk.sequence, token: token(chunk.end()) })
            .collect();
        Ok(sampled.into())
    }
}

/// Forgets one token.
struct Forgetful;

impl Executor for Forgetful {
    fn register(&mut self, _id: SequenceId, _prompt: &[TokenId], _params: &SamplingParams) {}
    fn release(&mut self, _id: SequenceId) {}
    fn execute(&mut self, _plan: &StepPlan) -> Result<StepOutput, ExecutorError> {
        Ok(StepOutput::default())
    }
}

fn engine(max_num_seqs: usize, budget: usize, executor: impl Executor + 'static) -> Engine {
    let limits = SchedulerLimits::try_new(max_num_seqs, budget).expect("valid limits");
    let pool = ContiguousPool::new(256, BLOCK_SIZE);
    Engine::new(Box::new(StaticScheduler::new(limits, pool)), Box::new(executor))
}

proptest! {
    #[test]
    fn every_sequence_is_scheduled_once_prefilled_once_and_gets_its_tokens_in_order(
        lengths in prop::collection::vec((1usize..20, 1usize..8), 1..12),
        max_num_seqs in 1usize..5,
        spare_budget in 0usize..12,
    ) {
        let mut engine = engine(max_num_seqs, max_num_seqs + spare_budget, Positions);
        for (id, (prompt, output)) in lengths.iter().enumerate() {
            let sequence = Sequence::new(SequenceId(id as u64), vec![9; *prompt], *output);
            engine.add(sequence, &SamplingParams::greedy());
        }
        let ticks = Cell::new(0u64);
        let clock = || {
            ticks.set(ticks.get() + 1);
            Duration::from_millis(ticks.get())
        };
        let mut seen: HashMap<SequenceId, Vec<ProgressKind>> = HashMap::new();
        let mut fed = 0;
        while let Some(report) = engine.step(&clock).expect("steps") {
            prop_assert!(report.started < report.ended);
            fed += report.prefill_tokens + report.decode_tokens;
            for progress in report.progress {
                let kinds = seen.entry(progress.sequence).or_default();
                kinds.push(progress.kind);
                let tokens = kinds.iter().filter(|k| matches!(k, ProgressKind::Token(_))).count();
                let index = usize::try_from(progress.sequence.0).expect("small");
                if tokens == lengths[index].1 {
                    engine.remove(progress.sequence);
                }
            }
        }
        let expected: usize = lengths.iter().map(|(prompt, output)| prompt + output - 1).sum();
        prop_assert_eq!(fed, expected);
        for (id, (prompt, output)) in lengths.iter().enumerate() {
            let kinds = &seen[&SequenceId(id as u64)];
            let mut wanted =
                vec![ProgressKind::Scheduled { cached_tokens: 0 }, ProgressKind::PrefillDone];
            let positions = *prompt..prompt + output;
            wanted.extend(positions.map(|at| ProgressKind::Token(at as u32)));
            prop_assert_eq!(kinds, &wanted);
        }
        prop_assert_eq!(engine.load().blocks_free, engine.load().blocks_total);
    }
}

#[test]
fn an_executor_that_loses_a_token_is_found_out() {
    let mut engine = engine(1, 8, Forgetful);
    engine.add(Sequence::new(SequenceId(0), vec![1], 1), &SamplingParams::greedy());
    let error = engine.step(&|| Duration::ZERO).expect_err("one token is missing");
    assert!(matches!(error, EngineError::WrongCount { expected: 1, got: 0 }), "{error}");
}

#[test]
fn an_idle_engine_has_nothing_to_report() {
    assert!(engine(1, 8, Positions).step(&|| Duration::ZERO).expect("idle").is_none());
}
