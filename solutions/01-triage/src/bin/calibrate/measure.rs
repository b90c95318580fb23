//! How long steps of many sizes take. Knows nothing of what a step should take.

use std::time::{Duration, Instant};

use anyhow::Result;
use model::{CandleExecutor, LoadedModel};
use serving::{BlockId, Executor, SamplingParams, SequenceId, StepPlan, TokenId};
use simulation::MeasuredStep;
use sol01_triage::calibration::plan;

const BLOCK_SIZE: usize = 16;
/// Longest context of any step.
const LONGEST: usize = 1024;
const BLOCKS_EACH: usize = LONGEST / BLOCK_SIZE;
/// Sequences of the largest batch.
const SEQUENCES: usize = 16;
/// Prompts, each from its first token.
const PROMPTS: [usize; 6] = [16, 32, 64, 128, 256, 512];
/// Decodes: how many sequences, each at which position.
const DECODES: [(usize, usize); 9] =
    [(1, 16), (1, 256), (1, 1000), (2, 256), (4, 16), (4, 256), (8, 256), (16, 16), (16, 256)];
/// A part of a prompt beside decodes at position 256: tokens from position 128, and how many decodes.
const MIXED: [(usize, usize); 3] = [(32, 2), (64, 4), (128, 8)];

/// Measures each step `rounds` times and takes the medians.
///
/// The rounds are interleaved, so that what changes slowly weighs on all steps alike. `each` is told the number of
/// every round before it begins.
///
/// # Errors
/// Those of the model.
pub(crate) fn steps(
    model: LoadedModel,
    rounds: usize,
    mut each: impl FnMut(usize),
) -> Result<Vec<MeasuredStep>> {
    let longest = model.max_model_len.min(LONGEST);
    let vocab = model.config().vocab_size;
    let mut executor = model.into_executor(SEQUENCES * BLOCKS_EACH, BLOCK_SIZE)?;
    for id in 0..SEQUENCES {
        executor.register(SequenceId(id as u64), &[], &SamplingParams::greedy());
    }
    let mut steps = all();
    steps.retain(|step| step.chunks.iter().all(|&(start, tokens)| start + tokens <= longest));
    let plans: Vec<StepPlan> = steps.iter().map(|step| in_blocks(plan(step), vocab)).collect();
    fill(&mut executor, longest, vocab)?;
    let mut times = vec![Vec::with_capacity(rounds); steps.len()];
    for round in 0..=rounds {
        if round > 0 {
            each(round);
        }
        for (plan, times) in plans.iter().zip(&mut times) {
            let started = Instant::now();
            executor.execute(plan)?;
            let took = started.elapsed();
            // The first one warms up.
            if round > 0 {
                times.push(took);
            }
        }
    }
    for (step, times) in steps.iter_mut().zip(times) {
        step.time_us = median(times).as_secs_f64() * 1e6;
    }
    Ok(steps)
}

/// All steps, not measured yet.
fn all() -> Vec<MeasuredStep> {
    let prompts = PROMPTS.iter().map(|&tokens| vec![(0, tokens)]);
    let decodes = DECODES.iter().map(|&(sequences, at)| vec![(at, 1); sequences]);
    let mixed = MIXED.iter().map(|&(tokens, decodes)| {
        let mut chunks = vec![(256, 1); decodes];
        chunks.push((128, tokens));
        chunks
    });
    let chunks = prompts.chain(decodes).chain(mixed);
    chunks.map(|chunks| MeasuredStep { chunks, time_us: 0.0 }).collect()
}

/// Gives a plan blocks, and tokens that the model knows; which ones costs no time.
fn in_blocks(mut plan: StepPlan, vocab: usize) -> StepPlan {
    for (id, chunk) in plan.chunks.iter_mut().enumerate() {
        let first = (id * BLOCKS_EACH) as u32;
        chunk.block_table = (first..first + BLOCKS_EACH as u32).map(BlockId).collect();
        let token = |at: usize| ((at * 7 + id * 11) % vocab.min(250)) as TokenId;
        chunk.tokens = (chunk.start..chunk.end()).map(token).collect();
    }
    plan
}

/// Computes what the steps find in the cache.
fn fill(executor: &mut CandleExecutor, longest: usize, vocab: usize) -> Result<()> {
    let part = LONGEST / 4;
    for start in (0..longest).step_by(part) {
        let tokens = part.min(longest - start);
        let step = MeasuredStep { chunks: vec![(start, tokens); SEQUENCES], time_us: 0.0 };
        executor.execute(&in_blocks(plan(&step), vocab))?;
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
