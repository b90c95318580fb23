//! `POST /tokenize` and `POST /detokenize`.

use serde::Serialize;
use serde_json::Value;

use super::fields::{self, Fields, wrong_type};
use super::json::parse_object;
use super::{Message, RequestError, before, messages, unsupported};

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
    /// Whether to give each token's text as well.
    pub return_token_strs: bool,
}

impl TokenizeRequest {
    /// Reads a body. Never panics, whatever it holds.
    ///
    /// # Errors
    /// [`RequestError`] for anything but a well-typed request. Where it is neither a prompt's nor a chat's, the error
    /// is about the prompt: pydantic tries that first.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let body = parse_object(body)?;
        let body = Fields::body(&body);
        before::generation_prompt(&body)?;
        let prompt = check_prompt(&body);
        let chat = body.raw("messages").is_some();
        let input = match prompt {
            Ok(prompt) => TokenizeInput::Prompt(prompt),
            Err(error) if !chat || check_chat(&body).is_err() => return Err(error),
            Err(_) => TokenizeInput::Messages(messages::read(&body)?),
        };
        let chat = matches!(input, TokenizeInput::Messages(_));
        let request = Self {
            model: body.string("model")?.filter(|name| !name.is_empty()),
            input,
            add_special_tokens: body.boolean("add_special_tokens", !chat)?,
            return_token_strs: body.boolean("return_token_strs", false)?,
        };
        unsupported::refuse(&body)?;
        Ok(request)
    }
}

fn check_prompt(body: &Fields<'_>) -> Result<String, RequestError> {
    body.string("model")?;
    let prompt = match body.raw("prompt") {
        None => return Err(body.missing("prompt")),
        Some(prompt) => fields::string(prompt, body.location("prompt"))?,
    };
    flag(body, "add_special_tokens")?;
    body.boolean("return_token_strs", false)?;
    Ok(prompt)
}

fn check_chat(body: &Fields<'_>) -> Result<(), RequestError> {
    body.string("model")?;
    match body.raw("messages") {
        None => return Err(body.missing("messages")),
        Some(value) => messages::check(value, body.location("messages"))?,
    }
    for name in ["add_generation_prompt", "continue_final_message", "add_special_tokens"] {
        flag(body, name)?;
    }
    body.boolean("return_token_strs", false)?;
    body.string("chat_template")?;
    body.object("chat_template_kwargs")?;
    match body.get("tools") {
        Some(tools) => fields::list(tools, body.location("tools")).map(drop),
        None => Ok(()),
    }
}

/// A flag that may not be null.
fn flag(body: &Fields<'_>, name: &str) -> Result<(), RequestError> {
    match body.raw(name) {
        Some(value) => fields::boolean(value, body.location(name)).map(drop),
        None => Ok(()),
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
    /// Each token's text, where asked.
    pub token_strs: Option<Vec<String>>,
}

/// A detokenize request of the right shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetokenizeRequest {
    /// The model asked for.
    pub model: Option<String>,
    /// What to turn into text. What is beyond all vocabularies stays beyond them.
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
        let model = body.string("model")?.filter(|name| !name.is_empty());
        let ids = body.raw("tokens").ok_or_else(|| body.missing("tokens"))?;
        let tokens = fields::list(ids, body.location("tokens"))?
            .map(|(id, at)| token(id, at))
            .collect::<Result<_, _>>()?;
        Ok(Self { model, tokens })
    }
}

fn token(id: &Value, at: String) -> Result<u32, RequestError> {
    let wide = fields::wide_integer(id, at.clone())?;
    if !(0..=i128::from(i64::MAX)).contains(&wide) {
        let reason = "Input should be a token id";
        return Err(wrong_type("greater_than_equal", at, reason, id));
    }
    Ok(u32::try_from(wide).unwrap_or(u32::MAX))
}

/// What a detokenize request gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}
