//! The metric names of TensorRT-LLM's `trtllm-serve` that tell its load.
//!
//! Source: `tensorrt_llm/metrics/collector.py`, copyright 2026. They stand on `/prometheus/metrics`;
//! `/metrics` is JSON of past iterations.

/// Requests that wait, a gauge that is set after an iteration.
pub const NUM_REQUESTS_WAITING: &str = "trtllm_num_requests_waiting";
/// Requests that are active, likewise.
pub const NUM_REQUESTS_RUNNING: &str = "trtllm_num_requests_running";
/// Part of the KV cache in use, from 0 to 1.
pub const KV_CACHE_UTILIZATION: &str = "trtllm_kv_cache_utilization";
/// Requests that were answered, a counter.
pub const REQUEST_SUCCESS_TOTAL: &str = "trtllm_request_success_total";
