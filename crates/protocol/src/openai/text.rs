//! `POST /tokenize` and `POST /detokenize`.

use serde::Serialize;

use super::chat::messages;
use super::fields::{self, Fields, parse_object};
use super::sampling::token_ids;
use super::{Message, RequestError, unsupported};

/// What to tokenize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizeInput {
    /// Text.
    Prompt(String),
    /// Messages, through the model's template.
    Messages(Vec<Message>),
}

/// A tokenize request of the right shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizeRequest {
    /// The model asked for.
    pub model: Option<String>,
    /// What to tokenize.
    pub input: TokenizeInput,
    /// Whether the tokenizer adds what the model expects around a plain prompt.
    pub add_special_tokens: bool,
}

impl TokenizeRequest {
    /// Reads a body. Never panics, whatever it holds.
    ///
    /// # Errors
    /// [`RequestError`] for anything but a well-typed request.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let body = parse_object(body)?;
        let body = Fields::body(&body);
        let chat = body.get("messages").is_some();
        let input = if chat {
            TokenizeInput::Messages(messages(&body)?)
        } else {
            let prompt = body.string("prompt")?.ok_or_else(|| body.missing("prompt"))?;
            TokenizeInput::Prompt(prompt)
        };
        let request = Self {
            model: body.string("model")?,
            input,
            add_special_tokens: body.boolean("add_special_tokens", !chat)?,
        };
        unsupported::refuse(&body)?;
        Ok(request)
    }
}

/// What a tokenize request gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenizeResponse {
    /// How many tokens.
    pub count: usize,
    /// The model's context.
    pub max_model_len: usize,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Always null: asking for them is refused.
    pub token_strs: Option<()>,
}

/// A detokenize request of the right shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetokenizeRequest {
    /// The model asked for.
    pub model: Option<String>,
    /// What to turn into text.
    pub tokens: Vec<u32>,
}

impl DetokenizeRequest {
    /// Reads a body. Never panics, whatever it holds.
    ///
    /// # Errors
    /// [`RequestError`] for anything but a well-typed request.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let body = parse_object(body)?;
        let body = Fields::body(&body);
        let ids = body.get("tokens").ok_or_else(|| body.missing("tokens"))?;
        let ids: Vec<i64> = fields::list(ids, body.location("tokens"))?
            .map(|(id, location)| fields::integer(id, location))
            .collect::<Result<_, _>>()?;
        Ok(Self { model: body.string("model")?, tokens: token_ids("tokens", &ids)? })
    }
}

/// What a detokenize request gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}
