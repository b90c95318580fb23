//! The engine's `/metrics`, with distributions: what `--recorder histograms` collects.
//!
//! Given. It feeds what task 1.1 computes into what task 1.2 builds, under vLLM's names and
//! buckets. Two definitions differ from vLLM's on purpose: the wait after a preemption counts as
//! queue time, where vLLM leaves it in prefill or decode time, and all of a request's values appear
//! when it ends.

use std::time::Duration;

use protocol::exposition::MetricFamily;
use protocol::vllm::{self, Labels, Metric};
use serving::baseline::Counters;
use serving::{Load, Recorder, RequestSummary, StepReport, Timeline};

use crate::histogram::Histogram;
use crate::phases::{latencies, phases};

/// All counters of the baseline, and vLLM's histograms beside them.
#[derive(Debug)]
pub struct EngineMetrics {
    labels: Labels,
    counters: Counters,
    ttft: Series,
    itl: Series,
    tpot: Series,
    e2e: Series,
    queue: Series,
    inference: Series,
    prefill: Series,
    decode: Series,
    prompt_tokens: Series,
    generation_tokens: Series,
    preemptions: Series,
    iteration_tokens: Series,
}

/// A metric and its histogram.
#[derive(Debug)]
struct Series {
    metric: &'static Metric,
    histogram: Histogram,
}

impl Series {
    /// An empty histogram with the metric's own buckets.
    fn new(metric: &'static Metric) -> Self {
        let histogram = Histogram::try_new(metric.buckets).expect("vLLM's bounds rise");
        Self { metric, histogram }
    }

    fn observe(&mut self, value: f64) {
        self.histogram.observe(value);
    }

    fn observe_time(&mut self, value: Duration) {
        self.histogram.observe(value.as_secs_f64());
    }

    fn family(&self, labels: &Labels) -> MetricFamily {
        let mut family = self.metric.family();
        let cumulative = self.histogram.cumulative();
        family.add_histogram(
            &labels.all(),
            self.histogram.bounds(),
            &cumulative,
            self.histogram.sum(),
            self.histogram.count(),
        );
        family
    }
}

impl EngineMetrics {
    /// All zero.
    #[must_use]
    pub fn new(model_name: &str) -> Self {
        Self {
            labels: Labels::new(model_name),
            counters: Counters::new(model_name),
            ttft: Series::new(&vllm::TIME_TO_FIRST_TOKEN),
            itl: Series::new(&vllm::INTER_TOKEN_LATENCY),
            tpot: Series::new(&vllm::TIME_PER_OUTPUT_TOKEN),
            e2e: Series::new(&vllm::E2E_REQUEST_LATENCY),
            queue: Series::new(&vllm::REQUEST_QUEUE_TIME),
            inference: Series::new(&vllm::REQUEST_INFERENCE_TIME),
            prefill: Series::new(&vllm::REQUEST_PREFILL_TIME),
            decode: Series::new(&vllm::REQUEST_DECODE_TIME),
            prompt_tokens: Series::new(&vllm::REQUEST_PROMPT_TOKENS),
            generation_tokens: Series::new(&vllm::REQUEST_GENERATION_TOKENS),
            preemptions: Series::new(&vllm::REQUEST_NUM_PREEMPTIONS),
            iteration_tokens: Series::new(&vllm::ITERATION_TOKENS),
        }
    }
}

// === impl Recorder for EngineMetrics ===

impl Recorder for EngineMetrics {
    fn request(&mut self, timeline: &Timeline, summary: &RequestSummary) {
        self.counters.request(timeline, summary);
        let latencies = latencies(timeline);
        latencies.ttft.into_iter().for_each(|ttft| self.ttft.observe_time(ttft));
        latencies.tpot.into_iter().for_each(|tpot| self.tpot.observe_time(tpot));
        latencies.itl.into_iter().for_each(|itl| self.itl.observe_time(itl));
        self.e2e.observe_time(latencies.e2e);

        let phases = phases(timeline);
        self.queue.observe_time(phases.queue);
        self.inference.observe_time(phases.prefill + phases.decode);
        self.prefill.observe_time(phases.prefill);
        self.decode.observe_time(phases.decode);

        self.prompt_tokens.observe(summary.prompt_tokens as f64);
        self.generation_tokens.observe(summary.generated_tokens as f64);
        self.preemptions.observe(f64::from(summary.preemptions));
    }

    fn step(&mut self, report: &StepReport, load: &Load) {
        self.counters.step(report, load);
        let tokens = report.prefill_tokens + report.decode_tokens;
        if tokens > 0 {
            self.iteration_tokens.observe(tokens as f64);
        }
    }

    fn families(&self, now: Duration) -> Vec<MetricFamily> {
        let histograms = [
            &self.prompt_tokens,
            &self.generation_tokens,
            &self.iteration_tokens,
            &self.ttft,
            &self.itl,
            &self.tpot,
            &self.e2e,
            &self.queue,
            &self.inference,
            &self.prefill,
            &self.decode,
            &self.preemptions,
        ];
        let mut families = self.counters.families(now);
        families.extend(histograms.map(|series| series.family(&self.labels)));
        families
    }
}
