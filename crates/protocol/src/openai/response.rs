//! What comes back: the field order and the nulls of vLLM 0.32, so that clients see no difference.

use serde::{Deserialize, Serialize};

use super::{ChatLogprobs, CompletionLogprobs, PromptLogprobs, Usage};

/// A field of vLLM's that this server never fills.
type Null = Option<()>;

/// What ended an answer besides an end-of-text token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StopReason {
    /// A stop string.
    Text(String),
    /// A stop token.
    Token(u32),
}

/// How an answer ended: the API's word, and what ended it.
pub type Finish = (&'static str, Option<StopReason>);

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
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct CompletionChoice {
    pub index: usize,
    pub text: String,
    pub logprobs: Option<CompletionLogprobs>,
    pub finish_reason: Option<&'static str>,
    pub stop_reason: Option<StopReason>,
    pub token_ids: Option<Vec<u32>>,
    pub prompt_logprobs: Option<PromptLogprobs>,
    pub prompt_token_ids: Option<Vec<u32>>,
    routed_experts: Null,
}

impl CompletionChoice {
    /// A finished answer, its text alone.
    #[must_use]
    pub fn new(index: usize, text: String, (finish_reason, stop_reason): Finish) -> Self {
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
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct CompletionChunkChoice {
    pub index: usize,
    pub text: String,
    pub logprobs: Option<CompletionLogprobs>,
    pub finish_reason: Option<&'static str>,
    pub stop_reason: Option<StopReason>,
    pub prompt_token_ids: Option<Vec<u32>>,
    pub token_ids: Option<Vec<u32>>,
}

impl CompletionChunkChoice {
    /// More text, and perhaps the end.
    #[must_use]
    pub fn new(index: usize, text: String, finish: Option<Finish>) -> Self {
        let (finish_reason, stop_reason) = finish.map_or((None, None), |(f, s)| (Some(f), s));
        Self { index, text, finish_reason, stop_reason, ..Self::default() }
    }
}

/// A whole `chat.completion`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct ChatResponse {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: Vec<ChatChoice>,
    service_tier: Null,
    system_fingerprint: String,
    usage: Usage,
    pub prompt_logprobs: Option<PromptLogprobs>,
    pub prompt_token_ids: Option<Vec<u32>>,
    pub prompt_text: Option<String>,
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
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct ChatChoice {
    index: usize,
    message: AssistantMessage,
    pub logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
    stop_reason: Option<StopReason>,
    pub token_ids: Option<Vec<u32>>,
    routed_experts: Null,
}

impl ChatChoice {
    /// A finished answer, its text alone.
    #[must_use]
    pub fn new(index: usize, content: String, (finish_reason, stop_reason): Finish) -> Self {
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
    /// Absent, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Option<Vec<u32>>>,
    /// Absent, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<Option<String>>,
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
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct ChatChunkChoice {
    index: usize,
    delta: Delta,
    pub logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<Option<StopReason>>,
    /// Absent, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Option<Vec<u32>>>,
}

impl ChatChunkChoice {
    /// The first chunk of an answer: who speaks.
    #[must_use]
    pub fn role(index: usize) -> Self {
        let delta = Delta { role: Some("assistant"), content: String::new() };
        Self { token_ids: None, ..Self::with(index, delta, None) }
    }

    /// A chunk that repeats what the answer starts with.
    #[must_use]
    pub fn echo(index: usize, content: String) -> Self {
        Self { token_ids: None, ..Self::new(index, content, None) }
    }

    /// More text, and perhaps the end.
    #[must_use]
    pub fn new(index: usize, content: String, finish: Option<Finish>) -> Self {
        Self::with(index, Delta { role: None, content }, finish)
    }

    fn with(index: usize, delta: Delta, finish: Option<Finish>) -> Self {
        let (finish_reason, stop_reason) = finish.map_or((None, None), |(f, s)| (Some(f), Some(s)));
        Self { index, delta, logprobs: None, finish_reason, stop_reason, token_ids: Some(None) }
    }
}
