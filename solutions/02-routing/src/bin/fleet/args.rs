//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use simulation::{Slo, Trouble};
use sol02_routing::policies::PolicyKind;

/// Serves the same requests by a fleet behind each policy of this lab, in virtual time.
#[derive(Debug, Parser)]
#[command(name = "fleet", bin_name = "cargo xtask simulate --lab 2")]
#[command(after_help = "Examples:
  cargo xtask simulate --lab 2                                   the published ladder, all policies
  cargo xtask simulate --lab 2 --rates 10,40 --policy combined   two of its rates, one policy
  cargo xtask simulate --lab 2 --workload conversations          sessions that come in bursts
  cargo xtask simulate --lab 2 --workload mix --rate 60 --shared-prefix groups=40,tokens=2000
  cargo xtask simulate --lab 2 --workload mix --trouble slow-replica      one replica of four is slow for a minute
  cargo xtask simulate --lab 2 --routers 8 --scrape-every 1s     routers that share old metrics
  cargo xtask simulate --lab 2 --max-in-flight 256               routers with the live router's limits")]
pub(crate) struct Args {
    /// What is asked
    #[arg(long, value_enum, default_value_t = WorkloadKind::SharedPrefix)]
    pub(crate) workload: WorkloadKind,
    /// A policy; may be repeated. By default all: round-robin, least-request, p2c, load, prefix, combined
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Vec<PolicyKind>,
    /// Of the shared-prefix ladder, only these rates
    #[arg(long, value_delimiter = ',', value_name = "RATE,...")]
    pub(crate) rates: Vec<u32>,

    /// Device, by name
    #[arg(long, default_value = "h100")]
    pub(crate) device: String,
    /// Model, by name [default: qwen3-32b for the ladder, else llama-3.1-8b]
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Devices that share each replica's model [default: 2 for the ladder, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) tensor_parallel: Option<u16>,
    /// Replicas [default: 8 for the ladder, else 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) replicas: Option<u16>,
    /// Sequences that a replica runs at once; by default vLLM's
    #[arg(long)]
    pub(crate) max_num_seqs: Option<usize>,
    /// Requests that may wait at a replica; more are refused, and count against goodput
    #[arg(long)]
    pub(crate) max_queue: Option<usize>,
    /// Requests reach an engine at once, as they reach `sol01-engine --sim`: without the time that the device's host takes to read
    /// and tokenize them
    #[arg(long)]
    pub(crate) no_frontend: bool,
    /// Part of the device's memory that the engine may use
    #[arg(long, default_value_t = 0.92)]
    pub(crate) gpu_memory_utilization: f64,

    /// How often routers ask replicas for their load
    #[arg(long, default_value = "50ms")]
    pub(crate) scrape_every: humantime::Duration,
    /// Requests that a router sends to one replica at once, as `sol02-router` does with 256; policies are not shown a replica that
    /// has them, and where all have them requests wait in the router. By default there is no limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_in_flight: Option<u32>,
    /// What goes wrong: slow-replica, hung-engine, zone-partition, stale-metrics, silent-metrics
    #[arg(long, value_name = "NAME")]
    pub(crate) trouble: Option<Trouble>,
    /// When trouble begins
    #[arg(long, default_value = "20s")]
    pub(crate) trouble_from: humantime::Duration,
    /// When trouble is over
    #[arg(long, default_value = "80s")]
    pub(crate) trouble_until: humantime::Duration,
    /// Routers side by side; requests come to them in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) routers: u16,

    /// For conversations and mix: requests a second, each turn being one
    #[arg(long, default_value = "20")]
    pub(crate) rate: String,
    /// For mix: how regular, such as poisson or gamma:cv=2
    #[arg(long, default_value = "poisson")]
    pub(crate) arrivals: String,
    /// For mix and conversations: requests in all; of a trace, its first ones
    #[arg(long, default_value_t = 3000)]
    pub(crate) requests: usize,
    /// For mix: tokens of a prompt, without its shared beginning
    #[arg(long, default_value = "lognormal:mean=300,cv=1")]
    pub(crate) input: String,
    /// For mix: tokens of an answer
    #[arg(long, default_value = "lognormal:mean=150,cv=1")]
    pub(crate) output: String,
    /// For mix: what prompts begin with, such as groups=40,tokens=2000,skew=1
    #[arg(long)]
    pub(crate) shared_prefix: Option<String>,
    /// Requests and their times from a file instead, as Azure or Mooncake publish them
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Serve nothing; write the requests and their times there, as Mooncake's JSONL. Prompts share whole blocks of 512 tokens then
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "cost"])]
    pub(crate) save_trace: Option<PathBuf>,

    /// What counts as good
    #[arg(long, default_value = "ttft=2s,tpot=100ms")]
    pub(crate) slo: Slo,
    /// What randomness is drawn from: equal seeds, equal results
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// Serve nothing; say what a choice costs the router, in processor time
    #[arg(long, conflicts_with = "json")]
    pub(crate) cost: bool,
    /// One JSON object on standard output and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadKind {
    /// The published ladder: 150 prefixes, 5 prompts each, rates from 3 to 60 a second
    SharedPrefix,
    /// Sessions of several turns, which come in bursts
    Conversations,
    /// Requests drawn from distributions
    Mix,
}

impl Args {
    fn is_ladder(&self) -> bool {
        self.workload == WorkloadKind::SharedPrefix && self.trace.is_none()
    }

    pub(crate) fn model(&self) -> &str {
        let usual = if self.is_ladder() { "qwen3-32b" } else { "llama-3.1-8b" };
        self.model.as_deref().unwrap_or(usual)
    }

    pub(crate) fn tensor_parallel(&self) -> usize {
        self.tensor_parallel.unwrap_or(if self.is_ladder() { 2 } else { 1 }).into()
    }

    pub(crate) fn replicas(&self) -> usize {
        self.replicas.unwrap_or(if self.is_ladder() { 8 } else { 4 }).into()
    }
}
