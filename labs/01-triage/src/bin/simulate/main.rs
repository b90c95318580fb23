//! The simulator's command line: this lab's scheduler, pool and roofline as a fleet in virtual time.
//!
//! No model, no server, no waiting: an hour of traffic takes seconds.

mod args;
mod table;

use std::io::{BufReader, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use lab01_triage::{ContinuousScheduler, Naming, PagedPool, Placement, roofline};
use nix::time::{ClockId, clock_gettime};
use serving::baseline::{ContiguousPool, StaticScheduler};
use serving::{BlockPool, Scheduler, SchedulerLimits};
use simulation::{Arrival, Fleet, ModelShape, Replica, ReplicaSpec, Report, RoundRobin};
use workload::{ArrivalProcess, Gaps, Mix, RateProfile, TimedRequest, Trace};

use args::{Args, PoolKind, SchedulerKind};

fn main() -> ExitCode {
    let args = Args::parse();
    match unsolved::catch("cargo xtask simulate --solution ...", || run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let mut out = anstream::stdout().lock();
    if args.list {
        return Ok(table::list(&mut out)?);
    }
    let placement = placement(args)?;
    let arrivals = arrivals(args)?;
    let started = cpu_time()?;
    let requests = arrivals.len();
    let report = simulate(args, &placement, arrivals)?;
    let spent = cpu_time()? - started;
    let summary = report.summary(&args.slo());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &summary)?;
        writeln!(out)?;
        return Ok(());
    }
    table::show(&mut out, &placement, &summary)?;
    if args.bench {
        table::speed(&mut out, requests, &report, spent)?;
    }
    Ok(())
}

/// The model on its devices.
fn placement(args: &Args) -> Result<Placement> {
    let (device, gpus) = (args.device.as_str(), args.tensor_parallel.get());
    let Some(path) = &args.config else {
        return Ok(Placement::named(device, &args.model, gpus)?);
    };
    let json = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let shape = ModelShape::from_hf_config(&json).with_context(|| path.display().to_string())?;
    let name = path.parent().and_then(|folder| folder.file_name()).unwrap_or(path.as_os_str());
    Ok(Placement::of_shape(device, &name.to_string_lossy(), shape, gpus)?)
}

/// Who asks what, and when.
fn arrivals(args: &Args) -> Result<Vec<Arrival>> {
    if let Some(path) = &args.trace {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        let trace = Trace::read(BufReader::new(file), args.seed)
            .with_context(|| path.display().to_string())?
            .speed_up(args.speed_up)?;
        return Ok(trace.requests.into_iter().map(Arrival::from).take(args.requests).collect());
    }
    let profile: RateProfile = args.rate.parse()?;
    let gaps: Gaps = args.arrivals.parse()?;
    let times = ArrivalProcess { gaps, profile }.schedule(args.requests, args.seed);
    let mix = Mix {
        input: args.input.parse()?,
        output: args.output.parse()?,
        shared_prefix: args.shared_prefix.as_deref().map(str::parse).transpose()?,
    };
    let requests = times.into_iter().zip(mix.requests(args.seed));
    Ok(requests.map(|(at, request)| TimedRequest { at, request }.into()).collect())
}

fn simulate(args: &Args, placement: &Placement, arrivals: Vec<Arrival>) -> Result<Report> {
    let limits = placement.limits(args.max_num_seqs, args.max_num_batched_tokens)?;
    let block_size = usize::from(args.block_size);
    let utilization = args.gpu_memory_utilization;
    let fit = placement.roofline.kv_blocks(limits, utilization, block_size);
    let num_blocks = args.num_kv_blocks.unwrap_or(fit);
    if num_blocks == 0 {
        bail!("{} leaves no room for a KV cache there: use more devices", placement.model);
    }
    let max_model_len = args.max_model_len.unwrap_or(usize::MAX);
    let frontend = Some(placement.roofline.device().host);
    let spec = ReplicaSpec { max_model_len, frontend, ..ReplicaSpec::new(limits, block_size) };
    let replica = |_| {
        let scheduler = scheduler(args, limits, num_blocks);
        let cost = placement.roofline.clone();
        Replica::new(spec, scheduler, cost).with_binding(roofline::binding)
    };
    let replicas = (0..args.replicas.get()).map(replica).collect();
    let until = args.until.map_or(Duration::MAX, Duration::from);
    Ok(Fleet::new(replicas, RoundRobin::default()).run(arrivals, until)?)
}

fn scheduler(args: &Args, limits: SchedulerLimits, num_blocks: usize) -> Box<dyn Scheduler> {
    let block_size = usize::from(args.block_size);
    match args.pool {
        PoolKind::Contiguous => on_pool(args, limits, ContiguousPool::new(num_blocks, block_size)),
        PoolKind::Paged => {
            // Its prompts are made here or come from a trace: nobody gains by a collision.
            let pool = PagedPool::new(num_blocks, block_size).with_naming(Naming::Trusting);
            on_pool(args, limits, pool.with_prefix_caching(!args.no_prefix_caching))
        }
    }
}

fn on_pool<P: BlockPool + 'static>(
    args: &Args,
    limits: SchedulerLimits,
    pool: P,
) -> Box<dyn Scheduler> {
    match args.scheduler {
        SchedulerKind::Static => Box::new(StaticScheduler::new(limits, pool)),
        SchedulerKind::Continuous => Box::new(ContinuousScheduler::new(limits, pool)),
    }
}

/// What this process has computed so far: unlike time on the wall, it does not depend on who else does.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
