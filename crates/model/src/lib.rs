//! Llama-family models on candle: weights from GGUF or safetensors, tokenizer and chat template, a batched
//! forward over step plans with a paged KV cache, and sampling.
//!
//! The only crate that knows candle. What it offers to the rest is [`serving::Executor`] and
//! [`serving::TextCodec`]: [`load`] a [`ModelSource`], then [`LoadedModel::into_executor`].

pub mod accuracy;
mod adjust;
mod attention;
mod batch;
mod cache;
mod codec;
mod config;
mod cpu_cache;
mod error;
mod executor;
mod gguf;
mod hugging_face;
mod kernel;
mod llama;
mod load;
mod matrix;
mod rope;
mod sampling;
mod source;
mod template;
mod tensor;
mod tiny;
mod weights;

#[cfg(test)]
mod tests;

pub use config::{LlamaConfig, RopeScaling};
pub use error::ModelError;
pub use executor::CandleExecutor;
pub use load::{DeviceKind, LoadOptions, LoadedModel, WeightFormat, load};
pub use source::ModelSource;
