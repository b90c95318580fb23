//! What vLLM checks before it looks at the fields one by one: fields that are wrong together.
//!
//! pydantic runs the validators of a model that come before the fields from the last to the first. Their errors
//! are vLLM's own, so their type is `BadRequestError`.
//!
//! Source: the `model_validator(mode="before")` functions of vLLM 0.32.0's request models.

use serde_json::Value;

use super::RequestError;
use super::fields::Fields;

/// vLLM's `VLLM_MAX_COMPLETION_PROMPTS`.
const MAX_PROMPTS: usize = 1024;

/// The longest `cache_salt`, in characters.
const MAX_SALT: usize = 128;

type Checked = Result<(), RequestError>;

fn refuse(param: Option<&'static str>, reason: &str) -> Checked {
    Err(RequestError::invalid(param, reason))
}

/// For `/v1/completions`.
pub(super) fn completion(body: &Fields<'_>) -> Checked {
    if let Some(Value::Array(prompts)) = body.get("prompt")
        && prompts.len() > MAX_PROMPTS
        && !prompts.iter().all(Value::is_number)
    {
        return refuse(Some("prompt"), "The prompt list has more than 1024 prompts.");
    }
    let nothing = |name| match body.get(name) {
        None => true,
        Some(Value::String(text)) => text.is_empty() && name == "prompt",
        Some(Value::Array(items)) => items.is_empty() && name == "prompt_embeds",
        Some(_) => false,
    };
    if nothing("prompt") && nothing("prompt_embeds") {
        let reason = "Either prompt or prompt_embeds must be provided and non-empty.";
        return refuse(Some("prompt"), reason);
    }
    stream_options(body)?;
    chosen_logprobs(body)?;
    counts(body, &["prompt_logprobs", "logprobs"])?;
    prompt_logprobs(body)?;
    not_negative(body, "logprobs")?;
    structured_outputs(body)?;
    response_format(body)?;
    cache_salt(body)
}

/// For `/v1/chat/completions`.
pub(super) fn chat(body: &Fields<'_>) -> Checked {
    if matches!(body.raw("messages"), Some(Value::Null | Value::Bool(_) | Value::Number(_))) {
        return refuse(None, "messages is no list of messages.");
    }
    generation_prompt(body)?;
    tools(body)?;
    structured_outputs(body)?;
    chosen_logprobs(body)?;
    counts(body, &["prompt_logprobs", "top_logprobs"])?;
    prompt_logprobs(body)?;
    not_negative(body, "top_logprobs")?;
    let top = body.get("top_logprobs").and_then(number).unwrap_or(0.0);
    if top != 0.0 && !body.truthy("logprobs") {
        let reason = "when using `top_logprobs`, `logprobs` must be set to true.";
        return refuse(Some("top_logprobs"), reason);
    }
    stream_options(body)?;
    response_format(body)?;
    cache_salt(body)
}

/// A continued message has no place for the start of a new one.
pub(super) fn generation_prompt(body: &Fields<'_>) -> Checked {
    if body.truthy("continue_final_message") && body.truthy("add_generation_prompt") {
        let reason =
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.";
        return refuse(None, reason);
    }
    Ok(())
}

fn stream_options(body: &Fields<'_>) -> Checked {
    if body.truthy("stream_options") && !body.truthy("stream") {
        let reason = "Stream options can only be defined when `stream=True`.";
        return refuse(Some("stream_options"), reason);
    }
    Ok(())
}

fn chosen_logprobs(body: &Fields<'_>) -> Checked {
    let wanted = body.get("logprobs").is_some_and(|value| *value != Value::Bool(false));
    if body.truthy("logprob_token_ids") && !wanted {
        let reason = "when using `logprob_token_ids`, `logprobs` must be set.";
        return refuse(Some("logprob_token_ids"), reason);
    }
    Ok(())
}

/// In Python a bool is a number.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(|yes| f64::from(u8::from(yes))))
}

fn counts(body: &Fields<'_>, names: &[&'static str]) -> Checked {
    for &name in names {
        if body.get(name).is_some_and(|value| number(value).is_none()) {
            return refuse(Some(name), &format!("`{name}` must be an integer."));
        }
    }
    Ok(())
}

fn prompt_logprobs(body: &Fields<'_>) -> Checked {
    let Some(wanted) = body.get("prompt_logprobs").and_then(number) else { return Ok(()) };
    if body.truthy("stream") && (wanted > 0.0 || wanted == -1.0) {
        let reason = "`prompt_logprobs` are not available when `stream=True`.";
        return refuse(Some("prompt_logprobs"), reason);
    }
    not_negative(body, "prompt_logprobs")
}

fn not_negative(body: &Fields<'_>, name: &'static str) -> Checked {
    match body.get(name).and_then(number) {
        Some(wanted) if wanted < 0.0 && wanted != -1.0 => {
            refuse(Some(name), &format!("`{name}` must be a positive value or -1."))
        }
        _ => Ok(()),
    }
}

fn structured_outputs(body: &Fields<'_>) -> Checked {
    let Some(Value::Object(wanted)) = body.get("structured_outputs") else { return Ok(()) };
    let given = |name: &&str| wanted.get(*name).is_some_and(|value| !value.is_null());
    if ["json", "regex", "choice"].iter().filter(|name| given(name)).count() > 1 {
        let reason = "You can only use one kind of constraints for structured outputs ('json', \
                      'regex' or 'choice').";
        let param = body.get("messages").is_none().then_some("structured_outputs");
        return refuse(param, reason);
    }
    let kinds = ["json", "regex", "choice", "grammar", "json_object", "structural_tag"];
    if !kinds.iter().any(given) {
        return refuse(None, "You must use one kind of structured outputs constraint.");
    }
    Ok(())
}

fn response_format(body: &Fields<'_>) -> Checked {
    let Some(format) = body.get("response_format") else { return Ok(()) };
    let kind = format.get("type").and_then(Value::as_str);
    let missing = format.get("json_schema").is_none_or(Value::is_null);
    if kind == Some("json_schema") && missing {
        let reason = "When response_format type is 'json_schema', the 'json_schema' field must be \
                      provided.";
        return refuse(Some("response_format"), reason);
    }
    Ok(())
}

fn cache_salt(body: &Fields<'_>) -> Checked {
    let well_formed = |salt: &Value| {
        salt.as_str().is_some_and(|salt| {
            let forbidden = |c: char| matches!(c, '@' | '/' | '\\' | '\0');
            !salt.is_empty() && salt.chars().count() <= MAX_SALT && !salt.contains(forbidden)
        })
    };
    match body.get("cache_salt") {
        Some(salt) if !well_formed(salt) => refuse(
            Some("cache_salt"),
            "Parameter 'cache_salt' must be a text of 1 to 128 characters without '@', '/', '\\' or NUL.",
        ),
        _ => Ok(()),
    }
}

fn tools(body: &Fields<'_>) -> Checked {
    let tools = body.get("tools");
    if tools.and_then(Value::as_array).is_some_and(Vec::is_empty) {
        let reason = "`tools` must not be an empty array. Either provide at least one tool or omit \
                      the field entirely.";
        return refuse(Some("tools"), reason);
    }
    let Some(choice) = body.get("tool_choice").filter(|choice| *choice != "none") else {
        return Ok(());
    };
    let Some(tools) = tools else {
        return refuse(Some("tool_choice"), "When using `tool_choice`, `tools` must be set.");
    };
    let choice = match choice {
        Value::String(word) if word == "auto" || word == "required" => return Ok(()),
        Value::Object(choice) => choice,
        _ => {
            let reason = "Only named tools, \"none\", \"auto\" or \"required\" are supported as `tool_choice`.";
            return refuse(Some("tool_choice"), reason);
        }
    };
    let usage =
        "Correct usage: `{\"type\": \"function\", \"function\": {\"name\": \"my_function\"}}`";
    let Some(Value::Object(function)) = choice.get("function") else {
        return refuse(Some("tool_choice.function"), usage);
    };
    let Some(name) = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty())
    else {
        return refuse(Some("tool_choice.function.name"), usage);
    };
    let named = |tool: &Value| tool.pointer("/function/name").and_then(Value::as_str) == Some(name);
    if !tools.as_array().is_some_and(|tools| tools.iter().any(named)) {
        let reason =
            "The tool specified in `tool_choice` does not match any of the specified `tools`";
        return refuse(Some("tool_choice"), reason);
    }
    Ok(())
}
