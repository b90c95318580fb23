//! From flushes to bodies: whole responses, and the frames of a stream. Pure.

use protocol::openai::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatResponse, CompletionChoice, CompletionChunk,
    CompletionChunkChoice, CompletionLogprobs, CompletionResponse, Extras, Finish, StreamOptions,
    Usage,
};
use protocol::sse;
use serving::TokenId;

use crate::channel::{End, Flush};
use crate::error::ApiError;
use crate::tokens::{TokenNames, Told};

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

/// What a prompt looks like from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct PromptText {
    pub(crate) tokens: Vec<TokenId>,
    /// Empty unless `tell` asks for it.
    pub(crate) text: String,
}

/// What a request wants to be told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tell {
    pub(crate) extras: Extras,
    /// Each completion starts with its prompt.
    pub(crate) echo: bool,
    /// And is nothing more.
    pub(crate) echo_only: bool,
    /// What each answer of a chat starts with.
    pub(crate) said_before: String,
    /// Alternatives named beside each sampled token.
    pub(crate) logprobs: Option<usize>,
    pub(crate) prompt_logprobs: bool,
}

/// What all bodies of one request have in common.
pub(crate) struct Head {
    pub(crate) api: Api,
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) prompts: Vec<PromptText>,
    /// Choices for each prompt.
    pub(crate) n: usize,
    pub(crate) tell: Tell,
    pub(crate) names: TokenNames,
}

/// The wire's words for how a choice ended.
fn finish(end: Option<&End>) -> Result<Option<Finish>, ApiError> {
    match end {
        None => Ok(None),
        Some(End::Finished { reason, stop }) => Ok(Some((reason.as_str(), stop.clone()))),
        Some(End::Failed) => Err(ApiError::EngineFailed),
    }
}

/// What one choice has told so far.
#[derive(Debug, Clone, Default)]
struct Progress {
    generated: usize,
    told: Told,
    begun: bool,
}

impl Head {
    fn prompt(&self, index: usize) -> &PromptText {
        &self.prompts[index / self.n]
    }

    fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.tokens.len()).sum()
    }

    /// The body of a response that is no stream. `flushes` holds each choice, whole.
    pub(crate) fn whole(&self, flushes: Vec<(usize, Flush)>) -> Result<String, ApiError> {
        let generated = flushes.iter().map(|(_, flush)| flush.generated).sum();
        let usage = Usage::whole(self.prompt_tokens(), generated);
        let (id, model) = (self.id.clone(), self.model.clone());
        let fingerprint = FINGERPRINT.to_owned();
        let body = match self.api {
            Api::Completion => {
                let choice = |(index, flush): (usize, Flush)| self.completion_choice(index, &flush);
                let choices = flushes.into_iter().map(choice).collect::<Result<_, _>>()?;
                let response =
                    CompletionResponse::new(id, self.created, model, fingerprint, choices, usage);
                serde_json::to_string(&response)
            }
            Api::Chat => {
                let prompt = self.prompt(0);
                let prompt_logprobs = flushes.first().and_then(|(_, flush)| {
                    self.tell.prompt_logprobs.then(|| self.prompt_logprobs(prompt, flush))
                });
                let choice = |(index, flush): (usize, Flush)| self.chat_choice(index, flush);
                let choices = flushes.into_iter().map(choice).collect::<Result<_, _>>()?;
                let mut response =
                    ChatResponse::new(id, self.created, model, fingerprint, choices, usage);
                response.prompt_logprobs = prompt_logprobs;
                let extras = self.tell.extras;
                response.prompt_token_ids = extras.token_ids.then(|| prompt.tokens.clone());
                response.prompt_text = extras.prompt_text.then(|| prompt.text.clone());
                serde_json::to_string(&response)
            }
        };
        body.map_err(|_| ApiError::Internal)
    }

    fn completion_choice(&self, index: usize, flush: &Flush) -> Result<CompletionChoice, ApiError> {
        let finish = finish(flush.end.as_ref())?.ok_or(ApiError::Internal)?;
        let prompt = self.prompt(index);
        let (text, logprobs) = self.completion_text(prompt, &mut Progress::default(), flush);
        let mut choice = CompletionChoice::new(index, text, finish);
        choice.logprobs = logprobs;
        choice.prompt_logprobs =
            self.tell.prompt_logprobs.then(|| self.prompt_logprobs(prompt, flush));
        if self.tell.extras.token_ids {
            choice.prompt_token_ids = Some(prompt.tokens.clone());
            choice.token_ids = Some(flush.ids.clone());
        }
        Ok(choice)
    }

    fn chat_choice(&self, index: usize, flush: Flush) -> Result<ChatChoice, ApiError> {
        let finish = finish(flush.end.as_ref())?.ok_or(ApiError::Internal)?;
        let text = format!("{}{}", self.tell.said_before, flush.text);
        let mut choice = ChatChoice::new(index, text, finish);
        let top = self.tell.logprobs;
        choice.logprobs =
            top.map(|top| self.names.chat(&mut Told::default(), &flush.logprobs, top));
        choice.token_ids = self.tell.extras.token_ids.then_some(flush.ids);
        Ok(choice)
    }

    fn prompt_logprobs(
        &self,
        prompt: &PromptText,
        flush: &Flush,
    ) -> protocol::openai::PromptLogprobs {
        self.names.prompt(prompt.tokens.first().copied().unwrap_or(0), &flush.prompt_logprobs)
    }

    /// A completion's new text, the echo in front of the first, and how likely its tokens were.
    fn completion_text(
        &self,
        prompt: &PromptText,
        progress: &mut Progress,
        flush: &Flush,
    ) -> (String, Option<CompletionLogprobs>) {
        let tell = &self.tell;
        let echo = tell.echo && !std::mem::replace(&mut progress.begun, true);
        let mut text = String::new();
        if echo && !tell.extras.token_ids {
            text.push_str(&prompt.text);
        }
        if !tell.echo_only {
            text.push_str(&flush.text);
        }
        let logprobs = tell.logprobs.map(|top| {
            let scores = std::iter::once(None).chain(flush.prompt_logprobs.iter().map(Some));
            let echoed = prompt.tokens.iter().copied().zip(scores).filter(|_| echo);
            let new = flush.logprobs.iter().map(|l| (l.chosen.token, Some(l)));
            let tokens = echoed.chain(new.filter(|_| !tell.echo_only));
            self.names.completion(&mut progress.told, tokens, top)
        });
        (text, logprobs)
    }
}

/// The frames of one stream, in order.
pub(crate) struct Framer {
    head: Head,
    options: StreamOptions,
    /// Whether every choice of a chat was introduced.
    introduced: bool,
    choices: Vec<Progress>,
}

impl Framer {
    pub(crate) fn new(head: Head, options: StreamOptions) -> Self {
        let choices = vec![Progress::default(); head.prompts.len() * head.n];
        Self { introduced: head.api == Api::Completion, head, options, choices }
    }

    /// The frames for what is new. After an error, the stream ends with [`error`](Self::error).
    pub(crate) fn frames(&mut self, new: Vec<(usize, Flush)>) -> Result<String, ApiError> {
        let mut frames = String::new();
        if !self.introduced {
            self.introduced = true;
            self.introduce(&mut frames)?;
        }
        for (index, flush) in new {
            self.choices[index].generated = flush.generated;
            let finish = finish(flush.end.as_ref())?;
            match self.head.api {
                Api::Completion => self.completion_piece(&mut frames, index, &flush, finish)?,
                Api::Chat => self.chat_piece(&mut frames, index, flush, finish)?,
            }
        }
        Ok(frames)
    }

    /// The frames after the last choice ended.
    pub(crate) fn end(&self) -> Result<String, ApiError> {
        let mut frames = String::new();
        if self.options.include_usage {
            let generated = self.choices.iter().map(|choice| choice.generated).sum();
            let usage = Some(Usage::new(self.head.prompt_tokens(), generated));
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

    /// A chat's first chunk for each choice, and what its answer starts with.
    fn introduce(&self, frames: &mut String) -> Result<(), ApiError> {
        let (extras, prompt) = (self.head.tell.extras, self.head.prompt(0));
        for index in 0..self.choices.len() {
            let choices = vec![ChatChunkChoice::role(index)];
            let mut chunk = self.chat_chunk(choices, self.usage_so_far(index), None);
            chunk.prompt_token_ids = Some(extras.token_ids.then(|| prompt.tokens.clone()));
            chunk.prompt_text = Some(extras.prompt_text.then(|| prompt.text.clone()));
            push(frames, &chunk)?;
        }
        let said_before = &self.head.tell.said_before;
        if !said_before.is_empty() {
            for index in 0..self.choices.len() {
                let choices = vec![ChatChunkChoice::echo(index, said_before.clone())];
                push(frames, &self.chat_chunk(choices, self.usage_so_far(index), None))?;
            }
        }
        Ok(())
    }

    fn completion_piece(
        &mut self,
        frames: &mut String,
        index: usize,
        flush: &Flush,
        finish: Option<Finish>,
    ) -> Result<(), ApiError> {
        let fingerprint = self.fingerprint(finish.as_ref());
        let first = !self.choices[index].begun;
        let (text, logprobs) =
            self.head.completion_text(self.head.prompt(index), &mut self.choices[index], flush);
        self.choices[index].begun = true;
        let mut choice = CompletionChunkChoice::new(index, text, finish);
        choice.logprobs = logprobs;
        let token_ids = self.head.tell.extras.token_ids;
        // An echo tells the ids of what it repeats, asked or not.
        if first && (token_ids || self.head.tell.echo) {
            choice.prompt_token_ids = Some(self.head.prompt(index).tokens.clone());
        }
        choice.token_ids = token_ids.then(|| flush.ids.clone());
        push(frames, &self.completion_chunk(vec![choice], self.usage_so_far(index), fingerprint))
    }

    fn chat_piece(
        &mut self,
        frames: &mut String,
        index: usize,
        flush: Flush,
        finish: Option<Finish>,
    ) -> Result<(), ApiError> {
        let fingerprint = self.fingerprint(finish.as_ref());
        let mut choice = ChatChunkChoice::new(index, flush.text, finish);
        if let Some(top) = self.head.tell.logprobs {
            let told = &mut self.choices[index].told;
            choice.logprobs = Some(self.head.names.chat(told, &flush.logprobs, top));
        }
        if self.head.tell.extras.token_ids {
            choice.token_ids = Some(Some(flush.ids));
        }
        push(frames, &self.chat_chunk(vec![choice], self.usage_so_far(index), fingerprint))
    }

    /// vLLM puts the fingerprint into the last chunk that has something to say.
    fn fingerprint(&self, finish: Option<&Finish>) -> Option<&'static str> {
        (finish.is_some() && !self.options.include_usage).then_some(FINGERPRINT)
    }

    fn usage_so_far(&self, index: usize) -> Option<Usage> {
        let usage = match self.head.api {
            Api::Completion => Usage::new,
            Api::Chat => Usage::of_chat_so_far,
        };
        let prompt = self.head.prompt(index).tokens.len();
        self.options.continuous_usage_stats.then(|| usage(prompt, self.choices[index].generated))
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
