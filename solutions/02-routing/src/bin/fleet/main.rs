//! A fleet in virtual time behind each policy of this lab: the published shared-prefix ladder, bursty conversations, or
//! any mix or trace. No server, no waiting: a quarter of an hour of traffic takes seconds.

mod args;
mod cost;
mod figures;
mod table;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use simulation::{Fleet, Replica, ReplicaSpec, Report, RouterLimits};
use sol01_triage::{ContinuousScheduler, Naming, PagedPool, Placement, roofline};
use sol02_routing::policies::PolicyKind;
use sol02_routing::{Limits, Rules};

use args::Args;
use figures::Run;
use workload::Workload;

/// Token slots in a block of the engines' KV caches.
const BLOCK: usize = 16;

fn main() -> ExitCode {
    let args = Args::parse();
    match unsolved::catch("cargo xtask simulate --lab 2 --solution ...", || run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let kinds = if args.policy.is_empty() { PolicyKind::ALL.to_vec() } else { args.policy.clone() };
    if args.cost {
        return cost::show(&mut anstream::stdout().lock(), &kinds, args.seed);
    }
    let workload = Workload::of(args)?;
    if let Some(path) = &args.save_trace {
        return std::fs::write(path, workload.trace()).with_context(|| path.display().to_string());
    }
    let placement = Placement::named(&args.device, args.model(), args.tensor_parallel())?;
    let mut runs = Vec::new();
    for kind in kinds {
        let report = serve(args, &placement, kind, &workload)?;
        runs.push(Run::new(kind, &report, &workload, &args.slo));
    }
    let mut out = anstream::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &figures::document(args, &workload, &runs))?;
        return Ok(std::io::Write::write_all(&mut out, b"\n")?);
    }
    Ok(table::show(&mut out, args, &workload, &runs)?)
}

fn serve(
    args: &Args,
    placement: &Placement,
    kind: PolicyKind,
    workload: &Workload,
) -> Result<Report> {
    let limits = placement.limits(args.max_num_seqs, None)?;
    let blocks = placement.roofline.kv_blocks(limits, args.gpu_memory_utilization, BLOCK);
    if blocks == 0 {
        bail!("{} leaves no room for a KV cache there: use more devices", placement.model);
    }
    let spec = ReplicaSpec {
        frontend: (!args.no_frontend).then(|| placement.roofline.device().host),
        max_queue: args.max_queue.unwrap_or(usize::MAX),
        ..ReplicaSpec::new(limits, BLOCK)
    };
    let replica = |_| {
        // Prompts are made here or come from a trace: nobody gains by a collision.
        let pool = PagedPool::new(blocks, BLOCK).with_naming(Naming::Trusting);
        let scheduler = Box::new(ContinuousScheduler::new(limits, pool));
        Replica::new(spec, scheduler, placement.roofline.clone()).with_binding(roofline::binding)
    };
    let every = Duration::from(args.scrape_every);
    let policy = |router: u64| kind.build(Limits::for_scrapes_every(every), args.seed + router);
    let replicas = (0..args.replicas()).map(replica).collect();
    let mut fleet = Fleet::new(replicas, policy(0)).with_scrapes_every(every);
    for router in 1..u64::from(args.routers) {
        fleet = fleet.with_router(policy(router));
    }
    if let Some(max_in_flight) = args.max_in_flight {
        let Rules { max_queue, exchange, .. } = Rules::default();
        let max_wait = exchange.max_wait;
        fleet = fleet.with_limits(RouterLimits { max_in_flight, max_queue, max_wait });
    }
    if let Some(trouble) = args.trouble {
        fleet = trouble.strike(fleet, args.trouble_from.into(), args.trouble_until.into());
    }
    Ok(fleet.run(workload.arrivals.iter().cloned(), Duration::MAX)?)
}
