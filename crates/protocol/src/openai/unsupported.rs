//! Fields of vLLM's API that change the answer, and that this server does not honour.
//!
//! Each is refused by name unless its value asks for nothing. Every other unknown field is ignored, as vLLM
//! does.

use serde_json::Value;

use super::RequestError;
use super::fields::{Fields, truthy};

/// Whether a value leaves the answer as it is.
type Harmless = fn(&Value) -> bool;

fn nothing(value: &Value) -> bool {
    !truthy(value)
}

fn on(value: &Value) -> bool {
    value.is_null() || truthy(value)
}

fn text_format(value: &Value) -> bool {
    value.is_null() || value.get("type").and_then(Value::as_str) == Some("text")
}

/// A chat template that knows it is there would see a difference.
fn only_template(value: &Value) -> bool {
    value.as_object().is_none_or(|kwargs| kwargs.keys().all(|key| key == "chat_template"))
}

const FIELDS: &[(&str, Harmless)] = &[
    ("add_generation_prompt", on),
    ("bad_words", nothing),
    ("chat_template_kwargs", only_template),
    ("continue_final_message", nothing),
    ("documents", nothing),
    ("ec_transfer_params", nothing),
    ("kv_transfer_params", nothing),
    ("logprob_token_ids", nothing),
    ("prompt_embeds", nothing),
    ("repetition_detection", nothing),
    ("response_format", text_format),
    ("structured_outputs", nothing),
    ("use_beam_search", nothing),
];

/// Refuses the first field that would be silently ignored.
pub(super) fn refuse(body: &Fields<'_>) -> Result<(), RequestError> {
    let harmful = |&&(name, harmless): &&(&str, Harmless)| {
        body.get(name).is_some_and(|value| !harmless(value))
    };
    match FIELDS.iter().find(harmful) {
        Some((name, _)) => Err(RequestError::Unsupported { param: (*name).to_owned() }),
        None => Ok(()),
    }
}
