//! Measures this machine: runs a model's steps of many sizes, finds the roofs that explain them, and keeps them for
//! `--device cpu` and `--sim cpu:MODEL`.

mod measure;
mod table;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use clap::Parser;
use lab01_triage::calibration::fit;
use model::{LlamaConfig, LoadOptions, ModelSource};
use simulation::{Calibration, ModelShape, Roofs};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// Measures how long steps of many sizes take here, and keeps what explains them as the device `cpu`.
#[derive(Debug, Parser)]
#[command(name = "calibrate")]
struct Args {
    /// A .gguf file, a folder with safetensors and config.json, or `tiny` (a seeded random model)
    #[arg(long)]
    model: ModelSource,
    /// Threads of the model; by default one a core
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// How often each step is measured; the median counts
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=MAX_ROUNDS))]
    rounds: u16,
    /// Where to keep the result; by default in the user's cache, where the device is looked for
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// More rounds than this say no more.
const MAX_ROUNDS: i64 = 1000;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("calibrate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let output = match &args.output {
        Some(path) => path.clone(),
        None => lab_cache::calibration().context("there is no cache folder: set HOME")?,
    };
    let threads = args.threads.map_or_else(available_parallelism, Ok)?;
    anstream::eprintln!("loading the model");
    let options = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    let model = model::load(&args.model, &options)?;
    let (name, shape) = (model.name.clone(), shape(model.config()));
    let steps = measure::steps(model, usize::from(args.rounds), |round| {
        anstream::eprintln!("round {round} of {}", args.rounds);
    })?;
    let roofs: Roofs = fit(&shape, &steps).context("what was measured makes no device")?;
    let (processor, memory_bytes) = machine();
    let calibration = Calibration {
        date: time::OffsetDateTime::now_utc().date().to_string(),
        processor,
        threads: threads.get(),
        model: name,
        memory_bytes,
        roofs: roofs.into(),
        steps,
    };
    save(&output, &calibration.to_json()?)?;
    table::show(&mut anstream::stdout().lock(), &calibration, &shape)?;
    anstream::println!("\nkept in {}", output.display());
    Ok(())
}

/// The shape of a model, with 16 bits a weight as in the catalogue: a device is the same for all models only if
/// their weights count alike. An engine that keeps fewer bits then looks like a device with more bandwidth.
fn shape(config: &LlamaConfig) -> ModelShape {
    ModelShape {
        layers: config.num_layers,
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        heads: config.num_heads,
        kv_heads: config.num_kv_heads,
        head_dim: config.head_dim,
        vocab: config.vocab_size,
        tied_embeddings: config.tied_embeddings,
        experts: 1,
        experts_per_token: 1,
        weight_bytes: 2,
        kv_bytes: 2,
    }
}

/// The processor's name, and the memory in bytes.
fn machine() -> (String, u64) {
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted);
    let processor = system.cpus().first().map_or("unknown", |cpu| cpu.brand().trim());
    (processor.to_owned(), system.total_memory())
}

/// Another program may read it at any time: it finds the old one or the new one, whole.
fn save(path: &Path, text: &str) -> Result<()> {
    let context = || path.display().to_string();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(context)?;
    }
    let new = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&new, text).with_context(context)?;
    std::fs::rename(&new, path).with_context(context)
}
