//! A result as Markdown, for the book and for terminals.

use std::fmt::Write;

use super::{Fleet, PolicyResult, PolicyRun, PublishedFigures};

/// The policies that stand beside the published arms, in their order.
const TWINS: [&str; 2] = ["round-robin", "combined"];

/// Both workloads.
#[must_use]
pub fn markdown(result: &PolicyResult) -> String {
    let mut out = String::new();
    let PolicyResult { ladder, conversations, .. } = result;
    beside_published(&mut out, ladder);
    heading(&mut out, "The ladder, at all of its rates", ladder);
    all(&mut out, ladder);
    heading(&mut out, "Conversations that begin in bursts", conversations);
    all(&mut out, conversations);
    let commit = result.commit.as_deref().unwrap_or("an unknown commit");
    let _ = writeln!(out, "\n`{}` on {}, at {commit}.", result.command, result.date);
    out
}

fn heading(out: &mut String, title: &str, fleet: &Fleet) {
    let Fleet { device, model, tensor_parallel, replicas, seed, .. } = fleet;
    let _ = writeln!(
        out,
        "\n**{title}**: {replicas} replicas of {model} on {tensor_parallel} x {device}, seed {seed}.\n"
    );
}

/// The published arms, each above its twin.
fn beside_published(out: &mut String, fleet: &Fleet) {
    let Some(published) = &fleet.published else { return };
    out.push_str("| over the whole ladder | output, tok/s | TTFT mean | TTFT p90 | ITL mean |\n");
    out.push_str("|---|---:|---:|---:|---:|\n");
    for (arm, twin) in published.iter().zip(TWINS) {
        let PublishedFigures { output_tokens_per_s, ttft_mean_s, ttft_p90_s, itl_mean_ms, .. } =
            arm.total;
        let itl = itl_mean_ms.map_or(String::new(), |itl| format!("{itl:.1} ms"));
        let _ = writeln!(
            out,
            "| published: {} | {output_tokens_per_s:.0} | {ttft_mean_s:.3} s | {ttft_p90_s:.2} s | {itl} |",
            arm.name
        );
        for PolicyRun { total, .. } in fleet.runs.iter().filter(|run| run.policy == twin) {
            let _ = writeln!(
                out,
                "| simulated: {twin} | {:.0} | {:.3} s | {:.2} s | {:.1} ms |",
                total.output_tokens_per_s, total.ttft_mean_s, total.ttft_p90_s, total.itl_mean_ms,
            );
        }
    }
}

fn all(out: &mut String, fleet: &Fleet) {
    let limit = |limit: Option<f64>| limit.map_or("any".to_owned(), |ms| format!("{ms:.0} ms"));
    let _ = writeln!(
        out,
        "| policy | within {} and {} a token | output, tok/s | TTFT mean | p90 | p99 | ITL mean | prompt tokens found | busiest replica |",
        limit(fleet.slo.ttft_ms),
        limit(fleet.slo.tpot_ms),
    );
    out.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for PolicyRun { policy, total, prefix_hit_rate, imbalance, .. } in &fleet.runs {
        let _ = writeln!(
            out,
            "| {policy} | {:.1} % | {:.0} | {:.3} s | {:.2} s | {:.2} s | {:.1} ms | {:.0} % | {imbalance:.2} x |",
            100.0 * total.goodput,
            total.output_tokens_per_s,
            total.ttft_mean_s,
            total.ttft_p90_s,
            total.ttft_p99_s,
            total.itl_mean_ms,
            100.0 * prefix_hit_rate,
        );
    }
}
