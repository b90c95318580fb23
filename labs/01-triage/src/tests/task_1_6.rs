//! Checks of task 1.6, roofline: counts by hand, times on a device with round figures, and published measurements.

use std::time::Duration;

use rand::Rng;
use serving::{Chunk, Load, SchedulerLimits, SequenceId, StepPlan};
use simulation::{DeviceSpec, Host, Limit, Link, ModelShape, StepCost, StepTime};
use testbed::{expect, expect_close, expect_eq, rng};

use crate::published::{Figures, Run, h100_shared_prefix, others, rtx4090};
use crate::{Roofline, Work, binding};

/// Rounding of a few operations on f64, and of durations to nanoseconds.
const ROUNDING: f64 = 1e-6;

/// Two layers, four query heads that share two KV heads, and round figures everywhere.
fn small() -> ModelShape {
    ModelShape {
        layers: 2,
        hidden: 16,
        intermediate: 32,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        vocab: 100,
        tied_embeddings: false,
        experts: 1,
        experts_per_token: 1,
        weight_bytes: 2,
        kv_bytes: 2,
    }
}

/// 1 TFLOP/s of which half is reached, 100 GB/s of which 80 % are, tiles of 16 rows.
fn device() -> DeviceSpec {
    DeviceSpec {
        name: "round".to_owned(),
        flops: 1e12,
        bandwidth: 100e9,
        memory: 1e9,
        compute_efficiency: 0.5,
        bandwidth_efficiency: 0.8,
        tile: 16,
        kernel: Duration::from_micros(3),
        link: Link { bandwidth: 10e9, latency: Duration::from_micros(5) },
        host: Host {
            step: Duration::from_micros(500),
            sequence: Duration::from_micros(20),
            launch: Duration::from_micros(10),
            request: Duration::ZERO,
            prompt_token: Duration::ZERO,
        },
    }
}

/// No kernel, no host, no tile: nothing but the two roofs.
fn bare() -> DeviceSpec {
    let zero = Duration::ZERO;
    let host = Host { step: zero, sequence: zero, launch: zero, request: zero, prompt_token: zero };
    DeviceSpec { tile: 1, kernel: zero, host, ..device() }
}

fn named(model: &str) -> ModelShape {
    ModelShape::named(model).expect("a model of the catalogue")
}

/// Chunks by where they start, how many tokens they feed, and whether they sample.
fn plan(chunks: &[(usize, usize, bool)]) -> StepPlan {
    let chunk = |(index, &(start, count, samples)): (usize, &(usize, usize, bool))| Chunk {
        sequence: SequenceId(index as u64),
        start,
        tokens: vec![0; count].into(),
        block_table: Default::default(),
        samples,
    };
    StepPlan { chunks: chunks.iter().enumerate().map(chunk).collect(), preempted: Vec::new() }
}

/// `count` sequences that decode after `context` tokens.
fn decodes(count: usize, context: usize) -> StepPlan {
    plan(&vec![(context - 1, 1, true); count])
}

fn limits(max_num_seqs: usize, max_num_batched_tokens: usize) -> SchedulerLimits {
    SchedulerLimits::try_new(max_num_seqs, max_num_batched_tokens).expect("limits that work")
}

#[test]
fn task_1_6_counts_a_decode_by_hand() {
    let work = Work::count(&small(), &plan(&[(9, 1, true)]));
    // A layer: Q 16 x 32, K and V 16 x 16 each, output 32 x 16, and 3 x 16 x 32: 3,072 weights. Head: 16 x 100.
    let context = "a token at position 9 of a model with 2 layers";
    expect_eq(format!("{context}: tokens"), 1, work.tokens);
    let layers = 2.0 * 3_072.0;
    expect_close(format!("{context}: linear FLOPs"), 2.0 * layers, work.linear_flops, ROUNDING);
    expect_close(format!("{context}: head FLOPs"), 3_200.0, work.head_flops, ROUNDING);
    // It looks at 10 tokens: 4 FLOPs x 8 dimensions x 4 heads x 2 layers each.
    expect_close(format!("{context}: attention FLOPs"), 2_560.0, work.attention_flops, ROUNDING);
    let bytes = 2.0 * (layers + 1_600.0);
    expect_close(format!("{context}: weight bytes"), bytes, work.weight_bytes, ROUNDING);
    // 2 x 2 layers x 2 KV heads x 8 x 2 bytes = 128 bytes a token: 10 are read, 1 is written.
    expect_close(format!("{context}: KV bytes"), 1_408.0, work.kv_bytes, ROUNDING);
}

#[test]
fn task_1_6_counts_a_prompt_causally() {
    let work = Work::count(&small(), &plan(&[(0, 6, false)]));
    // Token 0 looks at 1 token, token 5 at 6: 21 pairs of 256 FLOPs.
    let context = "a prompt of 6 tokens that does not end in this step";
    expect_close(format!("{context}: attention FLOPs"), 5_376.0, work.attention_flops, ROUNDING);
    expect_close(format!("{context}: linear FLOPs"), 73_728.0, work.linear_flops, ROUNDING);
    expect_close(format!("{context}: head FLOPs"), 0.0, work.head_flops, ROUNDING);
    expect_close(format!("{context}: weight bytes"), 12_288.0, work.weight_bytes, ROUNDING);
    expect_close(format!("{context}: KV bytes"), 12.0 * 128.0, work.kv_bytes, ROUNDING);
}

#[test]
fn task_1_6_counts_a_prompt_the_same_however_it_is_cut() {
    let mut rng = rng("cut prompts");
    for case in 0..50 {
        let (len, model) = (rng.random_range(2..3_000), named("qwen2.5-7b"));
        let cut = rng.random_range(1..len);
        let whole = Work::count(&model, &plan(&[(0, len, true)]));
        let parts = [(0, cut, false), (cut, len - cut, true)]
            .map(|part| Work::count(&model, &plan(&[part])));
        let context = format!("case {case}: a prompt of {len} tokens, cut after {cut}");
        for (what, of) in [
            ("linear FLOPs", (|work| work.linear_flops) as fn(&Work) -> f64),
            ("attention FLOPs", |work| work.attention_flops),
            ("head FLOPs", |work| work.head_flops),
        ] {
            let sum = parts.iter().map(of).sum();
            expect_close(format!("{context}: {what} of both parts"), of(&whole), sum, ROUNDING);
        }
        // What cutting costs: the layers' weights are read twice, and the first part's KV once more.
        let head = (model.head_weights() * 2) as f64;
        let weights: f64 = parts.iter().map(|work| work.weight_bytes).sum();
        let twice = 2.0 * whole.weight_bytes - head;
        expect_close(format!("{context}: weight bytes of both parts"), twice, weights, ROUNDING);
    }
}

#[test]
fn task_1_6_reads_weights_once_and_caches_for_each() {
    let (one, many) = (decodes(1, 1_000), decodes(64, 1_000));
    let model = named("llama-3.1-8b");
    let (one, many) = (Work::count(&model, &one), Work::count(&model, &many));
    let context = "64 decodes beside one, context 1,000";
    expect_close(format!("{context}: weight bytes"), one.weight_bytes, many.weight_bytes, ROUNDING);
    expect_close(format!("{context}: KV bytes"), 64.0 * one.kv_bytes, many.kv_bytes, ROUNDING);
    expect_close(format!("{context}: head"), 64.0 * one.head_flops, many.head_flops, ROUNDING);
    // Of Mixtral's 8 experts one token reads 2, and 64 tokens read all.
    let model = named("mixtral-8x7b");
    let read = |count| Work::count(&model, &decodes(count, 10)).weight_bytes;
    let active = 2.0 * (model.active_weights() + model.head_weights()) as f64;
    expect_close("a token of Mixtral: weight bytes", active, read(1), ROUNDING);
    let all = 2.0 * (model.parameters() - model.head_weights()) as f64;
    expect_close("64 tokens of Mixtral: weight bytes", all, read(64), 1e-3);
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[test]
fn task_1_6_takes_the_higher_roof() {
    let (model, device) = (named("qwen2.5-7b"), bare());
    let roofline = Roofline::new(model.clone(), device);
    for (context, plan, binds) in [
        ("3 decodes", decodes(3, 700), Limit::MemoryBandwidth),
        ("a prompt of 700 tokens", plan(&[(0, 700, true)]), Limit::Compute),
    ] {
        let (flops, bytes) = Work::count(&model, &plan).flops_and_bytes();
        let time = roofline.step_time(&plan);
        let (compute, memory) = (flops / 0.5e12, bytes / 80e9);
        expect_close(format!("{context}: compute, s"), compute, seconds(time.compute), ROUNDING);
        expect_close(format!("{context}: memory, s"), memory, seconds(time.memory), ROUNDING);
        let longer = compute.max(memory);
        let total = seconds(time.total);
        expect_close(format!("{context}: total, s"), longer, total, ROUNDING);
        expect_eq(format!("{context}: what binds"), binds, time.binds);
        expect_eq(format!("{context}: host"), Duration::ZERO, time.host);
    }
}

#[test]
fn task_1_6_pays_for_whole_tiles() {
    let device = DeviceSpec { tile: 128, ..bare() };
    let model = named("qwen2.5-7b");
    let compute = |tokens| {
        let prompt = plan(&[(0, tokens, false)]);
        let work = Work::count(&model, &prompt);
        let time = Roofline::new(model.clone(), device.clone()).step_time(&prompt);
        (seconds(time.compute) * 0.5e12 - work.attention_flops) / work.linear_flops
    };
    for (tokens, padded) in [(512, 512.0), (513, 640.0), (640, 640.0), (1, 128.0)] {
        let context = format!("{tokens} tokens in tiles of 128: layers cost as much as, in tokens");
        expect_close(context, padded, compute(tokens) * tokens as f64, 1e-5);
    }
}

#[test]
fn task_1_6_adds_kernels_and_the_host() {
    let (model, plan) = (small(), decodes(4, 10));
    let time = Roofline::new(model.clone(), device()).step_time(&plan);
    let roofs = time.compute.max(time.memory);
    // 20 kernels of 3 us; 500 us a step and 20 us for each of 4 sequences.
    let total = roofs + Duration::from_micros(60 + 500 + 80);
    let context = "4 decodes of a model with 20 kernels";
    expect_eq(format!("{context}: total"), total, time.total);
    expect_eq(format!("{context}: host"), Duration::from_micros(580), time.host);
    expect_eq(format!("{context}: what binds"), Limit::HostOverhead, time.binds);
    // Eager: 20 launches of 10 us take longer than the device.
    let eager = Roofline::new(model, device()).eager().step_time(&plan);
    let context = format!("{context}, eager");
    expect_eq(format!("{context}: total"), Duration::from_micros(580 + 200), eager.total);
    let exposed = eager.total - (roofs + Duration::from_micros(60));
    expect_eq(format!("{context}: host"), exposed, eager.host);
}

#[test]
fn task_1_6_hides_launches_behind_a_busy_device() {
    let graph = Roofline::new(named("qwen2.5-7b"), device());
    let prompt = plan(&[(0, 400, true)]);
    let (with, without) = (graph.step_time(&prompt), graph.clone().eager().step_time(&prompt));
    // 280 launches of 10 us are over long before the device is.
    expect_eq("a long step, eager beside with graphs: total", with.total, without.total);
    expect_eq("a long step, eager: what binds", Limit::Compute, without.binds);
}

#[test]
fn task_1_6_shares_the_work_of_several_gpus() {
    let (model, decode) = (named("llama-3.1-70b"), decodes(1, 100));
    let one = Roofline::new(model.clone(), bare());
    let (alone, four) = (one.step_time(&decode), one.clone().with_gpus(4).step_time(&decode));
    let context = "70 B on 4 GPUs beside 1";
    let quarter = seconds(alone.memory) / 4.0;
    expect_close(format!("{context}: memory, s"), quarter, seconds(four.memory), ROUNDING);
    // 160 all-reduces of 8,192 x 2 bytes: 5 us and 2 x 3/4 of the bytes at 10 GB/s.
    let communication = 160.0 * (5e-6 + 1.5 * 16_384.0 / 10e9);
    let total = quarter + communication;
    expect_close(format!("{context}: total, s"), total, seconds(four.total), 1e-4);
}

#[test]
fn task_1_6_is_never_slower_on_a_better_device() {
    let mut rng = rng("better devices");
    for case in 0..100 {
        let model = named("llama-3.2-1b");
        let decodes = rng.random_range(0..200);
        let mut chunks = vec![(rng.random_range(1..4_000), 1, true); decodes];
        chunks.push((0, rng.random_range(1..3_000), true));
        let plan = plan(&chunks);
        let total =
            |device: DeviceSpec| Roofline::new(model.clone(), device).step_time(&plan).total;
        let base = total(device());
        let (flops, bandwidth) = (rng.random_range(1.0..9.0), rng.random_range(1.0..9.0));
        let better = DeviceSpec { flops: 1e12 * flops, bandwidth: 100e9 * bandwidth, ..device() };
        let faster = total(better);
        let context = format!("case {case}: {flops:.1} x the FLOP/s, {bandwidth:.1} x the bytes/s");
        expect(context, faster <= base, format!("at most {base:?}"), format!("{faster:?}"));
    }
}

#[test]
fn task_1_6_names_what_keeps_requests_out() {
    let limits = limits(4, 64);
    let time = |binds| {
        let part = Duration::from_millis(1);
        StepTime { compute: part, memory: part, host: part, total: part * 2, binds }
    };
    let load = |waiting, running, blocks_free| Load {
        waiting,
        running,
        blocks_total: 100,
        blocks_free,
        ..Load::default()
    };
    let full = plan(&[(0, 61, false), (5, 1, true), (5, 1, true), (5, 1, true)]);
    let preempting = StepPlan { preempted: vec![SequenceId(9)], ..decodes(3, 10) };
    let (memory, compute) = (time(Limit::MemoryBandwidth), time(Limit::Compute));
    for (context, plan, time, load, expected) in [
        ("nobody waits", decodes(3, 10), memory, load(0, 3, 50), Limit::MemoryBandwidth),
        (
            "nobody waits, all places taken",
            decodes(4, 10),
            memory,
            load(0, 4, 0),
            Limit::MemoryBandwidth,
        ),
        ("one waits, all 4 places are taken", decodes(4, 10), memory, load(1, 4, 50), Limit::Queue),
        (
            "one waits, 3 of 4 places are taken",
            decodes(3, 10),
            memory,
            load(1, 3, 2),
            Limit::KvCapacity,
        ),
        (
            "one waits, the budget of 64 is spent",
            full.clone(),
            compute,
            load(1, 3, 50),
            Limit::Compute,
        ),
        (
            "all places taken, but the budget is spent",
            full,
            compute,
            load(7, 4, 50),
            Limit::Compute,
        ),
        ("the plan preempts", preempting, memory, load(2, 4, 0), Limit::KvCapacity),
    ] {
        let saw = binding(&plan, &time, &load, limits);
        expect_eq(format!("budget 64, 4 places; {context}: what binds"), expected, saw);
    }
}

#[test]
fn task_1_6_fills_the_memory_with_blocks() {
    let (model, limits) = (named("qwen2.5-7b"), limits(4, 2_048));
    let card = DeviceSpec { memory: 24e9, ..device() };
    let roofline = Roofline::new(model.clone(), card);
    // 18 GB less 15.23 GB of weights and what 2,048 tokens need, in blocks of 16 x 57,344 bytes.
    let activations = model.activation_bytes(2_048, 4);
    let left = 24e9 * 0.75 - 2.0 * model.parameters() as f64 - activations;
    let expected = (left / (16.0 * 57_344.0)).floor() as usize;
    let saw = roofline.kv_blocks(limits, 0.75, 16);
    expect_eq("Qwen2.5-7B in 75 % of 24 GB: blocks of 16", expected, saw);
    let saw = roofline.kv_blocks(limits, 0.5, 16);
    expect_eq("Qwen2.5-7B in 50 % of 24 GB, which is too small: blocks", 0, saw);
    let two = roofline.with_gpus(2).kv_blocks(limits, 0.75, 16);
    let more = (24e9 * 0.75 / (16.0 * 57_344.0)) as usize;
    let context = "a second card adds its memory: blocks";
    expect_close(context, (expected + more) as f64, two as f64, 1e-4);
}

/// How far a prediction may be from what was measured, relative to it.
struct Tolerance {
    requests_per_s: f64,
    ttft: f64,
    tpot: f64,
}

#[track_caller]
fn expect_predicted(run: &Run, tolerance: &Tolerance) {
    let context = format!("{}: {}", run.system, run.load);
    let prediction = run.predict().expect("the scheduler serves every request").figures;
    let figures = |of: fn(&Figures) -> Option<f64>| (of(&run.measured), of(&prediction));
    for (what, (measured, predicted), tolerance) in [
        ("req/s", figures(|figures| figures.requests_per_s), tolerance.requests_per_s),
        ("mean TTFT in ms", figures(|figures| figures.ttft_ms), tolerance.ttft),
        ("mean TPOT in ms", figures(|figures| figures.tpot_ms), tolerance.tpot),
    ] {
        let Some(measured) = measured else { continue };
        let predicted = predicted.unwrap_or(f64::NAN);
        let context = format!("{context}: {what}, measured and predicted");
        expect_close(context, measured, predicted, tolerance);
    }
}

#[test]
fn task_1_6_predicts_published_latencies() {
    let tolerance = Tolerance { requests_per_s: 0.05, ttft: 0.15, tpot: 0.08 };
    let runs: Vec<Run> = rtx4090().into_iter().filter(|run| !run.saturated).collect();
    expect_eq("unsaturated runs on the RTX 4090", 4, runs.len());
    runs.iter().for_each(|run| expect_predicted(run, &tolerance));
}

#[test]
fn task_1_6_predicts_where_a_published_server_saturates() {
    // The mean TTFT of an overloaded server says how long the run was; these runs had 100 requests.
    let tolerance = Tolerance { requests_per_s: 0.05, ttft: 0.1, tpot: 0.08 };
    let saturated = |run: &Run| run.saturated && !run.load.contains("1024 out");
    let runs: Vec<Run> = rtx4090().into_iter().filter(saturated).collect();
    expect_eq("saturated runs on the RTX 4090", 5, runs.len());
    for run in runs {
        expect_predicted(&run, &tolerance);
        let (binds, part) = run.predict().expect("as before").binds;
        let context = format!("{}, {}: what binds most steps", run.system, run.load);
        expect_eq(context, Limit::Queue, binds);
        expect("a saturated run", part > 0.5, "most steps bound by places", part);
    }
}

#[test]
fn task_1_6_predicts_the_highest_rate_of_a_published_server() {
    let tolerance = Tolerance { requests_per_s: 0.1, ttft: 1.0, tpot: 1.0 };
    h100_shared_prefix().iter().for_each(|run| expect_predicted(run, &tolerance));
}

#[test]
fn task_1_6_predicts_devices_that_it_was_not_fitted_to() {
    // One client at a time: the step alone, on other devices and with other models.
    let tolerance = Tolerance { requests_per_s: 0.15, ttft: f64::INFINITY, tpot: 0.15 };
    let alone = |run: &Run| run.load.ends_with(" 1 at once");
    let runs: Vec<Run> = others().into_iter().filter(alone).collect();
    expect_eq("runs with one client", 9, runs.len());
    runs.iter().for_each(|run| expect_predicted(run, &tolerance));
}
