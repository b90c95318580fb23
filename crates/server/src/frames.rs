//! From flushes to bodies: whole responses, and the frames of a stream. Pure.

use protocol::openai::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatResponse, CompletionChoice, CompletionChunk,
    CompletionChunkChoice, CompletionResponse, StopReason, StreamOptions, Usage,
};
use protocol::sse;

use crate::channel::{End, Flush};
use crate::error::ApiError;

/// Which API a response is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Completion,
    Chat,
}

impl Api {
    /// What its ids start with.
    pub(crate) fn id_prefix(self) -> &'static str {
        match self {
            Self::Completion => "cmpl-",
            Self::Chat => "chatcmpl-",
        }
    }
}

/// `system_fingerprint` of every response.
pub(crate) const FINGERPRINT: &str = concat!("llm-systems-lab-", env!("CARGO_PKG_VERSION"));

/// What all bodies of one request have in common.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) api: Api,
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    /// Tokens of each prompt.
    pub(crate) prompt_tokens: Vec<usize>,
    /// Choices for each prompt.
    pub(crate) n: usize,
}

type Finish = (&'static str, Option<StopReason>);

/// The wire's words for how a choice ended.
fn finish(end: Option<End>) -> Result<Option<Finish>, ApiError> {
    match end {
        None => Ok(None),
        Some(End::Finished { reason, stop }) => Ok(Some((reason.as_str(), stop))),
        Some(End::Failed) => Err(ApiError::EngineFailed),
    }
}

impl Head {
    /// The body of a response that is no stream. `flushes` holds each choice, whole.
    pub(crate) fn whole(&self, flushes: Vec<(usize, Flush)>) -> Result<String, ApiError> {
        let generated = flushes.iter().map(|(_, flush)| flush.generated).sum();
        let usage = Usage::whole(self.prompt_tokens.iter().sum(), generated);
        let mut finished = Vec::with_capacity(flushes.len());
        for (index, flush) in flushes {
            let (reason, stop) = finish(flush.end)?.ok_or(ApiError::Internal)?;
            finished.push((index, flush.text, reason, stop));
        }
        let (id, model) = (self.id.clone(), self.model.clone());
        let fingerprint = FINGERPRINT.to_owned();
        let body = match self.api {
            Api::Completion => {
                let choice = |(i, text, reason, stop)| CompletionChoice::new(i, text, reason, stop);
                let choices = finished.into_iter().map(choice).collect();
                let response =
                    CompletionResponse::new(id, self.created, model, fingerprint, choices, usage);
                serde_json::to_string(&response)
            }
            Api::Chat => {
                let choice = |(i, text, reason, stop)| ChatChoice::new(i, text, reason, stop);
                let choices = finished.into_iter().map(choice).collect();
                let response =
                    ChatResponse::new(id, self.created, model, fingerprint, choices, usage);
                serde_json::to_string(&response)
            }
        };
        body.map_err(|_| ApiError::Internal)
    }
}

/// The frames of one stream, in order.
pub(crate) struct Framer {
    head: Head,
    options: StreamOptions,
    /// Whether every choice of a chat was introduced.
    introduced: bool,
    /// Tokens generated so far, by choice.
    generated: Vec<usize>,
}

impl Framer {
    pub(crate) fn new(head: Head, options: StreamOptions) -> Self {
        let generated = vec![0; head.prompt_tokens.len() * head.n];
        Self { introduced: head.api == Api::Completion, head, options, generated }
    }

    /// The frames for what is new. After an error, the stream ends with [`error`](Self::error).
    pub(crate) fn frames(&mut self, new: Vec<(usize, Flush)>) -> Result<String, ApiError> {
        let mut frames = String::new();
        if !self.introduced {
            self.introduced = true;
            for index in 0..self.generated.len() {
                self.introduce(&mut frames, index)?;
            }
        }
        for (index, flush) in new {
            self.generated[index] = flush.generated;
            self.piece(&mut frames, index, flush.text, finish(flush.end)?)?;
        }
        Ok(frames)
    }

    /// The frames after the last choice ended.
    pub(crate) fn end(&self) -> Result<String, ApiError> {
        let mut frames = String::new();
        if self.options.include_usage {
            let prompt = self.head.prompt_tokens.iter().sum();
            let usage = Some(Usage::new(prompt, self.generated.iter().sum()));
            let fingerprint = Some(FINGERPRINT);
            match self.head.api {
                Api::Completion => {
                    push(&mut frames, &self.completion_chunk(Vec::new(), usage, fingerprint))?;
                }
                Api::Chat => push(&mut frames, &self.chat_chunk(Vec::new(), usage, fingerprint))?,
            }
        }
        frames.push_str(sse::DONE);
        Ok(frames)
    }

    /// The frames that end a stream whose status was sent long ago.
    pub(crate) fn error(error: &ApiError) -> String {
        let mut frames = String::new();
        // An error body always has a JSON form; without one, the stream would just end.
        let _ = sse::push_frame(&mut frames, &error.body());
        frames + sse::DONE
    }

    /// A chat's first chunk for a choice.
    fn introduce(&self, frames: &mut String, index: usize) -> Result<(), ApiError> {
        let choices = vec![ChatChunkChoice::role(index)];
        let mut chunk = self.chat_chunk(choices, self.usage_so_far(index), None);
        (chunk.prompt_token_ids, chunk.prompt_text) = (Some(None), Some(None));
        push(frames, &chunk)
    }

    /// New text of a choice.
    fn piece(
        &self,
        frames: &mut String,
        index: usize,
        text: String,
        finish: Option<Finish>,
    ) -> Result<(), ApiError> {
        // vLLM puts the fingerprint into the last chunk that has something to say.
        let fingerprint = (finish.is_some() && !self.options.include_usage).then_some(FINGERPRINT);
        let usage = self.usage_so_far(index);
        match self.head.api {
            Api::Completion => {
                let choices = vec![CompletionChunkChoice::new(index, text, finish)];
                push(frames, &self.completion_chunk(choices, usage, fingerprint))
            }
            Api::Chat => {
                let choices = vec![ChatChunkChoice::new(index, text, finish)];
                push(frames, &self.chat_chunk(choices, usage, fingerprint))
            }
        }
    }

    fn usage_so_far(&self, index: usize) -> Option<Usage> {
        self.options.continuous_usage_stats.then(|| {
            Usage::so_far(self.head.prompt_tokens[index / self.head.n], self.generated[index])
        })
    }

    fn completion_chunk(
        &self,
        choices: Vec<CompletionChunkChoice>,
        usage: Option<Usage>,
        system_fingerprint: Option<&'static str>,
    ) -> CompletionChunk<'_> {
        CompletionChunk {
            id: &self.head.id,
            object: "text_completion",
            created: self.head.created,
            model: &self.head.model,
            choices,
            usage,
            system_fingerprint,
        }
    }

    fn chat_chunk(
        &self,
        choices: Vec<ChatChunkChoice>,
        usage: Option<Usage>,
        system_fingerprint: Option<&'static str>,
    ) -> ChatChunk<'_> {
        ChatChunk {
            id: &self.head.id,
            object: "chat.completion.chunk",
            created: self.head.created,
            model: &self.head.model,
            choices,
            usage,
            system_fingerprint,
            prompt_token_ids: None,
            prompt_text: None,
        }
    }
}

fn push(frames: &mut String, chunk: &impl serde::Serialize) -> Result<(), ApiError> {
    sse::push_frame(frames, chunk).map_err(|_| ApiError::Internal)
}
