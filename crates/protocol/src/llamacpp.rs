//! The metric names of llama.cpp's `llama-server` that tell its load.
//!
//! Source: a page of the server in `xllamacpp` 2026.10.11549, and `tools/server/server-task.cpp` in the sources of
//! `llama-cpp-python` 0.3.36. The server shows them with `--metrics` only.

/// Requests that wait for a slot, a gauge.
pub const REQUESTS_DEFERRED: &str = "llamacpp:requests_deferred";
/// Requests that hold a slot, a gauge.
pub const REQUESTS_PROCESSING: &str = "llamacpp:requests_processing";
/// Part of the KV cache in use. Servers of 2024 had it; the recorded one does not.
pub const KV_CACHE_USAGE_RATIO: &str = "llamacpp:kv_cache_usage_ratio";
