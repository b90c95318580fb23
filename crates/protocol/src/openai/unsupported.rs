//! Fields of vLLM's API that change the answer, and that this server does not honour yet.
//!
//! Each is refused by name unless its value asks for nothing. Every other unknown field is ignored, as vLLM
//! does.

use serde_json::Value;

use super::RequestError;
use super::fields::Fields;

/// Whether a value leaves the answer as it is.
type Harmless = fn(&Value) -> bool;

/// Off, zero or empty.
fn nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn null(value: &Value) -> bool {
    value.is_null()
}

fn off(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}

fn on(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(true))
}

fn one(value: &Value) -> bool {
    value.is_null() || value.as_f64() == Some(1.0)
}

fn no_choice(value: &Value) -> bool {
    value.is_null() || matches!(value.as_str(), Some("none" | "auto"))
}

fn text_format(value: &Value) -> bool {
    value.is_null() || value.get("type").and_then(Value::as_str) == Some("text")
}

const FIELDS: &[(&str, Harmless)] = &[
    ("add_generation_prompt", on),
    ("allowed_token_ids", nothing),
    ("audio", null),
    ("bad_words", nothing),
    ("best_of", one),
    ("chat_template", null),
    ("chat_template_kwargs", nothing),
    ("continue_final_message", off),
    ("documents", nothing),
    ("echo", off),
    ("frequency_penalty", nothing),
    ("function_call", no_choice),
    ("functions", nothing),
    ("kv_transfer_params", null),
    ("length_penalty", one),
    ("logit_bias", nothing),
    ("logits_processors", nothing),
    ("min_p", nothing),
    ("presence_penalty", nothing),
    ("prompt_embeds", null),
    ("prompt_logprobs", null),
    ("repetition_penalty", one),
    ("response_format", text_format),
    ("return_token_ids", off),
    ("return_token_strs", off),
    ("return_tokens_as_token_ids", off),
    ("structured_outputs", nothing),
    ("suffix", nothing),
    ("tool_choice", no_choice),
    ("tools", nothing),
    ("top_logprobs", nothing),
    ("truncate_prompt_tokens", null),
    ("use_beam_search", off),
];

/// Refuses the first field that would be silently ignored.
pub(super) fn refuse(body: &Fields<'_>) -> Result<(), RequestError> {
    for (name, value) in body.iter() {
        let known = FIELDS.iter().find(|(field, _)| field == name);
        let guided = name.starts_with("guided_") && !value.is_null();
        // A chat asks for log probabilities by a bool, a completion by a number, of which 0 is one too.
        let logprobs = name == "logprobs" && !off(value);
        if known.is_some_and(|(_, harmless)| !harmless(value)) || guided || logprobs {
            return Err(RequestError::Unsupported { param: name.clone() });
        }
    }
    Ok(())
}
