//! How fast a model runs here: prefill of one prompt, and decoding of 1 and of 8 sequences.
//!
//! `cargo run --release -p model --example speed -- MODEL [THREADS] [--json [--on-demand]]`
//!
//! MODEL is a path or `tiny`. `--json` prints one object with the medians of several rounds.
//! `--on-demand` prints one object for each line on stdin instead, so that a harness can take turns between
//! this and another engine; `bench/llama_cpp_speed.py` answers the same way and does the same work.

use std::error::Error;
use std::io::Write;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use model::{CandleExecutor, LoadOptions, ModelSource, load};
use serde_json::{Value, json};
use serving::{BlockId, Chunk, Executor, SamplingParams, SequenceId, StepPlan, TokenId};

const PROMPT: usize = 512;
const STEPS: usize = 32;
const SEQUENCES: usize = 8;
const ROUNDS: usize = 5;
const BLOCK_SIZE: usize = 16;
const BLOCKS_EACH: usize = (PROMPT + STEPS).div_ceil(BLOCK_SIZE);

/// Tokens a second.
struct Round {
    prefill: f64,
    decode_1: f64,
    decode_8: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, mut args): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    args.reverse();
    let source: ModelSource = args.pop().ok_or("give a model: PATH or tiny")?.parse()?;
    let threads: Option<NonZeroUsize> = args.pop().map(|text| text.parse()).transpose()?;
    let has = |name: &str| flags.iter().any(|flag| flag == name);
    let started = Instant::now();
    let model = load(&source, &LoadOptions { threads, ..LoadOptions::default() })?;
    let load_s = started.elapsed().as_secs_f64();
    let mut executor = model.into_executor(SEQUENCES * BLOCKS_EACH, BLOCK_SIZE)?;
    for id in 0..SEQUENCES {
        executor.register(SequenceId(id as u64), &[], &SamplingParams::greedy());
        prefill(&mut executor, id)?;
    }
    let about = json!({ "engine": "model", "version": env!("CARGO_PKG_VERSION"),
        "profile": if cfg!(debug_assertions) { "dev" } else { "release" },
        "threads": threads, "load_s": load_s });
    round(&mut executor)?;
    if has("--on-demand") {
        print(&about, json!({ "ready": true }))?;
        for _ in std::io::stdin().lines() {
            print(&about, round(&mut executor)?.fields())?;
        }
        return Ok(());
    }
    let rounds = (0..ROUNDS).map(|_| round(&mut executor)).collect::<Result<Vec<_>, _>>()?;
    let median = Round::median(&rounds);
    if has("--json") {
        return print(&about, median.fields());
    }
    println!("load        {load_s:8.2} s");
    println!("prefill 512 {:8.0} tok/s", median.prefill);
    println!("decode 1    {:8.0} tok/s at position 512", median.decode_1);
    println!("decode 8    {:8.0} tok/s at position 512", median.decode_8);
    Ok(())
}

/// One line of JSON: `about`, then `fields`.
fn print(about: &Value, fields: Value) -> Result<(), Box<dyn Error>> {
    let mut all = about.clone();
    if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
        all.extend(fields);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{all}")?;
    Ok(out.flush()?)
}

// === impl Round ===

impl Round {
    fn median(rounds: &[Self]) -> Self {
        let median = |value: fn(&Self) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            prefill: median(|round| round.prefill),
            decode_1: median(|round| round.decode_1),
            decode_8: median(|round| round.decode_8),
        }
    }

    fn fields(&self) -> Value {
        json!({ "prefill_512_tok_s": self.prefill, "decode_b1_tok_s": self.decode_1,
            "decode_b8_tok_s": self.decode_8 })
    }
}

/// Each part once.
fn round(executor: &mut CandleExecutor) -> Result<Round, Box<dyn Error>> {
    let per_second = |tokens: usize, took: Duration| tokens as f64 / took.as_secs_f64();
    Ok(Round {
        prefill: per_second(PROMPT, prefill(executor, 0)?),
        decode_1: per_second(STEPS, generate(executor, 1)?),
        decode_8: per_second(SEQUENCES * STEPS, generate(executor, SEQUENCES)?),
    })
}

/// Computes a whole prompt.
fn prefill(executor: &mut CandleExecutor, id: usize) -> Result<Duration, Box<dyn Error>> {
    let prompt = (0..PROMPT).map(|at| 3 + ((at * 7 + id * 11) % 250) as TokenId).collect();
    let plan = StepPlan { chunks: vec![chunk(id, 0, prompt)], preempted: Vec::new() };
    let started = Instant::now();
    executor.execute(&plan)?;
    Ok(started.elapsed())
}

/// [`STEPS`] greedy steps after the prompt, for this many sequences together.
fn generate(executor: &mut CandleExecutor, sequences: usize) -> Result<Duration, Box<dyn Error>> {
    let mut tokens = vec![5; sequences];
    let started = Instant::now();
    for step in 0..STEPS {
        let chunks = tokens.iter().enumerate();
        let chunks = chunks.map(|(id, &token)| chunk(id, PROMPT + step, vec![token])).collect();
        let output = executor.execute(&StepPlan { chunks, preempted: Vec::new() })?;
        tokens = output.sampled.iter().map(|sampled| sampled.token).collect();
    }
    Ok(started.elapsed())
}

fn chunk(id: usize, start: usize, tokens: Vec<TokenId>) -> Chunk {
    let first = (id * BLOCKS_EACH) as u32;
    Chunk {
        sequence: SequenceId(id as u64),
        start,
        tokens: tokens.into(),
        block_table: (first..first + BLOCKS_EACH as u32).map(BlockId).collect(),
        samples: true,
    }
}
