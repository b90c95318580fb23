//! The published runs. Given.
//!
//! What a source does not say of its run is assumed here, in the open: each function says what.

use std::time::Duration;

use serving::SchedulerLimits;
use simulation::{Arrival, DeviceSpec, ModelShape, Prompt, bench_serve_arrivals};

use super::{Figures, Run, Traffic};
use crate::Roofline;

/// vLLM's `gpu_memory_utilization`, where a run does not set it.
const UTILIZATION: f64 = 0.9;
/// vLLM's `max_num_batched_tokens` for its API server on GPUs of 70 GiB or more, but for A100
/// (`EngineArgs._set_default_args` in `vllm/engine/arg_utils.py`).
const LARGE_BUDGET: usize = 8_192;
/// The same on all others.
const SMALL_BUDGET: usize = 2_048;

/// All runs, those of one system together.
#[must_use]
pub fn runs() -> Vec<Run> {
    [rtx4090(), h100_shared_prefix(), h100_share_gpt(), others()].concat()
}

/// A model of the catalogue on a device of the catalogue.
fn roofline(model: &str, device: &str) -> Roofline {
    let shape = ModelShape::named(model).expect("a model of the catalogue");
    Roofline::new(shape, DeviceSpec::named(device).expect("a device of the catalogue"))
}

fn limits(max_num_seqs: usize, max_num_batched_tokens: usize) -> SchedulerLimits {
    SchedulerLimits::try_new(max_num_seqs, max_num_batched_tokens).expect("limits that work")
}

/// Requests a second, TTFT and TPOT in milliseconds; NaN for what is not known.
fn figures(requests_per_s: f64, ttft_ms: f64, tpot_ms: f64) -> Figures {
    let known = |value: f64| (!value.is_nan()).then_some(value);
    Figures {
        requests_per_s: known(requests_per_s),
        ttft_ms: known(ttft_ms),
        tpot_ms: known(tpot_ms),
    }
}

const UNKNOWN: f64 = f64::NAN;

/// Answers of the published run on the RTX 4090 that ended before their `max_tokens`: the request
/// and its tokens. The same prompts end alike whatever the limit, so that one list serves all runs
/// of 512 prompt tokens. Answers were not quite the same in two runs of one prompt: the last one
/// of each list was.
const ENDS_OF_512: [(usize, usize); 16] = [
    (3, 573),
    (4, 173),
    (5, 5),
    (12, 2),
    (14, 181),
    (28, 83),
    (36, 1),
    (49, 978),
    (59, 3),
    (69, 71),
    (70, 123),
    (85, 578),
    (89, 134),
    (96, 315),
    (98, 1_024),
    (99, 621),
];
const ENDS_OF_1024: [(usize, usize); 5] = [(12, 1), (28, 119), (36, 1), (50, 88), (57, 1)];
const ENDS_OF_2048: [(usize, usize); 3] = [(36, 3), (70, 3), (98, 4)];
const ENDS_OF_3072: [(usize, usize); 3] = [(36, 100), (70, 4), (98, 39)];

/// Tokens in the vocabulary of Qwen2.5's tokenizer, special ones left out.
const QWEN_VOCAB: u32 = 151_643;

/// Qwen2.5-7B-Instruct, fp16, on one RTX 4090: build 001. The server's flags and the answers'
/// lengths are from the raw results; the arrivals are those of `vllm bench serve` with seed 0. The
/// benchmark sends the first prompt once before it begins, so the prefix cache has it: TTFT 37 ms
/// where others take 80.
#[must_use]
pub fn rtx4090() -> Vec<Run> {
    let rows = [
        (512, 128, 1.0, figures(0.95, 196.73, 18.18)),
        (512, 128, 2.0, figures(1.69, 2_589.05, 18.61)),
        (512, 128, 4.0, figures(1.70, 15_000.25, 18.77)),
        (512, 128, 8.0, figures(1.72, 21_043.59, 18.75)),
        (1_024, 128, 1.0, figures(0.95, 332.65, 19.32)),
        (2_048, 128, 1.0, figures(0.94, 777.74, 20.98)),
        (3_072, 128, 1.0, figures(0.92, 1_367.88, 24.50)),
        (512, 256, 1.0, figures(0.87, 3_098.23, 18.17)),
        (512, 512, 1.0, figures(0.46, 49_928.80, 18.00)),
        (512, 1_024, 1.0, figures(0.24, 144_073.92, 17.98)),
    ];
    let run = |(input, output, rate, measured): (usize, usize, f64, Figures)| Run {
        system: "RTX 4090, Qwen2.5-7B, vLLM 0.8.5, 4 places, eager",
        source: "scalable-ml-systems/llm-systems-engineering-lab, results of build 001",
        load: format!("{input} in, {output} out, {rate} req/s"),
        measured,
        saturated: rate > 1.0 || output > 128,
        roofline: roofline("qwen2.5-7b", "rtx4090").eager(),
        limits: limits(4, SMALL_BUDGET),
        utilization: 0.75,
        prefix_caching: true,
        traffic: Traffic::Open(bench_serve(input, output, rate)),
        warm_up: 1,
    };
    rows.map(run).to_vec()
}

/// 100 requests of `vllm bench serve`, after the one that tests the server.
fn bench_serve(input: usize, output: usize, rate: f64) -> Vec<Arrival> {
    const REQUESTS: usize = 100;
    /// Long enough for the first one to end.
    const PAUSE: Duration = Duration::from_secs(60);
    let ends: &[(usize, usize)] = match input {
        512 => &ENDS_OF_512,
        1_024 => &ENDS_OF_1024,
        2_048 => &ENDS_OF_2048,
        _ => &ENDS_OF_3072,
    };
    let answer = |index| {
        let end = ends.iter().find(|(request, _)| *request == index);
        end.map_or(output, |(_, tokens)| output.min(*tokens))
    };
    let first = Prompt::Shared { prefix: 0, prefix_tokens: input, tokens: input };
    let test = Arrival { prompt: first.clone(), ..Arrival::new(Duration::ZERO, input, output) };
    let times = bench_serve_arrivals(rate, REQUESTS, QWEN_VOCAB, 0);
    let request = |(index, at): (usize, Duration)| {
        let prompt = if index == 0 { first.clone() } else { Prompt::Unique(input) };
        Arrival { prompt, ..Arrival::new(PAUSE + at, input, answer(index)) }
    };
    std::iter::once(test).chain(times.into_iter().enumerate().map(request)).collect()
}

/// Llama-3.1-8B-Instruct on one H100, ten system prompts of 128 tokens with ten questions of 64
/// each, 201 tokens in and 63 out. What was measured is the highest rate that was served, so the
/// requests come faster than that. The third row shares the 128 places of the first: with 192 it
/// would be predicted a quarter higher.
#[must_use]
pub fn h100_shared_prefix() -> Vec<Run> {
    const REQUESTS: u64 = 1_500;
    const PER_SECOND: u64 = 250;
    let prompt = |index| Prompt::Shared { prefix: index % 100, prefix_tokens: 201, tokens: 201 };
    let request = |index| {
        let at = Duration::from_secs(1) * index as u32 / PER_SECOND as u32;
        Arrival { prompt: prompt(index), ..Arrival::new(at, 201, 63) }
    };
    let arrivals: Vec<Arrival> = (0..REQUESTS).map(request).collect();
    let row = |places, prefix_caching, measured| Run {
        system: "H100, Llama-3.1-8B, vLLM 0.11, 100 prompts sent over and over",
        source: "kubernetes-sigs/inference-perf, demos/kubecon-na-2025",
        load: format!(
            "201 in, 63 out, {places} places{}",
            if prefix_caching { ", prefix cache" } else { "" }
        ),
        measured: figures(measured, UNKNOWN, UNKNOWN),
        saturated: true,
        roofline: roofline("llama-3.1-8b", "h100"),
        limits: limits(places, LARGE_BUDGET),
        utilization: UTILIZATION,
        prefix_caching,
        traffic: Traffic::Open(arrivals.clone()),
        warm_up: 0,
    };
    vec![row(128, false, 103.0), row(192, false, 114.0), row(128, true, 173.0)]
}

/// Lengths of prompts and answers in the ShareGPT stages: quantile and tokens, as published for
/// the stage at 56.77 req/s.
const PROMPTS: [(f64, f64); 9] = [
    (0.0, 10.0),
    (0.05, 11.0),
    (0.1, 12.0),
    (0.25, 17.0),
    (0.5, 38.0),
    (0.75, 117.0),
    (0.9, 198.0),
    (0.95, 228.0),
    (1.0, 256.0),
];
const ANSWERS: [(f64, f64); 9] = [
    (0.0, 11.0),
    (0.05, 15.0),
    (0.1, 20.0),
    (0.25, 41.0),
    (0.5, 109.0),
    (0.75, 186.0),
    (0.9, 233.0),
    (0.95, 245.0),
    (1.0, 257.0),
];

/// The same server with ShareGPT prompts at constant rates for 60 s. The source counts two chunks
/// a token: its TPOT is doubled here. The host's figures of the catalogue come from the first
/// three of these rows; the fourth is a prediction like any other.
#[must_use]
pub fn h100_share_gpt() -> Vec<Run> {
    let rows = [
        (1.0, 60, figures(1.01, 32.97, 6.79)),
        (38.18, 2_290, figures(37.28, 30.37, 8.06)),
        (56.77, 3_406, figures(55.11, 32.62, 8.97)),
        (112.55, 6_753, figures(89.11, UNKNOWN, 11.77)),
    ];
    let run = |(rate, count, measured): (f64, u32, Figures)| Run {
        system: "H100, Llama-3.1-8B, vLLM 0.11, ShareGPT, 128 places",
        source: "kubernetes-sigs/inference-perf, demos/kubecon-na-2025/vllm/results",
        load: format!("about 74 in, 117 out, {rate} req/s"),
        measured,
        saturated: rate > 100.0,
        roofline: roofline("llama-3.1-8b", "h100"),
        limits: limits(128, LARGE_BUDGET),
        utilization: UTILIZATION,
        prefix_caching: false,
        traffic: Traffic::Open(share_gpt(rate, count)),
        warm_up: 0,
    };
    rows.map(run).to_vec()
}

/// Lengths spread evenly over the quantiles: the fractional parts of multiples of two irrational
/// numbers, which do not follow each other.
fn share_gpt(rate: f64, count: u32) -> Vec<Arrival> {
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let request = |index: u32| {
        let spread = |step: f64| (f64::from(index) * step).fract();
        let (input, output) =
            (at_quantile(&PROMPTS, spread(golden)), at_quantile(&ANSWERS, spread(2f64.sqrt())));
        Arrival::new(Duration::from_secs_f64(f64::from(index) / rate), input, output)
    };
    (0..count).map(request).collect()
}

fn at_quantile(quantiles: &[(f64, f64)], q: f64) -> usize {
    let next = quantiles.partition_point(|(quantile, _)| *quantile <= q);
    let ((from, low), (to, high)) = (quantiles[next - 1], quantiles[next]);
    (low + (high - low) * (q - from) / (to - from)).round() as usize
}

/// Devices and models that no constant was taken from. What a source does not say of its server is
/// assumed to be vLLM's default.
#[must_use]
pub fn others() -> Vec<Run> {
    const TT: [&str; 4] = [
        "tenstorrent/tt-inference-server, issue 125",
        "tenstorrent/tt-inference-server, issue 394",
        "tenstorrent/tt-inference-server, issue 340",
        "tenstorrent/tt-inference-server, issue 143",
    ];
    let ada = |model| roofline(model, "rtx4090");
    let qwen_7b = |requests, measured| {
        closed("RTX 4090, Qwen2.5-7B, vLLM 0.7", TT[0], ada("qwen2.5-7b"), 1, requests, measured)
    };
    let ampere = |requests, measured| {
        let roofline = roofline("qwen3-1.7b", "a100");
        closed("A100, Qwen3-1.7B", TT[2], roofline, 1, requests, measured)
    };
    let two_gpus = |requests, measured| {
        let roofline = roofline("qwen2.5-72b", "h100").with_gpus(2);
        closed("2 x H100, Qwen2.5-72B, vLLM 0.7", TT[3], roofline, 1, requests, measured)
    };
    let mistral = |clients: usize, measured| {
        let source = "mushfiqrahman.dev, Benchmarking Mistral-7B on RTX 4090";
        let requests = ended_early(6 * clients);
        closed("RTX 4090, Mistral-7B", source, ada("mistral-7b"), clients, requests, measured)
    };
    vec![
        qwen_7b(alike(4, 128, 128), figures(UNKNOWN, 30.8, 17.1)),
        qwen_7b(alike(4, 1_024, 128), figures(UNKNOWN, 99.6, 17.2)),
        closed(
            "RTX 4090, Qwen3-4B",
            TT[1],
            ada("qwen3-4b"),
            1,
            alike(4, 128, 128),
            figures(UNKNOWN, 33.1, 10.5),
        ),
        mistral(4, figures(2.09, 63.0, UNKNOWN)),
        mistral(8, figures(3.78, 79.0, UNKNOWN)),
        mistral(16, figures(6.44, 155.0, UNKNOWN)),
        mistral(32, figures(9.73, 362.0, UNKNOWN)),
        mistral(48, figures(11.87, 667.0, UNKNOWN)),
        closed(
            "A100 40 GB, Llama-3.1-8B, vLLM 0.23",
            "johnmusgrave.com, vLLM throughput-latency sweep on NVIDIA A100",
            roofline("llama-3.1-8b", "a100-40gb"),
            1,
            alike(4, 1_024, 128),
            figures(UNKNOWN, UNKNOWN, 13.3),
        ),
        ampere(alike(4, 128, 128), figures(UNKNOWN, 11.4, 4.6)),
        ampere(alike(4, 1_024, 128), figures(UNKNOWN, 26.4, 4.8)),
        closed(
            "H100, Llama-3.1-8B, vLLM 0.21",
            "yobitelcomm.github.io/bench, recipe: concurrency sweep",
            roofline("llama-3.1-8b", "h100"),
            1,
            alike(4, 128, 128),
            figures(UNKNOWN, UNKNOWN, 6.48),
        ),
        qwen_small(16.0, figures(15.87, 38.9, 2.39)),
        qwen_small(f64::INFINITY, figures(94.91, 2_905.0, 5.45)),
        two_gpus(alike(4, 128, 128), figures(UNKNOWN, 41.1, 30.9)),
        two_gpus(alike(4, 1_024, 128), figures(UNKNOWN, 129.2, 31.0)),
        closed(
            "MI300X, Qwen3Guard-8B",
            "vllm-project/recipes, pull request 431",
            roofline("qwen3-8b", "mi300x"),
            32,
            alike(100, 1_024, 1_024),
            figures(2.64, 645.02, 9.42),
        ),
    ]
}

/// Qwen3-0.6B at a rate, 500 prompts of `vllm bench serve`.
fn qwen_small(rate: f64, measured: Figures) -> Run {
    let arrivals = bench_serve_arrivals(rate, 500, QWEN_VOCAB, 42).into_iter();
    Run {
        system: "H100, Qwen3-0.6B, vLLM 0.19",
        source: "ovg-project/kvcached, pull request 331",
        load: if rate.is_finite() {
            format!("512 in, 128 out, {rate} req/s")
        } else {
            "512 in, 128 out, 500 at once".to_owned()
        },
        measured,
        saturated: rate.is_infinite(),
        roofline: roofline("qwen3-0.6b", "h100"),
        limits: limits(1_024, LARGE_BUDGET),
        utilization: 0.5,
        prefix_caching: true,
        traffic: Traffic::Open(arrivals.map(|at| Arrival::new(at, 512, 128)).collect()),
        warm_up: 0,
    }
}

fn alike(count: usize, input: usize, output: usize) -> Vec<(usize, usize)> {
    vec![(input, output); count]
}

/// 256 tokens in and at most 128 out, 100 on average as the source says: 44 % of the answers end
/// early, anywhere.
fn ended_early(count: usize) -> Vec<(usize, usize)> {
    let answer = |index: usize| {
        let spread = |step: f64| (index as f64 * step).fract();
        let early = spread((5f64.sqrt() - 1.0) / 2.0) < 0.4375;
        if early { 1 + (127.0 * spread(2f64.sqrt())) as usize } else { 128 }
    };
    (0..count).map(|index| (256, answer(index))).collect()
}

fn closed(
    system: &'static str,
    source: &'static str,
    roofline: Roofline,
    clients: usize,
    requests: Vec<(usize, usize)>,
    measured: Figures,
) -> Run {
    let (input, output) = requests.iter().fold((0, 0), |(i, o), r| (i.max(r.0), o.max(r.1)));
    let device = roofline.device().name.as_str();
    let budget =
        if matches!(device, "h100" | "h200" | "mi300x") { LARGE_BUDGET } else { SMALL_BUDGET };
    Run {
        system,
        source,
        load: format!("{input} in, {output} out, {clients} at once"),
        measured,
        saturated: false,
        roofline,
        limits: limits(256, budget),
        utilization: UTILIZATION,
        prefix_caching: true,
        traffic: Traffic::Closed { clients, requests },
        warm_up: 0,
    }
}
