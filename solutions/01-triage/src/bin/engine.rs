//! The engine as a process: this lab's scheduler, block pool and metrics behind HTTP, around a real model, or around
//! the prediction of how long its steps would take on another device (`--sim`).
//!
//! Each part has a naive twin to compare with: `--scheduler static`, `--pool contiguous`, `--recorder counters`.

#[cfg(feature = "live")]
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
#[cfg(feature = "live")]
use model::{DeviceKind, LoadOptions, ModelSource, WeightFormat};
use server::{Backend, LoadError, ServeArgs};
use serving::baseline::{ContiguousPool, Counters, FixedBudget, StaticScheduler};
use serving::{
    BlockPool, Engine, Executor, Recorder, Scheduler, SchedulerLimits, TextCodec, TokenBudget,
};
use simulation::real_time::{RealTimeExecutor, SyllableCodec};
use sol01_triage::fault::{Fault, FaultSwitch, Faulty, LOAD_LIMIT};
use sol01_triage::{AdaptiveBudget, ContinuousScheduler, EngineMetrics, PagedPool, Placement};

/// Longest context of a real model, where `--max-model-len` does not say.
#[cfg(feature = "live")]
const MODEL_LEN: usize = 2048;
/// Longest context in a simulation, where `--max-model-len` does not say: that of Qwen2.5.
const SIMULATED_LEN: usize = 32_768;

/// Serves a language model over the OpenAI API.
#[derive(Debug, Clone, Parser)]
#[command(group = clap::ArgGroup::new("what to serve").required(true).args(["model", "sim"]))]
#[command(after_help = "Examples:
  engine --model tiny
  engine --model SmolLM2-135M-Instruct.Q4_1.gguf --max-num-seqs 8 --port 8000
  engine --model tiny --scheduler static --pool contiguous
  engine --sim h100:qwen2.5-7b
  engine --sim h100:llama-3.1-70bx4 --max-num-seqs 128
  engine --sim cpu:smollm2-135m       (this machine, after `cargo xtask model calibrate`)")]
struct Args {
    #[command(flatten)]
    serve: ServeArgs,
    /// A .gguf file, a folder with safetensors and config.json, or `tiny` (a seeded random model)
    #[cfg(feature = "live")]
    #[arg(long)]
    model: Option<ModelSource>,
    /// This engine was built without models (feature `live`): use --sim
    #[cfg(not(feature = "live"))]
    #[arg(long, value_parser = no_model)]
    model: Option<String>,
    /// Behave like this model on this device, or on N of them: DEVICE:MODEL or DEVICE:MODELxN
    #[arg(long, value_name = "DEVICE:MODEL")]
    sim: Option<Placement>,
    /// Tokens after which a simulated answer ends, unless the request ends it earlier
    #[arg(long, default_value_t = 256, requires = "sim")]
    sim_answer_tokens: usize,
    /// Part of the simulated device's memory that the engine may use
    #[arg(long, default_value_t = 0.92, requires = "sim")]
    gpu_memory_utilization: f64,
    /// Who chooses what runs in a step
    #[arg(long, value_enum, default_value_t = SchedulerKind::Continuous)]
    scheduler: SchedulerKind,
    /// Who hands out KV-cache memory
    #[arg(long, value_enum, default_value_t = PoolKind::Paged)]
    pool: PoolKind,
    /// What /metrics says
    #[arg(long, value_enum, default_value_t = RecorderKind::Histograms)]
    recorder: RecorderKind,
    /// Sequences that may run at once; by default 8, and 256 in a simulation
    #[arg(long)]
    max_num_seqs: Option<usize>,
    /// Tokens that one step may feed to the model; by default 256, and vLLM's in a simulation
    #[arg(long)]
    max_num_batched_tokens: Option<usize>,
    /// Feed no more prompt tokens than let each step with decodes end within this many milliseconds;
    /// without it, whatever --max-num-batched-tokens leaves room for
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    tpot_slo: Option<Duration>,
    /// Token slots in a KV block
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    block_size: u16,
    /// KV blocks in all; by default room for four contexts of the longest length, and in a simulation what fits the
    /// device
    #[arg(long)]
    num_kv_blocks: Option<usize>,
    /// Longest context in tokens, by default 2048; the model's own limit applies as well
    #[arg(long)]
    max_model_len: Option<usize>,
    /// Threads of the model; by default one a core
    #[cfg(feature = "live")]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Compute every prompt from its first token, even where its prefix is in the cache
    #[arg(long)]
    no_prefix_caching: bool,
    #[cfg(feature = "live")]
    /// Keep all weights in f32: exact to the file, and several times as slow to read
    #[arg(long)]
    f32_weights: bool,
    /// Faults that files of this folder switch on: hang, renamed-metric, slow-tokenizer, stale-metrics,
    /// slow-steps, kv-starvation, slow-load; or their names in its file `active` (task 1.7)
    #[arg(long, value_name = "FOLDER")]
    debug_faults: Option<PathBuf>,
    #[cfg(feature = "live")]
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
    let name = serve.served_model_name.get_or_insert_with(|| model_name(&args)).clone();
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
fn model_name(args: &Args) -> String {
    if let Some(placement) = &args.sim {
        return placement.model.clone();
    }
    #[cfg(feature = "live")]
    match &args.model {
        Some(ModelSource::Gguf(path)) => return lossy(path.file_stem()),
        Some(ModelSource::HuggingFaceDir(path)) => return lossy(path.file_name()),
        Some(ModelSource::Tiny { .. }) | None => {}
    }
    "tiny".to_owned()
}

#[cfg(feature = "live")]
fn lossy(name: Option<&std::ffi::OsStr>) -> String {
    name.unwrap_or(std::ffi::OsStr::new("model")).to_string_lossy().into_owned()
}

#[cfg(not(feature = "live"))]
fn no_model(_: &str) -> Result<String, String> {
    Err("this engine was built without models: build it with `--features live`, or use \
         `--sim DEVICE:MODEL`"
        .to_owned())
}

/// Puts the parts together. Runs on the engine's thread while HTTP is up already.
fn load(args: &Args) -> Result<Backend, LoadError> {
    if let Some(folder) = &args.debug_faults {
        FaultSwitch::new(folder).wait_while(Fault::SlowLoad, LOAD_LIMIT);
    }
    if let Some(placement) = &args.sim {
        return simulate(args, placement);
    }
    #[cfg(feature = "live")]
    if let Some(source) = &args.model {
        return load_model(args, source);
    }
    Err("nothing to serve: use --sim DEVICE:MODEL".into())
}

/// An engine that takes as long as this model would on that device.
fn simulate(args: &Args, placement: &Placement) -> Result<Backend, LoadError> {
    let limits = placement.limits(args.max_num_seqs, args.max_num_batched_tokens)?;
    let block_size = usize::from(args.block_size);
    let fit = placement.roofline.kv_blocks(limits, args.gpu_memory_utilization, block_size);
    let num_blocks = args.num_kv_blocks.unwrap_or(fit);
    if num_blocks == 0 {
        let model = &placement.model;
        return Err(format!(
            "{model} leaves no room for a KV cache on this device: give it more of them, --sim DEVICE:{model}xN"
        )
        .into());
    }
    let most = num_blocks.saturating_mul(block_size);
    let max_model_len = args.max_model_len.unwrap_or(SIMULATED_LEN.min(most));
    let scheduler = scheduler(args, limits, num_blocks, max_model_len)?;
    let executor = RealTimeExecutor::new(placement.roofline.clone(), args.sim_answer_tokens);
    let codec = Arc::new(SyllableCodec);
    Ok(backend(args, scheduler, Box::new(executor), codec, max_model_len))
}

#[cfg(feature = "live")]
fn load_model(args: &Args, source: &ModelSource) -> Result<Backend, LoadError> {
    let options = LoadOptions {
        device: if args.cuda { DeviceKind::Cuda { ordinal: 0 } } else { DeviceKind::Cpu },
        threads: args.threads,
        max_model_len: Some(args.max_model_len.unwrap_or(MODEL_LEN)),
        weights: if args.f32_weights { WeightFormat::Full } else { WeightFormat::Auto },
    };
    let model = model::load(source, &options)?;
    let (codec, max_model_len) = (model.codec.clone(), model.max_model_len);
    let block_size = usize::from(args.block_size);
    let four = 4 * serving::blocks_for(max_model_len, block_size);
    let num_blocks = args.num_kv_blocks.unwrap_or(four);
    let (seqs, budget) = (args.max_num_seqs, args.max_num_batched_tokens);
    let limits = SchedulerLimits::try_new(seqs.unwrap_or(8), budget.unwrap_or(256))?;
    let scheduler = scheduler(args, limits, num_blocks, max_model_len)?;
    let executor = model.into_executor(num_blocks, block_size)?;
    Ok(backend(args, scheduler, Box::new(executor), codec, max_model_len))
}

/// What the server serves, behind the faults that may be switched on.
fn backend(
    args: &Args,
    scheduler: Box<dyn Scheduler>,
    executor: Box<dyn Executor>,
    codec: Arc<dyn TextCodec>,
    max_model_len: usize,
) -> Backend {
    let Some(folder) = &args.debug_faults else {
        return Backend { engine: Engine::new(scheduler, executor), codec, max_model_len };
    };
    let switch = FaultSwitch::new(folder);
    let executor = Box::new(Faulty::new(executor, switch.clone()));
    let codec = Arc::new(Faulty::new(codec, switch));
    Backend { engine: Engine::new(scheduler, executor), codec, max_model_len }
}

/// The scheduler and the pool asked for, if the pool can hold one context.
fn scheduler(
    args: &Args,
    limits: SchedulerLimits,
    num_blocks: usize,
    max_model_len: usize,
) -> Result<Box<dyn Scheduler>, LoadError> {
    if args.tpot_slo.is_some() && args.scheduler == SchedulerKind::Static {
        return Err("--tpot-slo needs --scheduler continuous".into());
    }
    let block_size = usize::from(args.block_size);
    let needed = serving::blocks_for(max_model_len, block_size);
    if num_blocks < needed {
        return Err(format!(
            "{num_blocks} KV blocks of {block_size} tokens (--num-kv-blocks) cannot hold one context of \
             {max_model_len} tokens: raise it to {needed}, or lower --max-model-len"
        )
        .into());
    }
    Ok(match args.pool {
        PoolKind::Contiguous => on_pool(args, limits, ContiguousPool::new(num_blocks, block_size)),
        PoolKind::Paged => {
            let pool = PagedPool::new(num_blocks, block_size);
            on_pool(args, limits, pool.with_prefix_caching(!args.no_prefix_caching))
        }
    })
}

/// A scheduler on this pool, behind the faults that may be switched on.
fn on_pool<P: BlockPool + 'static>(
    args: &Args,
    limits: SchedulerLimits,
    pool: P,
) -> Box<dyn Scheduler> {
    match &args.debug_faults {
        Some(folder) => schedule_on(args, limits, Faulty::new(pool, FaultSwitch::new(folder))),
        None => schedule_on(args, limits, pool),
    }
}

fn schedule_on<P: BlockPool + 'static>(
    args: &Args,
    limits: SchedulerLimits,
    pool: P,
) -> Box<dyn Scheduler> {
    let budget: Box<dyn TokenBudget> = match args.tpot_slo {
        Some(slo) => Box::new(AdaptiveBudget::new(slo)),
        None => Box::new(FixedBudget),
    };
    match args.scheduler {
        SchedulerKind::Static => Box::new(StaticScheduler::new(limits, pool)),
        SchedulerKind::Continuous => {
            Box::new(ContinuousScheduler::new(limits, pool).with_budget(budget))
        }
    }
}

/// A time in milliseconds, like `30` or `7.5`.
fn milliseconds(text: &str) -> Result<Duration, String> {
    let ms: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let time = Duration::try_from_secs_f64(ms / 1e3).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("no step takes no time".to_owned()) } else { Ok(time) }
}
