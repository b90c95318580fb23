//! The least that `/metrics` can say: counts and gauges, no distribution.

use std::time::Duration;

use protocol::exposition::MetricFamily;
use protocol::vllm;

use crate::{FinishReason, Load, Recorder, RequestSummary, StepReport, Timeline};

/// Counts requests, tokens and preemptions. Where time goes, it cannot tell.
#[derive(Debug)]
pub struct Counters {
    labels: vllm::Labels,
    finished: [u64; 4],
    prompt_tokens: u64,
    generation_tokens: u64,
    preemptions: u64,
    load: Load,
}

impl Counters {
    const REASONS: [FinishReason; 4] =
        [FinishReason::Stop, FinishReason::Length, FinishReason::Abort, FinishReason::Error];

    /// All zero.
    #[must_use]
    pub fn new(model_name: &str) -> Self {
        Self {
            labels: vllm::Labels::new(model_name),
            finished: [0; 4],
            prompt_tokens: 0,
            generation_tokens: 0,
            preemptions: 0,
            load: Load::default(),
        }
    }

    fn usage(&self) -> f64 {
        let used = self.load.blocks_total - self.load.blocks_free;
        if self.load.blocks_total == 0 { 0.0 } else { used as f64 / self.load.blocks_total as f64 }
    }
}

// === impl Recorder for Counters ===

impl Recorder for Counters {
    fn request(&mut self, _timeline: &Timeline, summary: &RequestSummary) {
        for (reason, count) in Self::REASONS.iter().zip(&mut self.finished) {
            *count += u64::from(*reason == summary.finish);
        }
    }

    fn step(&mut self, report: &StepReport, load: &Load) {
        use crate::ProgressKind::{Preempted, Token};
        self.prompt_tokens += report.prefill_tokens as u64;
        for progress in &report.progress {
            self.generation_tokens += u64::from(matches!(progress.kind, Token(_)));
            self.preemptions += u64::from(progress.kind == Preempted);
        }
        self.load = *load;
    }

    fn families(&self, _now: Duration) -> Vec<MetricFamily> {
        let labels = &self.labels;
        let mut success = vllm::REQUEST_SUCCESS.family();
        for (reason, count) in Self::REASONS.iter().zip(self.finished) {
            success.add(labels.with("finished_reason", reason.as_str()), count as f64);
        }
        // vLLM's own: an answer cut off because it repeats itself. Nobody asks for that here.
        success.add(labels.with("finished_reason", "repetition"), 0.0);
        vec![
            vllm::NUM_REQUESTS_RUNNING.single(labels, self.load.running as f64),
            vllm::NUM_REQUESTS_WAITING.single(labels, self.load.waiting as f64),
            vllm::KV_CACHE_USAGE_PERC.single(labels, self.usage()),
            vllm::PREFIX_CACHE_QUERIES.single(labels, self.load.pool.prefix_queries as f64),
            vllm::PREFIX_CACHE_HITS.single(labels, self.load.pool.prefix_hits as f64),
            vllm::NUM_PREEMPTIONS.single(labels, self.preemptions as f64),
            vllm::PROMPT_TOKENS.single(labels, self.prompt_tokens as f64),
            vllm::GENERATION_TOKENS.single(labels, self.generation_tokens as f64),
            success,
        ]
    }
}
