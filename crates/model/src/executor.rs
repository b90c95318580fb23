//! Runs step plans on a llama: the [`Executor`] of a live engine.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::ThreadPool;
use serving::{
    Chunk, Executor, ExecutorError, Logprobs, SampledToken, SamplingParams, SequenceId,
    SequenceLogprobs, StepOutput, StepPlan, TokenId, Tokens,
};

use crate::batch::{Batch, Limits};
use crate::cache::KvCache;
use crate::llama::Llama;
use crate::sampling::Sampler;
use crate::{LlamaConfig, ModelError};

/// Prompt positions that are scored in one go: bounds the memory for their logits.
const SCORED_ROWS: usize = 64;

/// A llama with its KV cache and the samplers of its sequences.
#[derive(Debug)]
pub struct CandleExecutor {
    model: Llama,
    cache: KvCache,
    max_position: usize,
    samplers: HashMap<SequenceId, Sampler>,
    /// Prompts whose log probabilities are wanted, until all are told.
    unscored: HashMap<SequenceId, Unscored>,
    /// The threads that all arithmetic runs on.
    threads: Arc<ThreadPool>,
}

/// A prompt on its way to log probabilities.
#[derive(Debug)]
struct Unscored {
    prompt: Vec<TokenId>,
    /// The next position whose logits say how likely the token after it was.
    next: usize,
    /// How many of the likeliest tokens to tell.
    top: usize,
}

impl CandleExecutor {
    pub(crate) fn new(
        model: Llama,
        cache: KvCache,
        max_position: usize,
        threads: Arc<ThreadPool>,
    ) -> Self {
        let (samplers, unscored) = (HashMap::new(), HashMap::new());
        Self { model, cache, max_position, samplers, unscored, threads }
    }

    /// The shape of the model.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        self.model.config()
    }

    /// Tokens in a block of the cache.
    #[must_use]
    pub fn block_size(&self) -> usize {
        self.cache.block_size()
    }

    /// Computes a step without sampling: the logits, `vocab_size` of them, after each chunk that samples,
    /// in the plan's order. [`Executor::execute`] samples from exactly these.
    ///
    /// # Errors
    /// [`ModelError::Plan`] where the plan does not fit the model or its cache, [`ModelError::Compute`]
    /// where the device fails.
    pub fn logits(&mut self, plan: &StepPlan) -> Result<Vec<Vec<f32>>, ModelError> {
        let batch = Batch::new(plan, self.limits())?;
        self.forward(&batch)
    }

    fn limits(&self) -> Limits {
        Limits {
            vocab_size: self.model.config().vocab_size,
            max_position: self.max_position,
            num_blocks: self.cache.num_blocks(),
            block_size: self.cache.block_size(),
        }
    }

    fn forward(&mut self, batch: &Batch) -> Result<Vec<Vec<f32>>, ModelError> {
        if batch.tokens.is_empty() {
            return Ok(Vec::new());
        }
        let (model, cache) = (&self.model, &mut self.cache);
        self.threads.install(|| model.forward(batch, cache))
    }

    fn step(&mut self, plan: &StepPlan) -> Result<StepOutput, ModelError> {
        let mut output = StepOutput::default();
        if !self.unscored.is_empty() {
            for chunk in &plan.chunks {
                let (sequence, prompt) = (chunk.sequence, self.score(chunk)?);
                if !prompt.is_empty() {
                    output.logprobs.push(SequenceLogprobs { sequence, prompt, sampled: None });
                }
            }
        }
        let logits = self.logits(plan)?;
        let chunks = plan.chunks.iter().filter(|chunk| chunk.samples);
        for (chunk, mut logits) in chunks.zip(logits) {
            let sequence = chunk.sequence;
            let sampler = self.samplers.get_mut(&sequence).ok_or_else(|| ModelError::Plan {
                sequence,
                reason: "it was never registered".into(),
            })?;
            let (token, sampled) = sampler.sample(&mut logits);
            output.sampled.push(SampledToken { sequence, token });
            if sampled.is_some() {
                match output.logprobs.iter_mut().find(|told| told.sequence == sequence) {
                    Some(told) => told.sampled = sampled,
                    None => {
                        let prompt = Vec::new();
                        output.logprobs.push(SequenceLogprobs { sequence, prompt, sampled });
                    }
                }
            }
        }
        Ok(output)
    }

    /// The log probabilities of the prompt tokens up to one past this chunk that were not told yet.
    ///
    /// The positions are computed once more, with all their logits, and from the prompt's start where the prefix
    /// cache had it: their keys and values come out the same.
    fn score(&mut self, chunk: &Chunk) -> Result<Vec<Logprobs>, ModelError> {
        let mut told = Vec::new();
        while let Some(Unscored { prompt, next, top }) = self.unscored.get(&chunk.sequence) {
            let (from, top) = (*next, *top);
            let end = chunk.end().min(prompt.len() - 1).min(from + SCORED_ROWS);
            if from >= end {
                break;
            }
            let part = Chunk {
                sequence: chunk.sequence,
                start: from,
                tokens: Tokens::from_slice(&prompt[from..end]),
                block_table: chunk.block_table.clone(),
                samples: false,
            };
            let following = prompt[from + 1..=end].to_vec();
            let done = end + 1 == prompt.len();
            let plan = StepPlan { chunks: vec![part], preempted: Vec::new() };
            let mut batch = Batch::new(&plan, self.limits())?;
            batch.sampled_rows = (0..batch.tokens.len() as u32).collect();
            let logits = self.forward(&batch)?;
            told.extend(logits.iter().zip(following).map(|(row, t)| Logprobs::of(row, t, top)));
            if done {
                self.unscored.remove(&chunk.sequence);
            } else if let Some(unscored) = self.unscored.get_mut(&chunk.sequence) {
                unscored.next = end;
            }
        }
        Ok(told)
    }
}

// === impl Executor for CandleExecutor ===

impl Executor for CandleExecutor {
    fn register(&mut self, id: SequenceId, prompt: &[TokenId], params: &SamplingParams) {
        self.samplers.insert(id, Sampler::new(prompt, params));
        if let Some(top) = params.prompt_logprobs.filter(|_| prompt.len() > 1) {
            self.unscored.insert(id, Unscored { prompt: prompt.to_vec(), next: 0, top });
        }
    }

    fn release(&mut self, id: SequenceId) {
        self.samplers.remove(&id);
        self.unscored.remove(&id);
    }

    fn execute(&mut self, plan: &StepPlan) -> Result<StepOutput, ExecutorError> {
        self.step(plan)
            .map_err(|error| ExecutorError { tokens: plan.num_tokens(), cause: error.to_string() })
    }
}
