//! Sleeps through each step.

use std::thread;
use std::time::{Duration, Instant};

use serving::{
    Executor, ExecutorError, SampledToken, SamplingParams, SequenceId, SequenceMap, StepOutput,
    StepPlan, TokenId,
};
use workload::scramble;

use crate::StepCost;
use crate::real_time::SyllableCodec;

/// The longest that one step sleeps. Whatever a cost predicts, a pod must be able to stop.
pub const MAX_STEP: Duration = Duration::from_secs(60);

/// Predicts each step, and returns when it would be done.
///
/// It sleeps until a moment, not for a time: a step that follows another begins when that one was due. So what a
/// sleep takes too long is taken off the next one, and errors do not add up. The time between two steps, in which a
/// real engine works on the CPU, is part of the prediction too ([`StepTime::host`](crate::StepTime)); only where more
/// than that has passed, the engine was idle or the machine is too slow, and the step begins now.
pub struct RealTimeExecutor {
    cost: Box<dyn StepCost>,
    answer_tokens: usize,
    answers: SequenceMap<Answer>,
    due: Instant,
}

/// What an answer is made of.
#[derive(Clone, Copy)]
struct Answer {
    key: u64,
    prompt_len: usize,
    /// No end of text before this many tokens.
    min_tokens: usize,
}

impl RealTimeExecutor {
    /// An idle executor. Answers end after `answer_tokens` tokens, unless the request ends them earlier.
    #[must_use]
    pub fn new(cost: impl StepCost + 'static, answer_tokens: usize) -> Self {
        let cost = Box::new(cost);
        Self { cost, answer_tokens, answers: SequenceMap::default(), due: Instant::now() }
    }

    /// The token after the first `position` of a sequence.
    fn token(&self, sequence: SequenceId, position: usize) -> Option<TokenId> {
        let answer = self.answers.get(&sequence)?;
        let generated = position.saturating_sub(answer.prompt_len);
        let ends = generated == self.answer_tokens.max(answer.min_tokens);
        let random = scramble(answer.key, position as u64);
        Some(if ends { SyllableCodec::END_OF_TEXT } else { SyllableCodec::syllable(random) })
    }
}

/// What the tokens of an answer depend on: the seed; without one the prompt, or with a temperature above 0 who asks.
fn key(id: SequenceId, prompt: &[TokenId], params: &SamplingParams) -> u64 {
    let of_prompt = || prompt.iter().fold(0, |key, &token| scramble(key, token.into()));
    match params.seed {
        Some(seed) if params.temperature > 0.0 => scramble(seed, of_prompt()),
        None if params.temperature > 0.0 => scramble(id.0, of_prompt()),
        _ => of_prompt(),
    }
}

// === impl Executor for RealTimeExecutor ===

impl Executor for RealTimeExecutor {
    fn register(&mut self, id: SequenceId, prompt: &[TokenId], params: &SamplingParams) {
        let key = key(id, prompt, params);
        let min_tokens = params.min_tokens;
        self.answers.insert(id, Answer { key, prompt_len: prompt.len(), min_tokens });
    }

    fn release(&mut self, id: SequenceId) {
        self.answers.remove(&id);
    }

    fn execute(&mut self, plan: &StepPlan) -> Result<StepOutput, ExecutorError> {
        let step = self.cost.step_time(plan);
        let now = Instant::now();
        let goes_on = now.saturating_duration_since(self.due) <= step.host;
        let begins = if goes_on { self.due } else { now };
        self.due = begins + step.total.min(MAX_STEP);
        thread::sleep(self.due.saturating_duration_since(now));

        let mut sampled = Vec::with_capacity(plan.chunks.len());
        for chunk in plan.chunks.iter().filter(|chunk| chunk.samples) {
            let sequence = chunk.sequence;
            let token = self.token(sequence, chunk.end()).ok_or_else(|| ExecutorError {
                tokens: plan.num_tokens(),
                cause: format!("{sequence} was never registered"),
            })?;
            sampled.push(SampledToken { sequence, token });
        }
        Ok(sampled.into())
    }
}

#[cfg(test)]
mod tests {
    use serving::{BlockTable, Chunk, TextCodec, Tokens};

    use super::*;
    use crate::LinearCost;

    const COST: LinearCost = LinearCost {
        step: Duration::from_micros(200),
        token: Duration::ZERO,
        context_token: Duration::ZERO,
    };

    fn plan(id: u64, start: usize) -> StepPlan {
        let chunk = Chunk {
            sequence: SequenceId(id),
            start,
            tokens: Tokens::from_slice(&[7]),
            block_table: BlockTable::default(),
            samples: true,
        };
        StepPlan { chunks: vec![chunk], preempted: Vec::new() }
    }

    fn answer(id: u64, params: &SamplingParams, tokens: usize) -> Vec<TokenId> {
        let mut executor = RealTimeExecutor::new(COST, 5);
        executor.register(SequenceId(id), &[3, 4, 5], params);
        let steps = 2..2 + tokens;
        steps.map(|at| executor.execute(&plan(id, at)).unwrap().sampled[0].token).collect()
    }

    #[test]
    fn an_answer_depends_on_the_prompt_or_the_seed_or_who_asks() {
        let greedy = SamplingParams::greedy();
        assert_eq!(answer(1, &greedy, 6), answer(2, &greedy, 6));
        let warm = SamplingParams::default();
        assert_ne!(answer(1, &warm, 6), answer(2, &warm, 6));
        let seeded = SamplingParams { seed: Some(9), ..SamplingParams::default() };
        assert_eq!(answer(1, &seeded, 6), answer(2, &seeded, 6));
    }

    #[test]
    fn an_answer_ends_and_may_be_asked_to_end_later() {
        let params = SamplingParams { min_tokens: 7, ..SamplingParams::greedy() };
        let end = |params| {
            let tokens = answer(1, &params, 9);
            tokens.iter().position(|token| SyllableCodec.eos_tokens().contains(token))
        };
        assert_eq!((end(SamplingParams::greedy()), end(params)), (Some(5), Some(7)));
    }

    #[test]
    fn steps_take_as_long_as_predicted_at_least() {
        let started = Instant::now();
        answer(1, &SamplingParams::greedy(), 20);
        assert!(started.elapsed() >= COST.step * 20);
    }

    #[test]
    fn an_unknown_sequence_is_an_error() {
        let mut executor = RealTimeExecutor::new(COST, 5);
        let error = executor.execute(&plan(3, 0)).unwrap_err();
        assert!(error.to_string().contains("sequence 3 was never registered"), "{error}");
    }
}
