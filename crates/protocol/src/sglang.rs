//! The metric names of SGLang that tell its load.
//!
//! Source: `sglang/srt/observability/metrics_collector.py` of SGLang 0.5.23, read in its wheel. The server shows them
//! with `--enable-metrics` only.

/// Requests that wait, a gauge. With priority scheduling, label `priority` is empty on the total.
pub const NUM_QUEUE_REQS: &str = "sglang:num_queue_reqs";
/// Requests that run, a gauge, labelled likewise.
pub const NUM_RUNNING_REQS: &str = "sglang:num_running_reqs";
/// Part of the fullest memory pool in use, from 0 to 1: the KV cache, unless a hybrid model's state is fuller.
pub const TOKEN_USAGE: &str = "sglang:token_usage";
/// Places for LoRA adapters that are taken. There with `--enable-lora` only.
pub const LORA_POOL_SLOTS_USED: &str = "sglang:lora_pool_slots_used";
/// Places for LoRA adapters: `--max-loras-per-batch`.
pub const LORA_POOL_SLOTS_TOTAL: &str = "sglang:lora_pool_slots_total";
/// Requests that were answered, a counter.
pub const NUM_REQUESTS_TOTAL: &str = "sglang:num_requests_total";
