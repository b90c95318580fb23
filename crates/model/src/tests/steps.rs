//! Step plans for tests, and executors over any weights.

use std::sync::Arc;

use candle_core::Device;
use rayon::ThreadPoolBuilder;
use serving::{BlockId, Chunk, SequenceId, StepPlan, TokenId, blocks_for};

use crate::cache::{CachePrecision, KvCache};
use crate::llama::Llama;
use crate::weights::WeightSource;
use crate::{CandleExecutor, LlamaConfig, WeightFormat};

pub(super) const BLOCK_SIZE: usize = 4;
pub(super) const NUM_BLOCKS: usize = 64;

/// An executor of [`NUM_BLOCKS`] blocks of [`BLOCK_SIZE`] tokens.
pub(super) fn executor(config: &LlamaConfig, source: &mut dyn WeightSource) -> CandleExecutor {
    let cache =
        KvCache::new(config, NUM_BLOCKS, BLOCK_SIZE, &Device::Cpu, CachePrecision::Full).unwrap();
    executor_with(config, source, cache)
}

pub(super) fn executor_with(
    config: &LlamaConfig,
    source: &mut dyn WeightSource,
    cache: KvCache,
) -> CandleExecutor {
    let model = Llama::new(config, source, &Device::Cpu, WeightFormat::Auto).unwrap();
    let threads = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    CandleExecutor::new(model, cache, config.max_position, Arc::new(threads))
}

/// A chunk of `tokens[range]` of one sequence that samples.
pub(super) fn chunk(
    sequence: u64,
    tokens: &[TokenId],
    range: std::ops::Range<usize>,
    table: &[u32],
) -> Chunk {
    Chunk {
        sequence: SequenceId(sequence),
        start: range.start,
        tokens: serving::Tokens::from_slice(&tokens[range]),
        block_table: table.iter().map(|&block| BlockId(block)).collect(),
        samples: true,
    }
}

pub(super) fn plan(chunks: Vec<Chunk>) -> StepPlan {
    StepPlan { chunks, preempted: Vec::new() }
}

/// The blocks `first, first + 1, ...` for this many tokens.
pub(super) fn table(first: u32, num_tokens: usize) -> Vec<u32> {
    (first..).take(blocks_for(num_tokens, BLOCK_SIZE)).collect()
}

/// Some tokens of the tiny vocabulary, no special ones.
pub(super) fn tokens(seed: u64, len: usize) -> Vec<TokenId> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            3 + (state >> 33) as u32 % 256
        })
        .collect()
}

/// The largest difference between two rows of logits.
pub(super) fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
