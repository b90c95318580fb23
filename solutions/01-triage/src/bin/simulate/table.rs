//! What people read.

use std::io::{Result, Write};
use std::time::Duration;

use simulation::{DeviceSpec, Limit, ModelShape, Report, Spread, Summary, THIS_MACHINE};
use sol01_triage::Placement;
use sol01_triage::calibration::{COMMAND, this_machine};

/// The devices and models that have a name.
pub(crate) fn list(out: &mut impl Write) -> Result<()> {
    writeln!(out, "{:<14}{:>9}{:>10}{:>11}", "device", "TFLOP/s", "GB/s", "memory GiB")?;
    let this = this_machine().map(|calibration| calibration.device());
    let known = DeviceSpec::names().filter_map(DeviceSpec::named);
    for device in known.chain(this.as_ref().ok().cloned()) {
        let (tflops, gb) = (device.flops / 1e12, device.bandwidth / 1e9);
        let gib = device.memory / (1u64 << 30) as f64;
        let digits = if tflops < 10.0 { 2 } else { 0 };
        writeln!(out, "{:<14}{tflops:>9.digits$}{gb:>10.0}{gib:>11.1}", device.name)?;
    }
    if this.is_err() {
        writeln!(out, "{THIS_MACHINE:<14}this machine: {COMMAND}")?;
    }
    writeln!(out, "\n{:<14}{:>9}{:>10}{:>11}", "model", "billion", "layers", "KV B/token")?;
    for name in ModelShape::names() {
        let Some(shape) = ModelShape::named(name) else { continue };
        let billion = shape.parameters() as f64 / 1e9;
        let (layers, kv) = (shape.layers, shape.kv_bytes_per_token());
        writeln!(out, "{name:<14}{billion:>9.1}{layers:>10}{kv:>11}")?;
    }
    Ok(())
}

/// The figures of a run.
pub(crate) fn show(out: &mut impl Write, placement: &Placement, summary: &Summary) -> Result<()> {
    let (model, device) = (&placement.model, &placement.roofline.device().name);
    let minutes = summary.duration.as_secs_f64() / 60.0;
    let ended = summary.requests.iter().map(|(how, count)| format!("{count} {how}"));
    let ended = ended.collect::<Vec<_>>().join(", ");
    writeln!(out, "{model} on {device}: {minutes:.1} minutes, requests: {ended}\n")?;

    writeln!(out, "{:<8}{:>10}{:>10}{:>10}{:>10}{:>10}", "ms", "mean", "p50", "p90", "p99", "max")?;
    let spreads = [
        ("TTFT", &summary.ttft),
        ("TPOT", &summary.tpot),
        ("ITL", &summary.itl),
        ("E2E", &summary.e2e),
        ("queue", &summary.queue),
    ];
    for (name, spread) in spreads {
        let Spread { mean, p50, p90, p99, max, .. } = spread;
        let cells = [mean, p50, p90, p99, max].map(|time| format!("{:>10.1}", ms(*time)));
        writeln!(out, "{name:<8}{}", cells.concat())?;
    }

    let (requests, output) = (summary.requests_per_s, summary.output_tokens_per_s);
    let good = summary.goodput_per_s;
    writeln!(out, "\nthroughput  {requests:.2} requests/s, {output:.0} output tokens/s")?;
    writeln!(out, "goodput     {good:.2} requests/s, {} of all", percent(summary.slo_attainment))?;
    let (mean, most) = (percent(summary.kv_use_mean), percent(summary.kv_use_max));
    writeln!(out, "KV cache    {mean} used on average, {most} at most")?;
    writeln!(out, "prefix hits {} of the tokens looked up", percent(summary.prefix_hit_rate))?;
    writeln!(out, "preemptions {}", summary.preemptions)?;
    writeln!(out, "busy        {} of the time", percent(summary.busy))?;
    let bound = summary.bound_by.iter().map(|(limit, part)| {
        let part = percent(*part);
        format!("{part} {}", describe(*limit))
    });
    let bound = bound.collect::<Vec<_>>().join(", ");
    writeln!(out, "bound by    {bound} of {} steps", summary.steps)
}

/// How fast the simulation was.
pub(crate) fn speed(
    out: &mut impl Write,
    requests: usize,
    report: &Report,
    spent: Duration,
) -> Result<()> {
    let tokens: f64 = report.requests.iter().map(|request| request.generated_tokens as f64).sum();
    let seconds = spent.as_secs_f64();
    let (rate, each) = (requests as f64 / seconds, seconds * 1e9 / tokens);
    writeln!(
        out,
        "\nsimulated   {rate:.0} requests a second of CPU, {each:.0} ns a token, {:.2} s in all",
        seconds
    )
}

fn describe(limit: Limit) -> &'static str {
    match limit {
        Limit::MemoryBandwidth => "memory bandwidth",
        Limit::Compute => "compute",
        Limit::HostOverhead => "host overhead",
        Limit::KvCapacity => "KV capacity",
        Limit::Queue => "queue",
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}
