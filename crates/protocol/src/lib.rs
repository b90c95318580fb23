//! What goes over the wire, as types: OpenAI bodies, server-sent events, errors, and metrics.
//!
//! Knows serde and nothing else: no I/O, no clock, no server.

pub mod exposition;
pub mod features;
pub mod llamacpp;
pub mod openai;
pub mod scrape;
pub mod sglang;
pub mod sse;
pub mod tgi;
pub mod timelines;
pub mod traceparent;
pub mod trtllm;
pub mod vllm;
pub mod wishes;
