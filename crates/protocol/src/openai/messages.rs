//! The `messages` of a chat or of a tokenize request.

use serde_json::Value;

use super::RequestError;
use super::fields::{self, Fields, wrong_type};

/// One turn of a conversation, its text parts joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what the model's template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// Checks types. pydantic tries a message as each kind that it knows; the first is the developer's, and gives
/// the error its place.
pub(super) fn check(value: &Value, at: String) -> Result<(), RequestError> {
    for (message, at) in fields::list(value, at)? {
        let at = format!("{at}.ChatCompletionDeveloperMessageParam");
        let message = Fields::at(message, at)?;
        match message.raw("content") {
            None | Some(Value::String(_) | Value::Array(_) | Value::Object(_)) => {}
            Some(Value::Null)
                if message.raw("role").and_then(Value::as_str) == Some("assistant") => {}
            Some(other) => {
                let reason = "Input should be a valid string";
                return Err(wrong_type("string_type", message.location("content"), reason, other));
            }
        }
        match message.raw("role") {
            Some(Value::String(_)) => {}
            None if message.raw("content").is_none() => return Err(message.missing("content")),
            None => return Err(message.missing("role")),
            Some(other) => {
                let reason = "Input should be a valid string";
                return Err(wrong_type("literal_error", message.location("role"), reason, other));
            }
        }
    }
    Ok(())
}

/// Reads what [`check`] let through.
pub(super) fn read(body: &Fields<'_>) -> Result<Vec<Message>, RequestError> {
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
        Some(parts) => {
            let parts = fields::list(parts, fields.location("content"))?
                .map(|(value, location)| part(value, location))
                .collect::<Result<Vec<_>, _>>()?;
            parts.join("\n")
        }
    };
    Ok(Message { role, content })
}

/// A part of a content list; only text is known.
fn part(value: &Value, location: String) -> Result<String, RequestError> {
    if let Value::String(text) = value {
        return Ok(text.clone());
    }
    let Value::Object(_) = value else {
        return Err(RequestError::invalid(None, format!("{location} is no part of a message.")));
    };
    let fields = Fields::at(value, location)?;
    match (fields.get("type").and_then(Value::as_str), fields.get("text")) {
        (Some("text") | None, Some(Value::String(text))) => Ok(text.clone()),
        (Some("text") | None, _) => {
            let reason = format!("{} should be a text.", fields.location("text"));
            Err(RequestError::invalid(None, reason))
        }
        (Some(kind), _) => {
            let kind: String = kind.chars().take(40).collect();
            let reason = format!("This model takes text only, not a part of type `{kind}`.");
            Err(RequestError::invalid(None, reason))
        }
    }
}
