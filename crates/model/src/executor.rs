//! Runs step plans on a llama: the [`Executor`] of a live engine.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::ThreadPool;
use serving::{Executor, ExecutorError, SampledToken, SamplingParams, SequenceId, StepPlan};

use crate::batch::{Batch, Limits};
use crate::cache::KvCache;
use crate::llama::Llama;
use crate::sampling::Sampler;
use crate::{LlamaConfig, ModelError};

/// A llama with its KV cache and the samplers of its sequences.
#[derive(Debug)]
pub struct CandleExecutor {
    model: Llama,
    cache: KvCache,
    max_position: usize,
    samplers: HashMap<SequenceId, Sampler>,
    /// The threads that all arithmetic runs on.
    threads: Arc<ThreadPool>,
}

impl CandleExecutor {
    pub(crate) fn new(
        model: Llama,
        cache: KvCache,
        max_position: usize,
        threads: Arc<ThreadPool>,
    ) -> Self {
        Self { model, cache, max_position, samplers: HashMap::new(), threads }
    }

    /// The shape of the model.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        self.model.config()
    }

    /// Computes a step without sampling: the logits, `vocab_size` of them, after each chunk that samples,
    /// in the plan's order. [`Executor::execute`] samples from exactly these.
    ///
    /// # Errors
    /// [`ModelError::Plan`] where the plan does not fit the model or its cache, [`ModelError::Compute`]
    /// where the device fails.
    pub fn logits(&mut self, plan: &StepPlan) -> Result<Vec<Vec<f32>>, ModelError> {
        let limits = Limits {
            vocab_size: self.model.config().vocab_size,
            max_position: self.max_position,
            num_blocks: self.cache.num_blocks(),
            block_size: self.cache.block_size(),
        };
        let batch = Batch::new(plan, limits)?;
        if batch.tokens.is_empty() {
            return Ok(Vec::new());
        }
        let (model, cache) = (&self.model, &mut self.cache);
        let logits = self.threads.install(|| model.forward(&batch, cache))?;
        Ok(logits.map(|logits| logits.to_vec2::<f32>()).transpose()?.unwrap_or_default())
    }

    fn sample(&mut self, plan: &StepPlan) -> Result<Vec<SampledToken>, ModelError> {
        let logits = self.logits(plan)?;
        let chunks = plan.chunks.iter().filter(|chunk| chunk.samples);
        chunks
            .zip(&logits)
            .map(|(chunk, logits)| {
                let sequence = chunk.sequence;
                let sampler = self.samplers.get_mut(&sequence).ok_or_else(|| ModelError::Plan {
                    sequence,
                    reason: "it was never registered".into(),
                })?;
                Ok(SampledToken { sequence, token: sampler.sample(logits) })
            })
            .collect()
    }
}

// === impl Executor for CandleExecutor ===

impl Executor for CandleExecutor {
    fn register(&mut self, id: SequenceId, params: &SamplingParams) {
        self.samplers.insert(id, Sampler::new(params));
    }

    fn release(&mut self, id: SequenceId) {
        self.samplers.remove(&id);
    }

    fn execute(&mut self, plan: &StepPlan) -> Result<Vec<SampledToken>, ExecutorError> {
        self.sample(plan)
            .map_err(|error| ExecutorError { tokens: plan.num_tokens(), cause: error.to_string() })
    }
}
