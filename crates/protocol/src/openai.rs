//! The OpenAI API as vLLM 0.32 speaks it: what requests may hold, and the exact shape of what comes back.
//!
//! A request is read in two steps. `parse` checks types, as pydantic does in vLLM, and needs nothing but the
//! bytes. [`SamplingFields::check`] checks values; the server asks for the model's name in between, so that
//! several mistakes in one body are reported in vLLM's order.

mod chat;
mod completion;
mod error;
mod fields;
mod response;
mod sampling;
mod text;
mod unsupported;

pub use chat::{ChatRequest, Message};
pub use completion::{CompletionRequest, Prompt};
pub use error::{ErrorBody, ErrorDetail, RequestError};
pub use response::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatResponse, CompletionChoice, CompletionChunk,
    CompletionChunkChoice, CompletionResponse, Delta, ModelCard, ModelList, StopReason, Usage,
};
pub use sampling::{MAX_CHOICES, Sampling, SamplingFields, StreamOptions};
pub use text::{
    DetokenizeRequest, DetokenizeResponse, TokenizeInput, TokenizeRequest, TokenizeResponse,
};

/// The deepest that arrays and objects may be nested: `serde_json`'s own limit.
pub const MAX_NESTING: usize = 128;
