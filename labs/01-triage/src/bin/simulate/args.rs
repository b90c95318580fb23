//! What can be typed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use simulation::Slo;

/// Serves requests on a device that is not here, in virtual time, with this lab's own scheduler, pool and roofline.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
#[command(after_help = "Examples:
  simulate --device h100 --model qwen2.5-7b --rate 20
  simulate --rate 40 --replicas 2 --slo ttft=500ms,tpot=25ms
  simulate --rate 1..40@5m --arrivals gamma:cv=3 --input lognormal:mean=800,p95=3000
  simulate --model llama-3.1-70b --tensor-parallel 4 --trace mooncake.jsonl
  simulate --list")]
pub(crate) struct Args {
    /// Device, by name (see --list); `cpu` is this machine, once `cargo xtask model calibrate` has measured it
    #[arg(long, default_value = "h100")]
    pub(crate) device: String,
    /// Model, by name (see --list)
    #[arg(long, default_value = "qwen2.5-7b")]
    pub(crate) model: String,
    /// Model, by its Hugging Face config.json
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub(crate) config: Option<PathBuf>,
    /// Devices that share each replica's model
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) tensor_parallel: NonZeroUsize,
    /// Engines behind a round-robin router
    #[arg(long, default_value = "1")]
    pub(crate) replicas: NonZeroUsize,

    /// Requests a second: 10, 1..20@60s, or 5@30s,20@30s
    #[arg(long, default_value = "4")]
    pub(crate) rate: String,
    /// How regular: constant, poisson, gamma:cv=2 or gamma:burstiness=0.25
    #[arg(long, default_value = "poisson")]
    pub(crate) arrivals: String,
    /// Requests in all; of a trace, its first ones
    #[arg(long, default_value_t = 1000)]
    pub(crate) requests: usize,
    /// Tokens of a prompt: 512, uniform:min=1,max=9, lognormal:mean=512,p95=2000
    #[arg(long, default_value = "512")]
    pub(crate) input: String,
    /// Tokens of an answer, as --input
    #[arg(long, default_value = "128")]
    pub(crate) output: String,
    /// What prompts begin with: groups=8,tokens=512 or groups=100,tokens=2000,skew=1
    #[arg(long)]
    pub(crate) shared_prefix: Option<String>,
    /// Requests and their times from a file, as Azure or Mooncake publish them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "arrivals", "input", "output"])]
    pub(crate) trace: Option<PathBuf>,
    /// Play a trace so many times as fast
    #[arg(long, default_value_t = 1.0, requires = "trace")]
    pub(crate) speed_up: f64,
    /// What randomness is drawn from: equal seeds, equal results
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// Virtual time at which to stop, such as 10m; by default when all requests have ended
    #[arg(long)]
    pub(crate) until: Option<humantime::Duration>,

    /// Who chooses what runs in a step
    #[arg(long, value_enum, default_value_t = SchedulerKind::Continuous)]
    pub(crate) scheduler: SchedulerKind,
    /// Who hands out KV-cache memory
    #[arg(long, value_enum, default_value_t = PoolKind::Paged)]
    pub(crate) pool: PoolKind,
    /// Sequences that may run at once; by default vLLM's
    #[arg(long)]
    pub(crate) max_num_seqs: Option<usize>,
    /// Tokens that one step may feed to the model; by default vLLM's for the device
    #[arg(long)]
    pub(crate) max_num_batched_tokens: Option<usize>,
    /// Token slots in a KV block
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) block_size: u16,
    /// KV blocks in all; by default what fits the device
    #[arg(long)]
    pub(crate) num_kv_blocks: Option<usize>,
    /// Part of the device's memory that the engine may use
    #[arg(long, default_value_t = 0.92)]
    pub(crate) gpu_memory_utilization: f64,
    /// Longest context in tokens; longer requests are refused
    #[arg(long)]
    pub(crate) max_model_len: Option<usize>,
    /// Compute every prompt from its first token, even where its prefix is in the cache
    #[arg(long)]
    pub(crate) no_prefix_caching: bool,

    /// What counts as good: ttft=500ms,tpot=50ms,e2e=5s, or some of these
    #[arg(long)]
    pub(crate) slo: Option<Slo>,
    /// One JSON object on standard output and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// Say how fast the simulation was, in CPU time
    #[arg(long, conflicts_with = "json")]
    pub(crate) bench: bool,
    /// Show the devices and models that have a name, and end
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchedulerKind {
    /// A batch starts together and ends with its longest sequence
    Static,
    /// A freed place is taken in the next step (task 1.3)
    Continuous,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PoolKind {
    /// Room for the longest possible sequence, up front
    Contiguous,
    /// Blocks as they are needed, shared by prefix (task 1.4)
    Paged,
}

impl Args {
    /// Without --slo, every successful request is good.
    pub(crate) fn slo(&self) -> Slo {
        self.slo.unwrap_or_default()
    }
}
