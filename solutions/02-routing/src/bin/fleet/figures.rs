//! From reports to the figures that are compared.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use simulation::{Report, RequestRecord, Slo};
use sol02_routing::policies::PolicyKind;
use sol02_routing::published::{LLMD, Measured, SERVICE, Stage, Summary};

use crate::args::Args;
use crate::workload::{Part, Workload};

/// What one policy did.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) kind: PolicyKind,
    /// Over all parts; output is the mean of the parts, as the published summary has it.
    pub(crate) total: Figures,
    /// For each part.
    pub(crate) parts: Vec<Figures>,
    /// Prompt tokens that the engines' prefix caches had, of all that they looked up.
    pub(crate) hit_rate: f64,
    /// The most requests that one replica got, over the mean.
    pub(crate) imbalance: f64,
}

/// The figures of some requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) rate: Option<u32>,
    pub(crate) requests: usize,
    pub(crate) refused: usize,
    pub(crate) output_tokens_per_s: f64,
    pub(crate) ttft_mean_s: f64,
    pub(crate) ttft_p90_s: f64,
    pub(crate) ttft_p99_s: f64,
    /// Over all gaps between tokens.
    pub(crate) itl_mean_ms: f64,
    /// Part of all requests, refused ones included, that met the SLO.
    pub(crate) goodput: f64,
}

// === impl Run ===

impl Run {
    pub(crate) fn new(kind: PolicyKind, report: &Report, workload: &Workload, slo: &Slo) -> Self {
        let of = |part: &Part| {
            let rate = part.stage.map(|stage| stage.rate);
            Figures { rate, ..Figures::of(&report.requests[part.requests.clone()], slo) }
        };
        let parts: Vec<Figures> = workload.parts.iter().map(of).collect();
        let first = workload.parts.first().map_or(0, |part| part.requests.start);
        let counted = &report.requests[first..];
        let output: f64 = parts.iter().map(|part| part.output_tokens_per_s).sum();
        let output_tokens_per_s = output / parts.len().max(1) as f64;
        let total = Figures { output_tokens_per_s, ..Figures::of(counted, slo) };
        let hit_rate = report.summary(slo).prefix_hit_rate;
        let replicas = report.replicas.len();
        let counts = (0..replicas)
            .map(|replica| counted.iter().filter(|r| r.replica == Some(replica)).count());
        let most = counts.max().unwrap_or(0) as f64;
        let imbalance = most * replicas as f64 / counted.len().max(1) as f64;
        Self { kind, total, parts, hit_rate, imbalance }
    }
}

// === impl Figures ===

impl Figures {
    fn of(requests: &[RequestRecord], slo: &Slo) -> Self {
        let mut ttft: Vec<f64> =
            requests.iter().filter_map(|r| r.ttft).map(|ttft| ttft.as_secs_f64()).collect();
        ttft.sort_unstable_by(f64::total_cmp);
        let rank = |q: f64| {
            let rank = (q * ttft.len() as f64).ceil() as usize;
            ttft.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
        };
        let gaps = |request: &RequestRecord| {
            let gaps = request.generated_tokens.saturating_sub(1) as f64;
            request.tpot.map(|tpot| (tpot.as_secs_f64() * gaps, gaps))
        };
        let (time, count) = requests
            .iter()
            .filter_map(gaps)
            .fold((0.0, 0.0), |sum, gaps| (sum.0 + gaps.0, sum.1 + gaps.1));
        let end = |r: &RequestRecord| r.e2e.map(|e2e| r.arrived + e2e);
        let first = requests.first().map_or(Duration::ZERO, |request| request.arrived);
        let last = requests.iter().filter_map(end).max().unwrap_or(first);
        let tokens: usize = requests.iter().map(|request| request.generated_tokens).sum();
        let good = requests.iter().filter(|request| slo.is_met(request)).count();
        let refused = requests.iter().filter(|request| !request.outcome.is_success()).count();
        Self {
            rate: None,
            requests: requests.len(),
            refused,
            output_tokens_per_s: tokens as f64 / (last - first).as_secs_f64().max(1e-9),
            ttft_mean_s: ttft.iter().sum::<f64>() / ttft.len().max(1) as f64,
            ttft_p90_s: rank(0.9),
            ttft_p99_s: rank(0.99),
            itl_mean_ms: 1e3 * time / f64::max(count, 1.0),
            goodput: good as f64 / requests.len().max(1) as f64,
        }
    }
}

/// All that was found out, and what was published of the ladder.
pub(crate) fn document(args: &Args, workload: &Workload, runs: &[Run]) -> Value {
    let run = |run: &Run| {
        json!({
            "policy": run.kind.name(),
            "total": run.total,
            "parts": run.parts,
            "prefix_hit_rate": run.hit_rate,
            "imbalance": run.imbalance,
        })
    };
    json!({
        "device": args.device,
        "model": args.model(),
        "tensor_parallel": args.tensor_parallel(),
        "replicas": args.replicas(),
        "routers": args.routers,
        "slo": args.slo,
        "seed": args.seed,
        "runs": runs.iter().map(run).collect::<Vec<_>>(),
        "published": published(workload),
    })
}

/// The published figures of the ladder's stages; null for another workload.
fn published(workload: &Workload) -> Value {
    let stages: Vec<Stage> = workload.parts.iter().filter_map(|part| part.stage).collect();
    if stages.is_empty() {
        return Value::Null;
    }
    let figures = |measured: Measured| {
        json!({
            "output_tokens_per_s": measured.output_tokens_per_s,
            "ttft_mean_s": measured.ttft_mean_s,
            "ttft_p90_s": measured.ttft_p90_s,
        })
    };
    let arm = |name: &str, summary: Summary, of: fn(&Stage) -> Option<Measured>| {
        let mut total = figures(summary.measured);
        total["itl_mean_ms"] = summary.itl_mean_ms.into();
        let part = |stage: &Stage| {
            let mut part = of(stage).map_or(Value::Null, figures);
            part["rate"] = stage.rate.into();
            part
        };
        json!({ "name": name, "total": total, "parts": stages.iter().map(part).collect::<Vec<_>>() })
    };
    json!([
        arm("Kubernetes Service", SERVICE, |stage| stage.service),
        arm("llm-d router", LLMD, |stage| stage.llmd),
    ])
}
