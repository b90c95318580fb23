//! What people read: predicted beside measured.

use std::io::{Result, Write};

use simulation::{Calibration, Limit, MeasuredStep, ModelShape, StepCost};
use sol01_triage::Roofline;
use sol01_triage::calibration::plan;

/// The steps, the roofs, and how far one is from the other.
pub(crate) fn show(
    out: &mut impl Write,
    calibration: &Calibration,
    shape: &ModelShape,
) -> Result<()> {
    let Calibration { processor, threads, model, roofs, steps, .. } = calibration;
    writeln!(out, "{model} on {processor}, {threads} threads\n")?;
    writeln!(out, "{:<36}{:>10}{:>11}{:>8}  bound by", "step", "measured", "predicted", "off")?;
    let roofline = Roofline::new(shape.clone(), calibration.device());
    let (mut sum, mut worst) = (0.0, 0.0_f64);
    for step in steps {
        let time = roofline.step_time(&plan(step));
        let predicted = time.total.as_secs_f64() * 1e6;
        let off = predicted / step.time_us - 1.0;
        sum += off.abs();
        worst = worst.max(off.abs());
        let (name, off) = (describe(step), format!("{:+.0} %", off * 100.0));
        let (measured, predicted) = (ms(step.time_us), ms(predicted));
        let bound = match time.binds {
            Limit::Compute => "arithmetic",
            Limit::MemoryBandwidth => "memory",
            _ => "what each step takes",
        };
        writeln!(out, "{name:<36}{measured:>10}{predicted:>11}{off:>8}  {bound}")?;
    }
    let (mean, worst) = (100.0 * sum / steps.len() as f64, 100.0 * worst);
    writeln!(out, "\nerror       {mean:.0} % on average, {worst:.0} % at most")?;
    writeln!(out, "arithmetic  {:.0} GFLOP/s", roofs.flop_per_s / 1e9)?;
    writeln!(out, "memory      {:.0} GB/s, counting 16 bits a weight", roofs.bytes_per_s / 1e9)?;
    writeln!(out, "on top      {} a step, {} a sequence", ms(roofs.step_us), ms(roofs.sequence_us))
}

fn ms(us: f64) -> String {
    format!("{:.2} ms", us / 1e3)
}

/// `prompt 0..64`, `4 decodes at 256`, or both.
fn describe(step: &MeasuredStep) -> String {
    let is_decode = |chunk: &&(usize, usize)| chunk.1 == 1;
    let mut parts = Vec::new();
    for &(start, tokens) in step.chunks.iter().filter(|chunk| !is_decode(chunk)) {
        parts.push(format!("prompt {start}..{}", start + tokens));
    }
    let decodes: Vec<_> = step.chunks.iter().filter(is_decode).collect();
    match decodes[..] {
        [] => {}
        [(start, _)] => parts.push(format!("1 decode at {start}")),
        [(start, _), ..] => parts.push(format!("{} decodes at {start}", decodes.len())),
    }
    parts.join(" + ")
}
