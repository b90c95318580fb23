//! Figures for people.

use std::io::{Result, Write};

use sol02_routing::policies::PolicyKind;
use sol02_routing::published::{LLMD, Measured, SERVICE, Stage, Summary};

use crate::args::Args;
use crate::figures::Run;
use crate::workload::Workload;

/// Prints all.
pub(crate) fn show(
    out: &mut dyn Write,
    args: &Args,
    workload: &Workload,
    runs: &[Run],
) -> Result<()> {
    let (replicas, gpus) = (args.replicas(), args.tensor_parallel());
    let (model, device) = (args.model(), &args.device);
    writeln!(
        out,
        "{replicas} replicas of {model} on {gpus} x {device}, {} router(s)",
        args.routers
    )?;
    if let Some(trouble) = args.trouble {
        let (from, until) = (args.trouble_from, args.trouble_until);
        writeln!(out, "trouble: {trouble}, from {from} until {until}")?;
    }
    writeln!(out)?;
    overview(out, runs)?;
    if workload.parts.iter().any(|part| part.stage.is_some()) {
        beside_published(out, runs)?;
        by_rate(out, workload, runs)?;
    }
    Ok(())
}

fn overview(out: &mut dyn Write, runs: &[Run]) -> Result<()> {
    let head =
        ("policy", "goodput", "output/s", "TTFT mean", "p90", "p99", "ITL mean", "hits", "busiest");
    let (policy, goodput, output, mean, p90, p99, itl, hits, busiest) = head;
    writeln!(
        out,
        "{policy:<14}{goodput:>8}{output:>10}{mean:>11}{p90:>10}{p99:>10}{itl:>11}{hits:>7}{busiest:>9}"
    )?;
    for Run { kind, total, hit_rate, imbalance, .. } in runs {
        writeln!(
            out,
            "{:<14}{:>7.1}%{:>10.0}{:>9.3} s{:>8.2} s{:>8.2} s{:>8.1} ms{:>6.0}%{:>8.2}x",
            kind.name(),
            100.0 * total.goodput,
            total.output_tokens_per_s,
            total.ttft_mean_s,
            total.ttft_p90_s,
            total.ttft_p99_s,
            total.itl_mean_ms,
            100.0 * hit_rate,
            imbalance,
        )?;
    }
    Ok(())
}

/// The published summary, which is over the whole ladder.
fn beside_published(out: &mut dyn Write, runs: &[Run]) -> Result<()> {
    writeln!(out, "\npublished (llm-d, optimized-baseline), beside what is simulated here")?;
    for (kind, name, published) in [
        (PolicyKind::RoundRobin, "Kubernetes Service", SERVICE),
        (PolicyKind::Combined, "llm-d router", LLMD),
    ] {
        let Summary { measured, itl_mean_ms } = published;
        let Measured { output_tokens_per_s, ttft_mean_s, ttft_p90_s } = measured;
        writeln!(
            out,
            "{name:<20}{output_tokens_per_s:>8.0} tok/s  TTFT {ttft_mean_s:>7.3} s  p90 {ttft_p90_s:>7.2} s  ITL {itl_mean_ms:>5.1} ms"
        )?;
        for Run { total, .. } in runs.iter().filter(|run| run.kind == kind) {
            writeln!(
                out,
                "{:<20}{:>8.0} tok/s  TTFT {:>7.3} s  p90 {:>7.2} s  ITL {:>5.1} ms",
                format!("  {} here", kind.name()),
                total.output_tokens_per_s,
                total.ttft_mean_s,
                total.ttft_p90_s,
                total.itl_mean_ms,
            )?;
        }
    }
    Ok(())
}

fn by_rate(out: &mut dyn Write, workload: &Workload, runs: &[Run]) -> Result<()> {
    writeln!(out, "\noutput in tok/s, and mean TTFT in s, at each rate")?;
    write!(out, "{:>4}  {:>15}{:>15}", "rate", "Service", "llm-d")?;
    for run in runs {
        write!(out, "{:>15}", run.kind.name())?;
    }
    writeln!(out)?;
    for (index, part) in workload.parts.iter().enumerate() {
        let Some(Stage { rate, service, llmd, .. }) = part.stage else { continue };
        write!(out, "{rate:>4}  ")?;
        for measured in [service, llmd].into_iter().flatten() {
            write!(out, "{:>7.0}{:>8.3}", measured.output_tokens_per_s, measured.ttft_mean_s)?;
        }
        for figures in runs.iter().filter_map(|run| run.parts.get(index)) {
            write!(out, "{:>7.0}{:>8.3}", figures.output_tokens_per_s, figures.ttft_mean_s)?;
        }
        writeln!(out)?;
    }
    Ok(())
}
