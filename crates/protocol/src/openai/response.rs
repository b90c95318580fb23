//! What comes back: the field order and the nulls of vLLM 0.32, so that clients see no difference.

use serde::{Deserialize, Serialize};

/// A field of vLLM's that this server never fills.
type Null = Option<()>;

/// A field that is either absent or null.
type NullIf = Option<Null>;

/// What ended an answer besides an end-of-text token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StopReason {
    /// A stop string.
    Text(String),
    /// A stop token.
    Token(u32),
}

/// Tokens in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
    completion_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: NullIf,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: NullIf,
}

impl Usage {
    /// In a stream's last chunk.
    #[must_use]
    pub fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        let total_tokens = prompt_tokens + completion_tokens;
        Self { prompt_tokens, total_tokens, completion_tokens, ..Self::default() }
    }

    /// In a whole response, which has both details.
    #[must_use]
    pub fn whole(prompt_tokens: usize, completion_tokens: usize) -> Self {
        let details = Some(None);
        Self {
            prompt_tokens_details: details,
            completion_tokens_details: details,
            ..Self::new(prompt_tokens, completion_tokens)
        }
    }

    /// In every chunk of a stream with continuous usage.
    #[must_use]
    pub fn so_far(prompt_tokens: usize, completion_tokens: usize) -> Self {
        let completion_tokens_details = Some(None);
        Self { completion_tokens_details, ..Self::new(prompt_tokens, completion_tokens) }
    }
}

/// A whole `text_completion`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompletionResponse {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: Vec<CompletionChoice>,
    service_tier: Null,
    system_fingerprint: String,
    usage: Usage,
    kv_transfer_params: Null,
    ec_transfer_params: Null,
    metrics: Null,
}

impl CompletionResponse {
    /// A response. `created` is in seconds since 1970.
    #[must_use]
    pub fn new(
        id: String,
        created: u64,
        model: String,
        system_fingerprint: String,
        choices: Vec<CompletionChoice>,
        usage: Usage,
    ) -> Self {
        Self {
            id,
            object: "text_completion",
            created,
            model,
            choices,
            service_tier: None,
            system_fingerprint,
            usage,
            kv_transfer_params: None,
            ec_transfer_params: None,
            metrics: None,
        }
    }
}

/// One answer of a completion.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CompletionChoice {
    index: usize,
    text: String,
    logprobs: Null,
    finish_reason: Option<&'static str>,
    stop_reason: Option<StopReason>,
    token_ids: Null,
    prompt_logprobs: Null,
    prompt_token_ids: Null,
    routed_experts: Null,
}

impl CompletionChoice {
    /// A finished answer.
    #[must_use]
    pub fn new(
        index: usize,
        text: String,
        finish_reason: &'static str,
        stop_reason: Option<StopReason>,
    ) -> Self {
        let finish_reason = Some(finish_reason);
        Self { index, text, finish_reason, stop_reason, ..Self::default() }
    }
}

/// A piece of a `text_completion` stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct CompletionChunk<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: u64,
    pub model: &'a str,
    pub choices: Vec<CompletionChunkChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<&'a str>,
}

/// One answer's part of a completion chunk.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CompletionChunkChoice {
    index: usize,
    text: String,
    logprobs: Null,
    finish_reason: Option<&'static str>,
    stop_reason: Option<StopReason>,
    prompt_token_ids: Null,
    token_ids: Null,
}

impl CompletionChunkChoice {
    /// More text, and perhaps the end.
    #[must_use]
    pub fn new(
        index: usize,
        text: String,
        finish: Option<(&'static str, Option<StopReason>)>,
    ) -> Self {
        let (finish_reason, stop_reason) = finish.map_or((None, None), |(f, s)| (Some(f), s));
        Self { index, text, finish_reason, stop_reason, ..Self::default() }
    }
}

/// A whole `chat.completion`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatResponse {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: Vec<ChatChoice>,
    service_tier: Null,
    system_fingerprint: String,
    usage: Usage,
    prompt_logprobs: Null,
    prompt_token_ids: Null,
    prompt_text: Null,
    kv_transfer_params: Null,
    ec_transfer_params: Null,
    metrics: Null,
}

impl ChatResponse {
    /// A response. `created` is in seconds since 1970.
    #[must_use]
    pub fn new(
        id: String,
        created: u64,
        model: String,
        system_fingerprint: String,
        choices: Vec<ChatChoice>,
        usage: Usage,
    ) -> Self {
        Self {
            id,
            object: "chat.completion",
            created,
            model,
            choices,
            service_tier: None,
            system_fingerprint,
            usage,
            prompt_logprobs: None,
            prompt_token_ids: None,
            prompt_text: None,
            kv_transfer_params: None,
            ec_transfer_params: None,
            metrics: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct AssistantMessage {
    role: &'static str,
    content: String,
    refusal: Null,
    annotations: Null,
    audio: Null,
    function_call: Null,
    reasoning: Null,
}

/// One answer of a chat.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatChoice {
    index: usize,
    message: AssistantMessage,
    logprobs: Null,
    finish_reason: &'static str,
    stop_reason: Option<StopReason>,
    token_ids: Null,
    routed_experts: Null,
}

impl ChatChoice {
    /// A finished answer.
    #[must_use]
    pub fn new(
        index: usize,
        content: String,
        finish_reason: &'static str,
        stop_reason: Option<StopReason>,
    ) -> Self {
        let message = AssistantMessage {
            role: "assistant",
            content,
            refusal: None,
            annotations: None,
            audio: None,
            function_call: None,
            reasoning: None,
        };
        Self {
            index,
            message,
            logprobs: None,
            finish_reason,
            stop_reason,
            token_ids: None,
            routed_experts: None,
        }
    }
}

/// A piece of a `chat.completion` stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct ChatChunk<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: u64,
    pub model: &'a str,
    pub choices: Vec<ChatChunkChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: NullIf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: NullIf,
}

/// What an answer gained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    pub content: String,
}

/// One answer's part of a chat chunk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatChunkChoice {
    index: usize,
    delta: Delta,
    logprobs: Null,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<Option<StopReason>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: NullIf,
}

impl ChatChunkChoice {
    /// The first chunk of an answer: who speaks.
    #[must_use]
    pub fn role(index: usize) -> Self {
        let delta = Delta { role: Some("assistant"), content: String::new() };
        let (finish_reason, stop_reason, token_ids) = (None, None, None);
        Self { index, delta, logprobs: None, finish_reason, stop_reason, token_ids }
    }

    /// More text, and perhaps the end.
    #[must_use]
    pub fn new(
        index: usize,
        content: String,
        finish: Option<(&'static str, Option<StopReason>)>,
    ) -> Self {
        let (finish_reason, stop_reason) = finish.map_or((None, None), |(f, s)| (Some(f), Some(s)));
        let delta = Delta { role: None, content };
        Self { index, delta, logprobs: None, finish_reason, stop_reason, token_ids: Some(None) }
    }
}

/// `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelList {
    object: &'static str,
    data: Vec<ModelCard>,
}

impl ModelList {
    /// The one model of this server.
    #[must_use]
    pub fn of(card: ModelCard) -> Self {
        Self { object: "list", data: vec![card] }
    }
}

/// A model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelCard {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    root: String,
    parent: Null,
    max_model_len: usize,
    permission: [(); 0],
}

impl ModelCard {
    /// A model. `created` is in seconds since 1970.
    #[must_use]
    pub fn new(id: &str, created: u64, max_model_len: usize) -> Self {
        Self {
            id: id.to_owned(),
            object: "model",
            created,
            owned_by: "llm-systems-lab",
            root: id.to_owned(),
            parent: None,
            max_model_len,
            permission: [],
        }
    }
}
