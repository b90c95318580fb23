//! The engine as a process: this lab's scheduler, block pool and metrics around a real model, behind HTTP.
//!
//! Each part has a naive twin to compare with: `--scheduler static`, `--pool contiguous`, `--recorder counters`.

use std::error::Error;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use model::{DeviceKind, LoadOptions, ModelSource, WeightFormat};
use server::{Backend, ServeArgs};
use serving::baseline::{ContiguousPool, Counters, StaticScheduler};
use serving::{BlockPool, Engine, Executor, Recorder, Scheduler, SchedulerLimits};
use sol01_triage::fault::{FaultSwitch, Faulty};
use sol01_triage::{ContinuousScheduler, EngineMetrics, PagedPool};

/// Serves a language model over the OpenAI API.
#[derive(Debug, Clone, Parser)]
#[command(after_help = "Examples:
  engine --model tiny
  engine --model SmolLM2-135M-Instruct.Q4_1.gguf --max-num-seqs 8 --port 8000
  engine --model tiny --scheduler static --pool contiguous")]
struct Args {
    #[command(flatten)]
    serve: ServeArgs,
    /// A .gguf file, a folder with safetensors and config.json, or `tiny` (a seeded random model)
    #[arg(long)]
    model: ModelSource,
    /// Who chooses what runs in a step
    #[arg(long, value_enum, default_value_t = SchedulerKind::Continuous)]
    scheduler: SchedulerKind,
    /// Who hands out KV-cache memory
    #[arg(long, value_enum, default_value_t = PoolKind::Paged)]
    pool: PoolKind,
    /// What /metrics says
    #[arg(long, value_enum, default_value_t = RecorderKind::Histograms)]
    recorder: RecorderKind,
    /// Sequences that may run at once
    #[arg(long, default_value_t = 8)]
    max_num_seqs: usize,
    /// Tokens that one step may feed to the model
    #[arg(long, default_value_t = 256)]
    max_num_batched_tokens: usize,
    /// Token slots in a KV block
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    block_size: u16,
    /// KV blocks in all; by default room for four contexts of the longest length
    #[arg(long)]
    num_kv_blocks: Option<usize>,
    /// Longest context in tokens; the model's own limit applies as well
    #[arg(long, default_value_t = 2048)]
    max_model_len: usize,
    /// Threads of the model; by default one a core
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Compute every prompt from its first token, even where its prefix is in the cache
    #[arg(long)]
    no_prefix_caching: bool,
    /// Keep all weights in f32: exact to the file, and several times as slow to read
    #[arg(long)]
    f32_weights: bool,
    /// Faults that files of this folder switch on: hang, renamed-metric, slow-tokenizer (task 1.7)
    #[arg(long, value_name = "FOLDER")]
    debug_faults: Option<PathBuf>,
    /// Run the model on a CUDA device (needs a build with feature `cuda`)
    #[arg(long)]
    cuda: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SchedulerKind {
    /// A batch starts together and ends with its longest sequence
    Static,
    /// A freed place is taken in the next step (task 1.3)
    Continuous,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PoolKind {
    /// Room for the longest possible sequence, up front
    Contiguous,
    /// Blocks as they are needed, shared by prefix (task 1.4)
    Paged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RecorderKind {
    /// Counts and gauges only
    Counters,
    /// With vLLM's latency histograms (tasks 1.1 and 1.2)
    Histograms,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut serve = args.serve.clone();
    let name = serve.served_model_name.get_or_insert_with(|| model_name(&args.model)).clone();
    let recorder: Box<dyn Recorder> = match args.recorder {
        RecorderKind::Counters => Box::new(Counters::new(&name)),
        RecorderKind::Histograms => Box::new(EngineMetrics::new(&name)),
    };
    let recorder = match &args.debug_faults {
        Some(folder) => Box::new(Faulty::new(recorder, FaultSwitch::new(folder))),
        None => recorder,
    };
    match server::run(&serve, recorder, move || load(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a model is called where `--served-model-name` does not say: its file's or folder's name.
fn model_name(source: &ModelSource) -> String {
    match source {
        ModelSource::Tiny { .. } => "tiny".to_owned(),
        ModelSource::Gguf(path) => lossy(path.file_stem()),
        ModelSource::HuggingFaceDir(path) => lossy(path.file_name()),
    }
}

fn lossy(name: Option<&OsStr>) -> String {
    name.unwrap_or(OsStr::new("model")).to_string_lossy().into_owned()
}

/// Loads the model and puts the parts together. Runs on the engine's thread while HTTP is up already.
fn load(args: &Args) -> Result<Backend, Box<dyn Error + Send + Sync>> {
    let options = LoadOptions {
        device: if args.cuda { DeviceKind::Cuda { ordinal: 0 } } else { DeviceKind::Cpu },
        threads: args.threads,
        max_model_len: Some(args.max_model_len),
        weights: if args.f32_weights { WeightFormat::Full } else { WeightFormat::Auto },
    };
    let model = model::load(&args.model, &options)?;
    let (codec, max_model_len) = (model.codec.clone(), model.max_model_len);
    let block_size = usize::from(args.block_size);
    let needed = serving::blocks_for(max_model_len, block_size);
    let num_blocks = args.num_kv_blocks.unwrap_or(needed * 4);
    if num_blocks < needed {
        return Err(format!(
            "--num-kv-blocks {num_blocks} of {block_size} tokens cannot hold one context of {max_model_len} tokens: \
             raise it to {needed}, or lower --max-model-len"
        )
        .into());
    }
    let limits = SchedulerLimits::try_new(args.max_num_seqs, args.max_num_batched_tokens)?;
    let scheduler = match args.pool {
        PoolKind::Contiguous => {
            scheduler(args, limits, ContiguousPool::new(num_blocks, block_size))
        }
        PoolKind::Paged => {
            let pool = PagedPool::new(num_blocks, block_size);
            scheduler(args, limits, pool.with_prefix_caching(!args.no_prefix_caching))
        }
    };
    let executor = Box::new(model.into_executor(num_blocks, block_size)?);
    let Some(folder) = &args.debug_faults else {
        return Ok(Backend { engine: Engine::new(scheduler, executor), codec, max_model_len });
    };
    let switch = FaultSwitch::new(folder);
    let executor = Box::new(Faulty::new(executor as Box<dyn Executor>, switch.clone()));
    let codec = Arc::new(Faulty::new(codec, switch));
    Ok(Backend { engine: Engine::new(scheduler, executor), codec, max_model_len })
}

fn scheduler<P: BlockPool + 'static>(
    args: &Args,
    limits: SchedulerLimits,
    pool: P,
) -> Box<dyn Scheduler> {
    match args.scheduler {
        SchedulerKind::Static => Box::new(StaticScheduler::new(limits, pool)),
        SchedulerKind::Continuous => Box::new(ContinuousScheduler::new(limits, pool)),
    }
}
