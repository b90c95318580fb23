//! How fast a model runs here: loading, prefill of one prompt, and decoding of 1 and of 8 sequences.
//!
//! `cargo run -p model --example speed -- PATH|tiny [THREADS]`

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use model::{CandleExecutor, LoadOptions, ModelSource, load};
use serving::{BlockId, Chunk, Executor, SamplingParams, SequenceId, StepPlan};

const PROMPT: usize = 512;
const STEPS: usize = 32;
const BLOCK_SIZE: usize = 16;
const BLOCKS_EACH: usize = (PROMPT + STEPS).div_ceil(BLOCK_SIZE);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let source: ModelSource = args.next().ok_or("give a model: PATH or tiny")?.parse()?;
    let threads: Option<NonZeroUsize> = args.next().map(|text| text.parse()).transpose()?;
    let started = Instant::now();
    let model = load(&source, &LoadOptions { threads, ..LoadOptions::default() })?;
    println!("load                {:8.2} s", started.elapsed().as_secs_f64());
    let mut executor = model.into_executor(8 * BLOCKS_EACH, BLOCK_SIZE)?;
    for id in 0..8 {
        executor.register(SequenceId(id), &SamplingParams::greedy());
    }
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|at| 3 + at * 7 % 250).collect();
    let prefill = StepPlan { chunks: vec![chunk(0, 0, &prompt)], preempted: Vec::new() };
    time(&mut executor, &prefill, 1)?;
    report("prefill, 512 tokens", PROMPT, time(&mut executor, &prefill, 3)?);
    for start in [128, 512] {
        for sequences in [1, 2, 4, 8] {
            let chunks = (0..sequences).map(|id| chunk(id, start, &[5])).collect();
            let step = StepPlan { chunks, preempted: Vec::new() };
            let title = format!("decode {sequences} at {start}");
            report(&title, sequences as usize, time(&mut executor, &step, STEPS)?);
        }
    }
    Ok(())
}

fn chunk(id: u64, start: usize, tokens: &[u32]) -> Chunk {
    let first = id as u32 * BLOCKS_EACH as u32;
    Chunk {
        sequence: SequenceId(id),
        start,
        tokens: tokens.to_vec(),
        block_table: (first..first + BLOCKS_EACH as u32).map(BlockId).collect(),
        samples: true,
    }
}

/// The fastest of several runs: other programs only make it slower.
fn time(
    executor: &mut CandleExecutor,
    plan: &StepPlan,
    runs: usize,
) -> Result<Duration, Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..runs {
        let started = Instant::now();
        executor.execute(plan)?;
        best = best.min(started.elapsed());
    }
    Ok(best)
}

fn report(title: &str, tokens: usize, took: Duration) {
    let (seconds, tokens) = (took.as_secs_f64(), tokens as f64);
    println!("{title:<20}{:8.1} ms a step {:8.0} tok/s", seconds * 1e3, tokens / seconds);
}
