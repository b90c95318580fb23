//! The metric names of vLLM's V1 engine, with its help texts, types and buckets.
//!
//! Source: the `/metrics` page of vLLM 0.32.0 and `vllm/v1/metrics/loggers.py`.

use crate::exposition::{LabelSet, MetricFamily, MetricKind};

/// The labels that every sample of one engine carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(LabelSet);

impl Labels {
    /// Engine 0 of one model.
    #[must_use]
    pub fn new(model_name: &str) -> Self {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self(vec![pair("engine", "0"), pair("model_name", model_name)])
    }

    /// These labels and nothing more.
    #[must_use]
    pub fn all(&self) -> LabelSet {
        self.0.clone()
    }

    /// These labels and one more.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> LabelSet {
        let mut labels = self.0.clone();
        labels.push((name.to_owned(), value.to_owned()));
        labels
    }
}

/// A metric as vLLM describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name on the page.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// Upper bounds of its finite buckets; empty unless it is a histogram.
    pub buckets: &'static [f64],
}

impl Metric {
    /// A family without samples.
    #[must_use]
    pub fn family(&self) -> MetricFamily {
        MetricFamily {
            name: self.name.to_owned(),
            help: self.help.to_owned(),
            kind: self.kind,
            samples: Vec::new(),
        }
    }

    /// A family with one sample.
    #[must_use]
    pub fn single(&self, labels: &Labels, value: f64) -> MetricFamily {
        let mut family = self.family();
        family.add(labels.all(), value);
        family
    }
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, buckets: &[] }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Gauge, buckets: &[] }
}

const fn histogram(name: &'static str, help: &'static str, buckets: &'static [f64]) -> Metric {
    Metric { name, help, kind: MetricKind::Histogram, buckets }
}

/// Buckets of `time_to_first_token_seconds`.
pub const TTFT_BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];

/// Buckets of the per-token latencies.
pub const TOKEN_BUCKETS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];

/// Buckets of the end-to-end and of the phase latencies. The first is 0.3 s: anything faster looks alike.
pub const REQUEST_BUCKETS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// Buckets of token counts for a context of 2,048 tokens: 1, 2, 5 times powers of ten up to the context.
pub const COUNT_BUCKETS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];

/// Buckets of `iteration_tokens_total`.
pub const ITERATION_BUCKETS: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];

/// Buckets of `request_num_preemptions`.
pub const PREEMPTION_BUCKETS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];

/// Sequences in the running batch.
pub const NUM_REQUESTS_RUNNING: Metric =
    gauge("vllm:num_requests_running", "Number of requests in model execution batches.");
/// Sequences in the waiting queue.
pub const NUM_REQUESTS_WAITING: Metric =
    gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.");
/// Share of blocks in use.
pub const KV_CACHE_USAGE_PERC: Metric =
    gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.");
/// Tokens looked up in the prefix cache.
pub const PREFIX_CACHE_QUERIES: Metric = counter(
    "vllm:prefix_cache_queries_total",
    "Prefix cache queries, in terms of number of queried tokens.",
);
/// Tokens found there.
pub const PREFIX_CACHE_HITS: Metric = counter(
    "vllm:prefix_cache_hits_total",
    "Prefix cache hits, in terms of number of cached tokens.",
);
/// Preemptions.
pub const NUM_PREEMPTIONS: Metric =
    counter("vllm:num_preemptions_total", "Cumulative number of preemption from the engine.");
/// Prompt tokens.
pub const PROMPT_TOKENS: Metric =
    counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.");
/// Generated tokens.
pub const GENERATION_TOKENS: Metric =
    counter("vllm:generation_tokens_total", "Number of generation tokens processed.");
/// Finished requests by `finished_reason`.
pub const REQUEST_SUCCESS: Metric =
    counter("vllm:request_success_total", "Count of successfully processed requests.");
/// Prompt length of a request.
pub const REQUEST_PROMPT_TOKENS: Metric =
    histogram("vllm:request_prompt_tokens", "Number of prefill tokens processed.", COUNT_BUCKETS);
/// Answer length of a request.
pub const REQUEST_GENERATION_TOKENS: Metric = histogram(
    "vllm:request_generation_tokens",
    "Number of generation tokens processed.",
    COUNT_BUCKETS,
);
/// Tokens fed to the model in a step.
pub const ITERATION_TOKENS: Metric = histogram(
    "vllm:iteration_tokens_total",
    "Histogram of number of tokens per engine_step.",
    ITERATION_BUCKETS,
);
/// From arrival to the first token.
pub const TIME_TO_FIRST_TOKEN: Metric = histogram(
    "vllm:time_to_first_token_seconds",
    "Histogram of time to first token in seconds.",
    TTFT_BUCKETS,
);
/// Between two tokens of a request.
pub const INTER_TOKEN_LATENCY: Metric = histogram(
    "vllm:inter_token_latency_seconds",
    "Histogram of inter-token latency in seconds.",
    TOKEN_BUCKETS,
);
/// Mean time between tokens, one observation a request.
pub const TIME_PER_OUTPUT_TOKEN: Metric = histogram(
    "vllm:request_time_per_output_token_seconds",
    "Histogram of time_per_output_token_seconds per request.",
    TOKEN_BUCKETS,
);
/// From arrival to the end.
pub const E2E_REQUEST_LATENCY: Metric = histogram(
    "vllm:e2e_request_latency_seconds",
    "Histogram of e2e request latency in seconds.",
    REQUEST_BUCKETS,
);
/// The queue phase.
pub const REQUEST_QUEUE_TIME: Metric = histogram(
    "vllm:request_queue_time_seconds",
    "Histogram of time spent in WAITING phase for request.",
    REQUEST_BUCKETS,
);
/// The prefill and decode phases together.
pub const REQUEST_INFERENCE_TIME: Metric = histogram(
    "vllm:request_inference_time_seconds",
    "Histogram of time spent in RUNNING phase for request.",
    REQUEST_BUCKETS,
);
/// The prefill phase.
pub const REQUEST_PREFILL_TIME: Metric = histogram(
    "vllm:request_prefill_time_seconds",
    "Histogram of time spent in PREFILL phase for request.",
    REQUEST_BUCKETS,
);
/// The decode phase.
pub const REQUEST_DECODE_TIME: Metric = histogram(
    "vllm:request_decode_time_seconds",
    "Histogram of time spent in DECODE phase for request.",
    REQUEST_BUCKETS,
);
/// Preemptions of a request.
pub const REQUEST_NUM_PREEMPTIONS: Metric = histogram(
    "vllm:request_num_preemptions",
    "Histogram of the number of times a request was preempted.",
    PREEMPTION_BUCKETS,
);
