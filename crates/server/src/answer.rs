//! One sequence while the engine works on it: its text, and when it is done.

use std::sync::Arc;
use std::time::Duration;

use protocol::openai::StopReason;
use serving::{FinishReason, Logprobs, TextCodec, TextError, TokenId};

use crate::admission::Ticket;
use crate::channel::{ChoiceSender, End, NewToken};
use crate::detokenizer::Detokenizer;
use crate::stop::{StopSearch, StopStrings};

/// What ends an answer. Shared by all choices of a request.
#[derive(Debug)]
pub(crate) struct StopRules {
    pub(crate) strings: Arc<StopStrings>,
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) ignore_eos: bool,
    pub(crate) min_tokens: usize,
    pub(crate) skip_special_tokens: bool,
    /// Whether the stop token that ended the answer is part of its text.
    pub(crate) include_stop: bool,
    /// Whether the client wants to know which tokens these are.
    pub(crate) token_ids: bool,
}

/// An answer in the making.
pub(crate) struct Answer {
    pub(crate) sender: ChoiceSender,
    codec: Arc<dyn TextCodec>,
    detokenizer: Detokenizer,
    search: StopSearch,
    rules: Arc<StopRules>,
    max_tokens: usize,
    generated: usize,
    /// Given back when the answer gets its first place.
    ticket: Option<Arc<Ticket>>,
}

impl Answer {
    pub(crate) fn new(
        sender: ChoiceSender,
        codec: Arc<dyn TextCodec>,
        rules: Arc<StopRules>,
        prompt: &[TokenId],
        max_tokens: usize,
        ticket: Arc<Ticket>,
    ) -> Result<Self, TextError> {
        let detokenizer = Detokenizer::new(Arc::clone(&codec), rules.skip_special_tokens, prompt)?;
        let search = StopSearch::new(Arc::clone(&rules.strings));
        let (generated, ticket) = (0, Some(ticket));
        Ok(Self { sender, codec, detokenizer, search, rules, max_tokens, generated, ticket })
    }

    /// It got a place: it waits no more.
    pub(crate) fn scheduled(&mut self, at: Duration, cached_tokens: usize) {
        self.ticket = None;
        self.sender.scheduled(at, cached_tokens);
    }

    /// Takes the next token and tells the client. Returns whether the answer is done.
    pub(crate) fn token(
        &mut self,
        at: Duration,
        token: TokenId,
        logprobs: Option<Logprobs>,
    ) -> bool {
        self.generated += 1;
        let (text, end) = self.advance(token).unwrap_or_else(|error| {
            tracing::error!(%error, "a sampled token has no text");
            (String::new(), Some(End::Failed))
        });
        let done = end.is_some();
        let id = self.rules.token_ids.then_some(token);
        self.sender.token(at, NewToken { text, id, logprobs, end });
        done
    }

    /// New text for the client, and the end where this token is the last.
    fn advance(&mut self, token: TokenId) -> Result<(String, Option<End>), TextError> {
        if self.generated >= self.rules.min_tokens
            && let Some(stop) = self.stop_token(token)
        {
            let last =
                if self.rules.include_stop { self.detokenizer.push(token)? } else { String::new() };
            let text = self.rest(&last)?;
            return Ok((text, Some(End::Finished { reason: FinishReason::Stop, stop })));
        }
        let text = self.detokenizer.push(token)?;
        // As vLLM does: the text of the first `min_tokens` tokens is not searched.
        if self.rules.min_tokens > 0 && self.generated <= self.rules.min_tokens {
            return self.unless_full(text);
        }
        let checked = self.search.push(&text);
        match checked.stop {
            Some(stop) => {
                let stop = Some(StopReason::Text(stop));
                Ok((checked.text, Some(End::Finished { reason: FinishReason::Stop, stop })))
            }
            None => self.unless_full(checked.text),
        }
    }

    fn unless_full(&mut self, text: String) -> Result<(String, Option<End>), TextError> {
        if self.generated < self.max_tokens {
            return Ok((text, None));
        }
        let text = self.rest(&text)?;
        Ok((text, Some(End::Finished { reason: FinishReason::Length, stop: None })))
    }

    /// `text` and all that was held back after it.
    fn rest(&mut self, text: &str) -> Result<String, TextError> {
        let tail = self.detokenizer.finish()?;
        let checked = self.search.push(&tail);
        Ok(format!("{text}{}{}", checked.text, self.search.finish()))
    }

    /// The reason where `token` ends the answer: none for the model's own end of text.
    fn stop_token(&self, token: TokenId) -> Option<Option<StopReason>> {
        if !self.rules.ignore_eos && self.codec.eos_tokens().contains(&token) {
            Some(None)
        } else if self.rules.tokens.contains(&token) {
            Some(Some(StopReason::Token(token)))
        } else {
            None
        }
    }
}
