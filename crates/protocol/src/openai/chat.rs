//! `POST /v1/chat/completions`.

use serde_json::Value;

use super::fields::Fields;
use super::json::parse_object;
use super::{
    Extras, Message, RequestError, SamplingFields, StreamOptions, before, messages, schema,
    unsupported,
};

/// A request of the right shape.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The model asked for; `None` takes the one that is served.
    pub model: Option<String>,
    /// The conversation so far. May be empty here; no template takes that.
    pub messages: Vec<Message>,
    /// Why no answer can be had, where tools or templates are asked for; told after the model's name was looked
    /// at, as vLLM does.
    pub refused: Option<&'static str>,
    /// Whether an answer in the role of the last message starts with that message.
    pub echo: bool,
    /// How to generate. `max_completion_tokens` wins over `max_tokens`.
    pub sampling: SamplingFields,
    /// What to send besides text.
    pub extras: Extras,
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
        before::chat(&body)?;
        schema::check(&body, schema::CHAT)?;
        let mut sampling = SamplingFields::parse(&body)?;
        sampling.max_tokens = body.integer("max_tokens")?;
        if let Some(max) = body.integer("max_completion_tokens")? {
            sampling.max_tokens = Some(max);
            sampling.max_tokens_param = "max_completion_tokens";
        }
        let top = body.integer("top_logprobs")?.unwrap_or(0);
        sampling.logprobs = body.boolean("logprobs", false)?.then_some(top);
        let echo = body.boolean("echo", false)?;
        if echo {
            sampling.prompt_logprobs = sampling.prompt_logprobs.or(Some(top));
        }
        let request = Self {
            model: body.string("model")?.filter(|name| !name.is_empty()),
            messages: messages::read(&body)?,
            refused: refused(&body),
            echo,
            sampling,
            extras: Extras::parse(&body)?,
            stream: StreamOptions::parse(&body)?,
            add_special_tokens: body.boolean("add_special_tokens", false)?,
        };
        unsupported::refuse(&body)?;
        Ok(request)
    }
}

/// What vLLM refuses unless it was started with the flag for it.
fn refused(body: &Fields<'_>) -> Option<&'static str> {
    let choice = body.raw("tool_choice");
    let calls = match choice {
        None => body.truthy("tools"),
        Some(choice) => !choice.is_null() && choice != "none",
    };
    if calls {
        return Some(
            "This server cannot have tools called: leave out `tools`, or ask for `tool_choice` \"none\".",
        );
    }
    let own = |kwargs: &Value| kwargs.get("chat_template").is_some_and(|own| !own.is_null());
    let template = body.get("chat_template").is_some();
    (template || body.get("chat_template_kwargs").is_some_and(own))
        .then_some("This server uses the model's own chat template only.")
}
