//! The fields of vLLM's request models in their order, and what each may hold.
//!
//! pydantic reports every mistake of a body at once, in the order of the model's fields; the first gives the error
//! its `param`. So all fields are checked in that order before any is used, also those that this server ignores.
//!
//! Source: `vllm/entrypoints/openai/{completion,chat_completion}/protocol.py` of vLLM 0.32.0.

use serde_json::Value;

use super::RequestError;
use super::fields::{self, Fields, wrong_type};
use super::messages;

/// vLLM's `VLLM_MAX_STOP_STRINGS`.
const MAX_STOPS: usize = 4;

/// What a field may hold. `Null…` may be null as well.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    NullText,
    Text,
    Int,
    NullInt,
    /// From the first to the last.
    NullIntIn(i128, i128),
    IntIn(i128, i128),
    NullFloat,
    Float,
    Bool,
    NullBool,
    NullInts,
    Texts,
    /// Token ids, as text, to numbers.
    NullBias,
    NullStop,
    NullPrompt,
    Messages,
    NullStreamOptions,
    NullResponseFormat,
    NullTools,
    /// Anything that the checks before the fields let through.
    Anything,
    NullObject,
    /// Objects of texts.
    NullDocuments,
    NullXargs,
    NullOneOf(&'static [&'static str]),
}

use Kind::{
    Anything, Bool, Float, Int, IntIn, Messages, NullBias, NullBool, NullDocuments, NullFloat,
    NullInt, NullIntIn, NullInts, NullObject, NullOneOf, NullPrompt, NullResponseFormat, NullStop,
    NullStreamOptions, NullText, NullTools, NullXargs, Text, Texts,
};

const I64: (i128, i128) = (i64::MIN as i128, i64::MAX as i128);
const SEED: Kind = NullIntIn(I64.0, I64.1);
const TRUNCATE: Kind = NullIntIn(-1, I64.1);

type Schema = &'static [(&'static str, Kind)];

/// `POST /v1/completions`.
pub(super) const COMPLETION: Schema = &[
    ("model", NullText),
    ("prompt", NullPrompt),
    ("echo", NullBool),
    ("frequency_penalty", NullFloat),
    ("logit_bias", NullBias),
    ("logprobs", NullInt),
    ("max_tokens", NullInt),
    ("n", Int),
    ("presence_penalty", NullFloat),
    ("seed", SEED),
    ("stop", NullStop),
    ("stream", NullBool),
    ("stream_options", NullStreamOptions),
    ("suffix", NullText),
    ("temperature", NullFloat),
    ("top_p", NullFloat),
    ("user", NullText),
    ("use_beam_search", Bool),
    ("top_k", NullInt),
    ("min_p", NullFloat),
    ("repetition_penalty", NullFloat),
    ("watermarking", NullBool),
    ("length_penalty", Float),
    ("stop_token_ids", NullInts),
    ("include_stop_str_in_output", Bool),
    ("ignore_eos", Bool),
    ("min_tokens", Int),
    ("skip_special_tokens", Bool),
    ("spaces_between_special_tokens", Bool),
    ("truncate_prompt_tokens", TRUNCATE),
    ("truncation_side", NullOneOf(&["left", "right"])),
    ("allowed_token_ids", NullInts),
    ("prompt_logprobs", NullInt),
    ("logprob_token_ids", NullInts),
    ("bad_words", Texts),
    ("prompt_embeds", Anything),
    ("add_special_tokens", Bool),
    ("response_format", NullResponseFormat),
    ("structured_outputs", NullObject),
    ("priority", IntIn(I64.0, I64.1)),
    ("request_id", Text),
    ("session_id", NullText),
    ("return_tokens_as_token_ids", NullBool),
    ("return_token_ids", NullBool),
    ("kv_transfer_params", NullObject),
    ("ec_transfer_params", NullObject),
    ("vllm_xargs", NullXargs),
    ("repetition_detection", NullObject),
    ("stream_interval", NullIntIn(1, i128::MAX)),
];

/// `POST /v1/chat/completions`.
pub(super) const CHAT: Schema = &[
    ("messages", Messages),
    ("model", NullText),
    ("frequency_penalty", NullFloat),
    ("logit_bias", NullBias),
    ("logprobs", NullBool),
    ("top_logprobs", NullInt),
    ("max_tokens", NullInt),
    ("max_completion_tokens", NullInt),
    ("n", NullInt),
    ("presence_penalty", NullFloat),
    ("response_format", NullResponseFormat),
    ("seed", SEED),
    ("stop", NullStop),
    ("stream", NullBool),
    ("stream_options", NullStreamOptions),
    ("temperature", NullFloat),
    ("top_p", NullFloat),
    ("tools", NullTools),
    ("tool_choice", Anything),
    ("reasoning_effort", NullOneOf(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    ("include_reasoning", Bool),
    ("parallel_tool_calls", NullBool),
    ("user", NullText),
    ("use_beam_search", Bool),
    ("top_k", NullInt),
    ("min_p", NullFloat),
    ("repetition_penalty", NullFloat),
    ("watermarking", NullBool),
    ("length_penalty", Float),
    ("stop_token_ids", NullInts),
    ("include_stop_str_in_output", Bool),
    ("ignore_eos", Bool),
    ("min_tokens", Int),
    ("skip_special_tokens", Bool),
    ("spaces_between_special_tokens", Bool),
    ("truncate_prompt_tokens", TRUNCATE),
    ("truncation_side", NullOneOf(&["left", "right"])),
    ("prompt_logprobs", NullInt),
    ("logprob_token_ids", NullInts),
    ("allowed_token_ids", NullInts),
    ("bad_words", Texts),
    ("echo", Bool),
    ("add_generation_prompt", Bool),
    ("continue_final_message", Bool),
    ("add_special_tokens", Bool),
    ("documents", NullDocuments),
    ("chat_template", NullText),
    ("chat_template_kwargs", NullObject),
    ("structured_outputs", NullObject),
    ("priority", IntIn(I64.0, I64.1)),
    ("request_id", Text),
    ("session_id", NullText),
    ("return_tokens_as_token_ids", NullBool),
    ("return_token_ids", NullBool),
    ("return_prompt_text", NullBool),
    ("kv_transfer_params", NullObject),
    ("ec_transfer_params", NullObject),
    ("vllm_xargs", NullXargs),
    ("repetition_detection", NullObject),
    ("stream_interval", NullIntIn(1, i128::MAX)),
];

/// Checks all fields of a body, in order.
pub(super) fn check(body: &Fields<'_>, schema: Schema) -> Result<(), RequestError> {
    for &(name, kind) in schema {
        match body.raw(name) {
            Some(value) => check_field(value, body.location(name), kind)?,
            None if matches!(kind, Messages) => return Err(body.missing(name)),
            None => {}
        }
    }
    Ok(())
}

fn check_field(value: &Value, at: String, kind: Kind) -> Result<(), RequestError> {
    if value.is_null() {
        return match kind {
            Int | IntIn(..) => fields::integer(value, at).map(drop),
            Float => fields::float(value, at).map(drop),
            Bool => Err(wrong_type("bool_type", at, "Input should be a valid boolean", value)),
            Text => fields::string(value, at).map(drop),
            Texts | Messages => fields::list(value, at).map(drop),
            _ => Ok(()),
        };
    }
    match kind {
        NullText | Text => fields::string(value, at).map(drop),
        Int | NullInt => fields::integer(value, at).map(drop),
        IntIn(min, max) | NullIntIn(min, max) => in_range(value, at, min, max),
        Float | NullFloat => fields::float(value, at).map(drop),
        Bool | NullBool => fields::boolean(value, at).map(drop),
        NullInts => fields::integers(value, at).map(drop),
        Texts => texts(value, at),
        NullBias => bias(value, at),
        NullStop => stop(value, at),
        NullPrompt => super::completion::check_prompt(value, at),
        Messages => messages::check(value, at),
        NullStreamOptions => stream_options(value, at),
        NullResponseFormat => response_format(value, at),
        NullTools => tools(value, at),
        Anything => Ok(()),
        NullObject => Fields::at(value, at).map(drop),
        NullDocuments => documents(value, at),
        NullXargs => xargs(value, at),
        NullOneOf(words) => one_of(value, at, words),
    }
}

fn in_range(value: &Value, at: String, min: i128, max: i128) -> Result<(), RequestError> {
    let integer = fields::wide_integer(value, at.clone())?;
    if integer < min {
        let reason = "Input should be greater than or equal to the least that is allowed";
        return Err(wrong_type("greater_than_equal", at, reason, value));
    }
    if integer > max {
        let reason = "Input should be less than or equal to the most that is allowed";
        return Err(wrong_type("less_than_equal", at, reason, value));
    }
    Ok(())
}

fn texts(value: &Value, at: String) -> Result<(), RequestError> {
    fields::list(value, at)?.try_for_each(|(item, at)| fields::string(item, at).map(drop))
}

fn bias(value: &Value, at: String) -> Result<(), RequestError> {
    let bias = Fields::at(value, at)?;
    let mut tokens = bias.iter();
    tokens.try_for_each(|(token, value)| fields::float(value, bias.location(token)).map(drop))
}

/// A union: pydantic tries text first, and names the field, not the item.
fn stop(value: &Value, at: String) -> Result<(), RequestError> {
    match value {
        Value::String(_) => Ok(()),
        Value::Array(items) if items.len() > MAX_STOPS && items.iter().all(Value::is_string) => {
            let reason = "List should have at most 4 items after validation";
            Err(wrong_type("too_long", at, reason, value))
        }
        Value::Array(items) if items.iter().all(Value::is_string) => Ok(()),
        _ => fields::string(value, at).map(drop),
    }
}

fn stream_options(value: &Value, at: String) -> Result<(), RequestError> {
    let options = Fields::at(value, at)?;
    options.boolean("include_usage", false)?;
    options.boolean("continuous_usage_stats", false).map(drop)
}

fn response_format(value: &Value, at: String) -> Result<(), RequestError> {
    let format = Fields::at(value, at)?;
    let kinds = &["text", "json_object", "json_schema", "structural_tag"];
    match format.raw("type") {
        None => return Err(format.missing("type")),
        Some(kind) => one_of(kind, format.location("type"), kinds)?,
    }
    if let Some(schema) = format.object("json_schema")? {
        match schema.raw("name") {
            None => return Err(schema.missing("name")),
            Some(name) => fields::string(name, schema.location("name")).map(drop)?,
        }
    }
    Ok(())
}

fn tools(value: &Value, at: String) -> Result<(), RequestError> {
    for (tool, at) in fields::list(value, at)? {
        let tool = Fields::at(tool, at)?;
        let Some(function) = tool.raw("function") else { return Err(tool.missing("function")) };
        let function = Fields::at(function, tool.location("function"))?;
        match function.raw("name") {
            None => return Err(function.missing("name")),
            Some(name) => fields::string(name, function.location("name")).map(drop)?,
        }
    }
    Ok(())
}

fn documents(value: &Value, at: String) -> Result<(), RequestError> {
    for (document, at) in fields::list(value, at)? {
        let document = Fields::at(document, at)?;
        for (name, value) in document.iter() {
            fields::string(value, document.location(name))?;
        }
    }
    Ok(())
}

fn xargs(value: &Value, at: String) -> Result<(), RequestError> {
    let xargs = Fields::at(value, at)?;
    for (name, value) in xargs.iter() {
        if matches!(value, Value::Null | Value::Object(_)) {
            fields::string(value, xargs.location(name))?;
        }
    }
    Ok(())
}

fn one_of(value: &Value, at: String, words: &[&str]) -> Result<(), RequestError> {
    match value.as_str() {
        Some(word) if words.contains(&word) => Ok(()),
        _ => Err(wrong_type("literal_error", at, "Input should be one of the known words", value)),
    }
}
