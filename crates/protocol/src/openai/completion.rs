//! `POST /v1/completions`.

use serde_json::Value;

use super::fields::{self, Fields, wrong_type};
use super::json::parse_object;
use super::{Extras, RequestError, SamplingFields, StreamOptions, before, schema, unsupported};

/// vLLM's `max_tokens` for completions that give none.
const DEFAULT_MAX_TOKENS: i64 = 16;

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
    /// None of them is refused later, as vLLM does: after the model's name was looked at.
    pub prompts: Vec<Prompt>,
    /// Text after the answer, for models that can fill in the middle.
    pub suffix: Option<String>,
    /// Whether each answer starts with its prompt.
    pub echo: bool,
    /// How to generate.
    pub sampling: SamplingFields,
    /// What to send besides text.
    pub extras: Extras,
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
        before::completion(&body)?;
        schema::check(&body, schema::COMPLETION)?;
        let mut sampling = SamplingFields::parse(&body)?;
        sampling.max_tokens = Some(body.integer("max_tokens")?.unwrap_or(DEFAULT_MAX_TOKENS));
        sampling.logprobs = body.integer("logprobs")?;
        let echo = body.boolean("echo", false)?;
        if echo {
            sampling.prompt_logprobs = sampling.prompt_logprobs.or(sampling.logprobs);
        }
        let request = Self {
            model: body.string("model")?.filter(|name| !name.is_empty()),
            prompts: prompts(&body)?,
            suffix: body.string("suffix")?,
            echo,
            sampling,
            extras: Extras::parse(&body)?,
            stream: StreamOptions::parse(&body)?,
            add_special_tokens: body.boolean("add_special_tokens", true)?,
        };
        unsupported::refuse(&body)?;
        Ok(request)
    }
}

/// Checks types: a string, strings, token ids, or lists of token ids. pydantic tries token ids first, which gives
/// most errors their place.
pub(super) fn check_prompt(value: &Value, at: String) -> Result<(), RequestError> {
    let Value::Array(items) = value else {
        return match value {
            Value::String(_) => Ok(()),
            other => Err(wrong_type("list_type", at, "Input should be a valid list", other)),
        };
    };
    if items.iter().all(Value::is_string) {
        return Ok(());
    }
    if items.iter().all(|item| item.as_array().is_some_and(|ids| ids.iter().all(is_token))) {
        return Ok(());
    }
    for (item, at) in fields::list(value, at)? {
        let token = fields::integer(item, at.clone())?;
        if token < 0 {
            let reason = "Input should be greater than or equal to 0";
            return Err(wrong_type("greater_than_equal", at, reason, item));
        }
    }
    Ok(())
}

fn is_token(value: &Value) -> bool {
    fields::integer(value, String::new()).is_ok_and(|token| token >= 0)
}

/// Reads what [`check_prompt`] let through.
fn prompts(body: &Fields<'_>) -> Result<Vec<Prompt>, RequestError> {
    let at = body.location("prompt");
    match body.get("prompt") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Prompt::Text(text.clone())]),
        Some(Value::Array(items)) if items.is_empty() => Ok(Vec::new()),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            let texts = items.iter().filter_map(Value::as_str);
            Ok(texts.map(|text| Prompt::Text(text.to_owned())).collect())
        }
        Some(Value::Array(items)) if items.iter().all(Value::is_array) => {
            items.iter().map(|ids| tokens(ids, at.clone())).collect()
        }
        Some(ids) => Ok(vec![tokens(ids, at)?]),
    }
}

/// What is beyond all vocabularies stays beyond them.
fn tokens(ids: &Value, at: String) -> Result<Prompt, RequestError> {
    let ids = fields::integers(ids, at)?;
    let token = |id: i64| u32::try_from(id).unwrap_or(u32::MAX);
    Ok(Prompt::Tokens(ids.into_iter().map(token).collect()))
}
