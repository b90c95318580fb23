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

const fn summary(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Summary, buckets: &[] }
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
/// What older versions called [`KV_CACHE_USAGE_PERC`].
pub const GPU_CACHE_USAGE_PERC: &str = "vllm:gpu_cache_usage_perc";
/// Adapters of requests, in labels `max_lora`, `running_lora_adapters` and `waiting_lora_adapters`. Its value is when
/// it was set, in Unix seconds, so of several samples the greatest is the present one.
pub const LORA_REQUESTS_INFO: &str = "vllm:lora_requests_info";
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

/// Buckets of `request_params_n`.
pub const N_BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];

/// Buckets of `http_request_duration_seconds`.
pub const HTTP_BUCKETS: &[f64] = &[0.1, 0.5, 1.0];

/// Buckets of `http_request_duration_highr_seconds`.
pub const HTTP_FINE_BUCKETS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0,
    7.5, 10.0, 30.0, 60.0,
];

/// Sequences in the waiting queue, by `reason`.
pub const NUM_REQUESTS_WAITING_BY_REASON: Metric = gauge(
    "vllm:num_requests_waiting_by_reason",
    "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals vllm:num_requests_waiting.",
);
/// Whether the engine sleeps, by `sleep_state`.
pub const ENGINE_SLEEP_STATE: Metric = gauge(
    "vllm:engine_sleep_state",
    "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
);
/// Tokens looked up in caches of other instances.
pub const EXTERNAL_PREFIX_CACHE_QUERIES: Metric = counter(
    "vllm:external_prefix_cache_queries_total",
    "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens.",
);
/// Tokens found there.
pub const EXTERNAL_PREFIX_CACHE_HITS: Metric = counter(
    "vllm:external_prefix_cache_hits_total",
    "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.",
);
/// Images and sounds looked up.
pub const MM_CACHE_QUERIES: Metric = counter(
    "vllm:mm_cache_queries_total",
    "Multi-modal cache queries, in terms of number of queried items.",
);
/// Images and sounds found.
pub const MM_CACHE_HITS: Metric = counter(
    "vllm:mm_cache_hits_total",
    "Multi-modal cache hits, in terms of number of cached items.",
);
/// Prompt tokens, by `source`.
pub const PROMPT_TOKENS_BY_SOURCE: Metric =
    counter("vllm:prompt_tokens_by_source_total", "Number of prompt tokens by source.");
/// Prompt tokens that were not computed.
pub const PROMPT_TOKENS_CACHED: Metric = counter(
    "vllm:prompt_tokens_cached_total",
    "Number of cached prompt tokens (local + external).",
);
/// The same, by `source`.
pub const PROMPT_TOKENS_CACHED_BY_SOURCE: Metric = counter(
    "vllm:prompt_tokens_cached_by_source_total",
    "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.",
);
/// Requests refused because the queue was full, by `reason`.
pub const ADMISSION_REJECTIONS: Metric = counter(
    "vllm:admission_rejections_total",
    "Number of admission attempts rejected by a queue limit, by reason.",
);
/// The cache, in labels.
pub const CACHE_CONFIG_INFO: Metric =
    gauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig");
/// The longest answer of a request.
pub const REQUEST_MAX_NUM_GENERATION_TOKENS: Metric = histogram(
    "vllm:request_max_num_generation_tokens",
    "Histogram of maximum number of requested generation tokens.",
    COUNT_BUCKETS,
);
/// Choices asked for.
pub const REQUEST_PARAMS_N: Metric =
    histogram("vllm:request_params_n", "Histogram of the n request parameter.", N_BUCKETS);
/// The most tokens asked for.
pub const REQUEST_PARAMS_MAX_TOKENS: Metric = histogram(
    "vllm:request_params_max_tokens",
    "Histogram of the max_tokens request parameter.",
    COUNT_BUCKETS,
);
/// Prompt tokens of a request that were computed.
pub const REQUEST_PREFILL_KV_COMPUTED_TOKENS: Metric = histogram(
    "vllm:request_prefill_kv_computed_tokens",
    "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
    COUNT_BUCKETS,
);
/// HTTP requests by `handler`, `method` and `status`.
pub const HTTP_REQUESTS: Metric =
    counter("http_requests_total", "Total number of requests by method, status and handler.");
/// Bytes of request bodies by `handler`.
pub const HTTP_REQUEST_SIZE: Metric = summary(
    "http_request_size_bytes",
    "Content length of incoming requests by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. ",
);
/// Bytes of response bodies by `handler`.
pub const HTTP_RESPONSE_SIZE: Metric = summary(
    "http_response_size_bytes",
    "Content length of outgoing responses by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. ",
);
/// Time to answer, finely.
pub const HTTP_REQUEST_DURATION_HIGHR: Metric = histogram(
    "http_request_duration_highr_seconds",
    "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ",
    HTTP_FINE_BUCKETS,
);
/// Time to answer by `handler` and `method`.
pub const HTTP_REQUEST_DURATION: Metric = histogram(
    "http_request_duration_seconds",
    "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. ",
    HTTP_BUCKETS,
);
/// Address space.
pub const PROCESS_VIRTUAL_MEMORY: Metric =
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.");
/// Memory.
pub const PROCESS_RESIDENT_MEMORY: Metric =
    gauge("process_resident_memory_bytes", "Resident memory size in bytes.");
/// When the process started.
pub const PROCESS_START_TIME: Metric =
    gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.");
/// Processor time.
pub const PROCESS_CPU_SECONDS: Metric =
    counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
/// Open files.
pub const PROCESS_OPEN_FDS: Metric = gauge("process_open_fds", "Number of open file descriptors.");
/// Files that may be open.
pub const PROCESS_MAX_FDS: Metric =
    gauge("process_max_fds", "Maximum number of open file descriptors.");
