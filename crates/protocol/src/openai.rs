//! The OpenAI API as vLLM 0.32 speaks it: what requests may hold, and the exact shape of what comes back.
//!
//! A request is read in two steps. `parse` checks types, as pydantic does in vLLM, and needs nothing but the
//! bytes. [`SamplingFields::check`] checks values; the server looks for the model and tokenizes in between, so that
//! several mistakes in one body are reported in vLLM's order.

mod before;
mod chat;
mod completion;
mod error;
mod extras;
mod fields;
mod json;
mod logprobs;
mod messages;
mod models;
mod problem;
mod response;
mod sampling;
mod schema;
mod text;
mod unsupported;
mod usage;

pub use chat::ChatRequest;
pub use completion::{CompletionRequest, Prompt};
pub use error::{ErrorBody, ErrorDetail, RequestError};
pub use extras::Extras;
pub use logprobs::{
    ChatLogprob, ChatLogprobs, ChatTopLogprob, CompletionLogprobs, Named, PromptLogprob,
    PromptLogprobs, printable,
};
pub use messages::Message;
pub use models::{ModelCard, ModelList};
pub use problem::{Problem, ProblemBody};
pub use response::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatResponse, CompletionChoice, CompletionChunk,
    CompletionChunkChoice, CompletionResponse, Delta, Finish, StopReason,
};
pub use sampling::{MAX_CHOICES, MAX_LOGPROBS, Sampling, SamplingFields, StreamOptions};
pub use text::{
    DetokenizeRequest, DetokenizeResponse, TokenizeInput, TokenizeRequest, TokenizeResponse,
};
pub use usage::Usage;

/// The deepest that arrays and objects may be nested: `serde_json`'s own limit.
pub const MAX_NESTING: usize = 128;
