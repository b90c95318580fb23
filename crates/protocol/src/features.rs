//! What a router must know of a request's body, read once.
//!
//! [`Outline`] finds the outermost fields in one walk, which is all that most requests cost; [`Features`] counts what is in
//! them, for whoever routes by it. Both know which fields matter, not whether they are right: that is the engine's to say, in its
//! own words. A field of the wrong type counts as absent. Of a field that comes twice the last one counts, as in the engines
//! (Python's `json`, serde's maps): a router that believed the first could be told one model and serve another.

mod count;
mod outline;

use std::borrow::Cow;

pub use outline::{Outline, json_text};

/// Bodies of `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`, as far as a route depends on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features<'a> {
    /// `model`, as the client wrote it.
    pub model: Option<Cow<'a, str>>,
    /// `user`: who asks, where the client says so.
    pub user: Option<Cow<'a, str>>,
    /// Bytes of text that the model will read: messages, prompts, inputs, and the tools' descriptions.
    pub text_bytes: u64,
    /// Tokens that came as numbers.
    pub token_ids: u64,
    /// Pictures among the parts of messages.
    pub images: u32,
    /// Sounds among them.
    pub audios: u32,
    /// Films among them.
    pub videos: u32,
    /// `max_completion_tokens`, else `max_tokens`.
    pub max_tokens: Option<u64>,
    /// Whether `tools` has one.
    pub tools: bool,
    /// Whether the answer must follow a form: `response_format` other than text, `structured_outputs`.
    pub structured: bool,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether serving it twice does something twice: the answer is stored (`store`), or the server itself runs
    /// a tool (any but a `function`).
    pub side_effects: bool,
}

/// Why a body has no features.
#[derive(Debug, thiserror::Error)]
pub enum FeaturesError {
    /// It is no JSON object.
    #[error("the body is no JSON object; the mistake is at byte {at} or before")]
    NoObject {
        /// Bytes that could be read.
        at: usize,
    },
    /// A field that is counted is no JSON, or nested too deeply.
    #[error("`{field}` cannot be read: {cause}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why, and where in its value.
        cause: serde_json::Error,
    },
}

impl<'a> Features<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`FeaturesError`].
    pub fn read(body: &'a [u8]) -> Result<Self, FeaturesError> {
        Outline::of(body).features()
    }
}

#[cfg(test)]
mod tests;
