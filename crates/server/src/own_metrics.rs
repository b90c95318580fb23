//! What the server knows of itself, in vLLM's names: who was refused, what was asked for, what HTTP saw.
//!
//! The recorder, which may be a learner's, tells of the engine; these families go behind its own on the page.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::exposition::{LabelSet, MetricFamily};
use protocol::vllm::{self, Labels, Metric};
use serving::{Load, ProgressKind, RequestSummary, StepReport};

/// Handlers that vLLM does not count: probes and scrapes.
const NOT_COUNTED: &[&str] = &["/metrics", "/health", "/load", "/ping", "/version"];

/// Observations in buckets with fixed bounds.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One a bound, and one beyond the last.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    pub(crate) fn new(metric: &Metric) -> Self {
        let bounds = metric.buckets;
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    pub(crate) fn add_to(&self, family: &mut MetricFamily, labels: &LabelSet) {
        let mut so_far = 0;
        let cumulative: Vec<u64> = self
            .counts
            .iter()
            .map(|count| {
                so_far += count;
                so_far
            })
            .collect();
        family.add_histogram(labels, self.bounds, &cumulative, self.sum, so_far);
    }
}

/// A request as HTTP sees it.
pub(crate) struct HttpRequest<'a> {
    /// The route's path, or `none`.
    pub(crate) handler: &'a str,
    pub(crate) method: &'a str,
    pub(crate) status: u16,
    /// As announced; 0 where it was not.
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// Until the response's headers were ready.
    pub(crate) took: Duration,
}

/// What one handler did.
#[derive(Debug, Default, Clone, Copy)]
struct Bytes {
    count: u64,
    request: u64,
    response: u64,
}

#[derive(Debug)]
struct State {
    load: Load,
    prompt_computed: u64,
    prompt_cached: u64,
    rejected: u64,
    max_generation: Histogram,
    params_n: Histogram,
    params_max_tokens: Histogram,
    prefill_computed: Histogram,
    http: BTreeMap<(String, String, String), u64>,
    http_bytes: BTreeMap<String, Bytes>,
    http_took: BTreeMap<(String, String), Histogram>,
    http_took_finely: Histogram,
}

#[derive(Debug)]
pub(crate) struct OwnMetrics {
    labels: Labels,
    model_name: String,
    state: Mutex<State>,
}

impl OwnMetrics {
    pub(crate) fn new(model_name: &str) -> Self {
        let state = State {
            load: Load::default(),
            prompt_computed: 0,
            prompt_cached: 0,
            rejected: 0,
            max_generation: Histogram::new(&vllm::REQUEST_MAX_NUM_GENERATION_TOKENS),
            params_n: Histogram::new(&vllm::REQUEST_PARAMS_N),
            params_max_tokens: Histogram::new(&vllm::REQUEST_PARAMS_MAX_TOKENS),
            prefill_computed: Histogram::new(&vllm::REQUEST_PREFILL_KV_COMPUTED_TOKENS),
            http: BTreeMap::new(),
            http_bytes: BTreeMap::new(),
            http_took: BTreeMap::new(),
            http_took_finely: Histogram::new(&vllm::HTTP_REQUEST_DURATION_HIGHR),
        };
        let (labels, model_name) = (Labels::new(model_name), model_name.to_owned());
        Self { labels, model_name, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request found the queue full.
    pub(crate) fn rejected(&self) {
        self.lock().rejected += 1;
    }

    /// A prompt went to the engine, to be answered `n` times.
    pub(crate) fn asked(&self, n: usize) {
        self.lock().params_n.observe(n as f64);
    }

    pub(crate) fn request(&self, summary: &RequestSummary) {
        let mut state = self.lock();
        state.max_generation.observe(summary.generated_tokens as f64);
        state.params_max_tokens.observe(summary.max_tokens as f64);
        let computed = summary.prompt_tokens.saturating_sub(summary.cached_tokens);
        state.prefill_computed.observe(computed as f64);
    }

    pub(crate) fn step(&self, report: &StepReport, load: &Load) {
        let mut state = self.lock();
        state.load = *load;
        state.prompt_computed += report.prefill_tokens as u64;
        for progress in &report.progress {
            if let ProgressKind::Scheduled { cached_tokens } = progress.kind {
                state.prompt_cached += cached_tokens as u64;
            }
        }
    }

    /// A request was answered.
    pub(crate) fn http(&self, request: &HttpRequest<'_>) {
        if NOT_COUNTED.contains(&request.handler) {
            return;
        }
        let mut state = self.lock();
        let (handler, method) = (request.handler.to_owned(), request.method.to_owned());
        let class = format!("{}xx", request.status / 100);
        *state.http.entry((handler.clone(), method.clone(), class)).or_default() += 1;
        let bytes = state.http_bytes.entry(handler.clone()).or_default();
        bytes.count += 1;
        bytes.request += request.request_bytes;
        bytes.response += request.response_bytes;
        let seconds = request.took.as_secs_f64();
        let took = state.http_took.entry((handler, method));
        took.or_insert_with(|| Histogram::new(&vllm::HTTP_REQUEST_DURATION)).observe(seconds);
        state.http_took_finely.observe(seconds);
    }

    /// Everything, for the page.
    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        let state = self.lock();
        let mut families = self.engine_families(&state);
        families.extend(self.request_families(&state));
        families.extend(http_families(&state));
        families
    }

    fn engine_families(&self, state: &State) -> Vec<MetricFamily> {
        let labels = &self.labels;
        let by = |metric: &Metric, name: &str, values: &[(&str, u64)]| {
            let mut family = metric.family();
            for (value, number) in values {
                family.add(labels.with(name, value), *number as f64);
            }
            family
        };
        let (computed, cached) = (state.prompt_computed, state.prompt_cached);
        let waiting = state.load.waiting as u64;
        let mut cache = vllm::CACHE_CONFIG_INFO.family();
        cache.add(labels.with("num_gpu_blocks", &state.load.blocks_total.to_string()), 1.0);
        let sources =
            [("local_compute", computed), ("local_cache_hit", cached), ("external_kv_transfer", 0)];
        let tiers =
            [("device", cached), ("host", 0), ("p2p", 0), ("disk", 0), ("external_unspecified", 0)];
        let asleep = [("awake", 1), ("weights_offloaded", 0), ("discard_all", 0)];
        vec![
            by(
                &vllm::NUM_REQUESTS_WAITING_BY_REASON,
                "reason",
                &[("capacity", waiting), ("deferred", 0)],
            ),
            by(&vllm::ENGINE_SLEEP_STATE, "sleep_state", &asleep),
            vllm::EXTERNAL_PREFIX_CACHE_QUERIES.single(labels, 0.0),
            vllm::EXTERNAL_PREFIX_CACHE_HITS.single(labels, 0.0),
            vllm::MM_CACHE_QUERIES.single(labels, 0.0),
            vllm::MM_CACHE_HITS.single(labels, 0.0),
            by(&vllm::PROMPT_TOKENS_BY_SOURCE, "source", &sources),
            vllm::PROMPT_TOKENS_CACHED.single(labels, cached as f64),
            by(&vllm::PROMPT_TOKENS_CACHED_BY_SOURCE, "source", &tiers),
            cache,
        ]
    }

    fn request_families(&self, state: &State) -> Vec<MetricFamily> {
        let histogram = |metric: &Metric, histogram: &Histogram| {
            let mut family = metric.family();
            histogram.add_to(&mut family, &self.labels.all());
            family
        };
        let mut rejections = vllm::ADMISSION_REJECTIONS.family();
        let reasons = [("max_num_queued_reqs", state.rejected), ("max_num_queued_tokens", 0)];
        for (reason, count) in reasons {
            let labels = vec![pair("model_name", &self.model_name), pair("reason", reason)];
            rejections.add(labels, count as f64);
        }
        vec![
            rejections,
            histogram(&vllm::REQUEST_MAX_NUM_GENERATION_TOKENS, &state.max_generation),
            histogram(&vllm::REQUEST_PARAMS_N, &state.params_n),
            histogram(&vllm::REQUEST_PARAMS_MAX_TOKENS, &state.params_max_tokens),
            histogram(&vllm::REQUEST_PREFILL_KV_COMPUTED_TOKENS, &state.prefill_computed),
        ]
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn http_families(state: &State) -> Vec<MetricFamily> {
    let mut requests = vllm::HTTP_REQUESTS.family();
    for ((handler, method, status), count) in &state.http {
        let labels = vec![pair("handler", handler), pair("method", method), pair("status", status)];
        requests.add(labels, *count as f64);
    }
    let mut request_bytes = vllm::HTTP_REQUEST_SIZE.family();
    let mut response_bytes = vllm::HTTP_RESPONSE_SIZE.family();
    for (handler, bytes) in &state.http_bytes {
        let labels = vec![pair("handler", handler)];
        request_bytes.add_summary(&labels, bytes.request as f64, bytes.count);
        response_bytes.add_summary(&labels, bytes.response as f64, bytes.count);
    }
    let mut finely = vllm::HTTP_REQUEST_DURATION_HIGHR.family();
    state.http_took_finely.add_to(&mut finely, &Vec::new());
    let mut took = vllm::HTTP_REQUEST_DURATION.family();
    for ((handler, method), histogram) in &state.http_took {
        histogram.add_to(&mut took, &vec![pair("handler", handler), pair("method", method)]);
    }
    vec![requests, request_bytes, response_bytes, finely, took]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_on_a_bound_is_in_its_bucket() {
        let mut histogram = Histogram::new(&vllm::REQUEST_PARAMS_N);
        [1.0, 2.0, 3.0, 99.0].into_iter().for_each(|value| histogram.observe(value));
        assert_eq!(histogram.counts, [1, 1, 1, 0, 0, 1]);
        assert_eq!(histogram.sum, 105.0);
    }

    #[test]
    fn probes_and_scrapes_are_not_counted() {
        let own = OwnMetrics::new("m");
        for handler in ["/health", "/metrics", "/tokenize"] {
            let (method, status, took) = ("GET", 200, Duration::ZERO);
            own.http(&HttpRequest {
                handler,
                method,
                status,
                request_bytes: 3,
                response_bytes: 4,
                took,
            });
        }
        let page: String = own.families().iter().map(ToString::to_string).collect();
        assert!(page.contains(
            "http_requests_total{handler=\"/tokenize\",method=\"GET\",status=\"2xx\"} 1.0"
        ));
        assert!(page.contains("http_request_size_bytes_sum{handler=\"/tokenize\"} 3.0"));
        assert!(!page.contains("/health"));
    }
}
