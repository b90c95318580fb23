//! `POST /v1/chat/completions`.

use serde_json::Value;

use super::fields::{self, Fields, parse_object, wrong_type};
use super::{RequestError, SamplingFields, StreamOptions, unsupported};

/// One turn of a conversation, its text parts joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what the model's template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// A request of the right shape.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The model asked for; `None` takes the one that is served.
    pub model: Option<String>,
    /// The conversation so far. May be empty here; no template takes that.
    pub messages: Vec<Message>,
    /// How to generate. `max_completion_tokens` wins over `max_tokens`.
    pub sampling: SamplingFields,
    /// `Some` for a stream.
    pub stream: Option<StreamOptions>,
    /// Whether the tokenizer adds what the model expects around a plain prompt, after the template did.
    pub add_special_tokens: bool,
}

impl ChatRequest {
    /// Reads a body. Never panics, whatever it holds.
    ///
    /// # Errors
    /// [`RequestError`] for anything but a well-typed request with messages.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let body = parse_object(body)?;
        let body = Fields::body(&body);
        let mut request = Self {
            model: body.string("model")?,
            messages: messages(&body)?,
            sampling: SamplingFields::parse(&body)?,
            stream: StreamOptions::parse(&body)?,
            add_special_tokens: body.boolean("add_special_tokens", false)?,
        };
        if let Some(max) = body.integer("max_completion_tokens")? {
            request.sampling.max_tokens = Some(max);
        }
        unsupported::refuse(&body)?;
        Ok(request)
    }
}

/// The `messages` of a chat or of a tokenize request.
pub(super) fn messages(body: &Fields<'_>) -> Result<Vec<Message>, RequestError> {
    let Some(messages) = body.get("messages") else { return Err(body.missing("messages")) };
    fields::list(messages, body.location("messages"))?
        .map(|(value, location)| message(&Fields::at(value, location)?))
        .collect()
}

fn message(fields: &Fields<'_>) -> Result<Message, RequestError> {
    let role = fields.string("role")?.ok_or_else(|| fields.missing("role"))?;
    for name in ["tool_calls", "function_call", "audio"] {
        if fields.get(name).is_some_and(|value| value.as_array().is_none_or(|v| !v.is_empty())) {
            return Err(RequestError::Unsupported { param: fields.location(name) });
        }
    }
    let content = match fields.get("content") {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(parts @ Value::Array(_)) => {
            let parts = fields::list(parts, fields.location("content"))?
                .map(|(value, location)| part(value, location))
                .collect::<Result<Vec<_>, _>>()?;
            parts.join("\n")
        }
        Some(other) => {
            let reason = "Input should be a valid string";
            return Err(wrong_type("string_type", fields.location("content"), reason, other));
        }
    };
    Ok(Message { role, content })
}

/// A part of a content list; only text is known.
fn part(value: &Value, location: String) -> Result<String, RequestError> {
    if let Value::String(text) = value {
        return Ok(text.clone());
    }
    let fields = Fields::at(value, location)?;
    match fields.string("type")?.as_deref() {
        Some("text") | None => fields.string("text")?.ok_or_else(|| fields.missing("text")),
        Some(_) => Err(RequestError::Unsupported { param: fields.location("type") }),
    }
}
