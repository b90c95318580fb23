//! `POST /v1/completions`.

use serde_json::Value;

use super::fields::{self, Fields, parse_object, wrong_type};
use super::sampling::token_ids;
use super::{RequestError, SamplingFields, StreamOptions, unsupported};

/// What to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text, for the tokenizer.
    Text(String),
    /// Tokens, as they are.
    Tokens(Vec<u32>),
}

/// A request of the right shape.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    /// The model asked for; `None` takes the one that is served.
    pub model: Option<String>,
    /// One or more.
    pub prompts: Vec<Prompt>,
    /// How to generate.
    pub sampling: SamplingFields,
    /// `Some` for a stream.
    pub stream: Option<StreamOptions>,
    /// Whether the tokenizer adds what the model expects around a plain prompt.
    pub add_special_tokens: bool,
}

impl CompletionRequest {
    /// Reads a body. Never panics, whatever it holds.
    ///
    /// # Errors
    /// [`RequestError`] for anything but a well-typed request with a prompt.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let body = parse_object(body)?;
        let body = Fields::body(&body);
        let request = Self {
            model: body.string("model")?,
            prompts: prompts(&body)?,
            sampling: SamplingFields::parse(&body)?,
            stream: StreamOptions::parse(&body)?,
            add_special_tokens: body.boolean("add_special_tokens", true)?,
        };
        unsupported::refuse(&body)?;
        Ok(request)
    }
}

fn empty() -> RequestError {
    RequestError::invalid(
        Some("prompt"),
        "Either prompt or prompt_embeds must be provided and non-empty.",
    )
}

/// A string, strings, token ids, or lists of token ids.
fn prompts(body: &Fields<'_>) -> Result<Vec<Prompt>, RequestError> {
    let location = body.location("prompt");
    match body.get("prompt") {
        None => Err(empty()),
        Some(Value::String(text)) => Ok(vec![Prompt::Text(text.clone())]),
        Some(Value::Array(items)) => match items.first() {
            None => Err(empty()),
            Some(Value::Number(_)) => Ok(vec![tokens(&Value::Array(items.clone()), location)?]),
            Some(_) => items
                .iter()
                .enumerate()
                .map(|(i, item)| one_of_many(item, format!("{location}.{i}")))
                .collect(),
        },
        Some(other) => {
            Err(wrong_type("string_type", location, "Input should be a valid string", other))
        }
    }
}

fn one_of_many(item: &Value, location: String) -> Result<Prompt, RequestError> {
    match item {
        Value::Array(_) => tokens(item, location),
        text => fields::string(text, location).map(Prompt::Text),
    }
}

fn tokens(ids: &Value, location: String) -> Result<Prompt, RequestError> {
    let ids: Vec<i64> = fields::list(ids, location)?
        .map(|(id, location)| fields::integer(id, location))
        .collect::<Result<_, _>>()?;
    token_ids("prompt", &ids).map(Prompt::Tokens)
}
