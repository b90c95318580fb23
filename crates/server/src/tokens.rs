//! Tokens one by one, as log probabilities show them.
//!
//! A token that is half a character has no text of its own. As in vLLM, its text is then empty, and the token that
//! completes the character shows it whole.
//! Source: `LogprobsProcessor._correct_decoded_token` in `vllm/v1/engine/logprobs.py` of 0.32.

use std::sync::Arc;

use protocol::openai::{
    ChatLogprob, ChatLogprobs, ChatTopLogprob, CompletionLogprobs, Named, PromptLogprob,
    PromptLogprobs, printable,
};
use serving::{Logprobs, TextCodec, TokenId, TokenLogprob};

/// Tokens before one that may hold the start of its character: no character has more bytes.
const CONTEXT: usize = 4;

/// What decoders put for bytes that are no UTF-8, or none yet.
const REPLACEMENT: char = '\u{FFFD}';

/// Gives tokens their names.
#[derive(Clone)]
pub(crate) struct TokenNames {
    pub(crate) codec: Arc<dyn TextCodec>,
    /// `token_id:5` instead of text.
    pub(crate) as_ids: bool,
}

/// The tokens that one list has told so far. It outlives a flush: how tokens are named must not depend on which of them
/// reached the client together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    context: Vec<TokenId>,
    /// Characters told.
    offset: usize,
}

impl Told {
    /// The last of them: what a character may have begun with.
    pub(crate) fn context(&self) -> &[TokenId] {
        &self.context
    }

    /// Adds one that was told.
    pub(crate) fn note(&mut self, token: TokenId) {
        if self.context.len() == CONTEXT {
            self.context.remove(0);
        }
        self.context.push(token);
    }
}

/// The token itself, then the likeliest ones that are others.
fn entries(logprobs: &Logprobs) -> impl Iterator<Item = TokenLogprob> + '_ {
    let others = logprobs.top.iter().filter(|top| top.token != logprobs.chosen.token);
    std::iter::once(logprobs.chosen).chain(others.copied())
}

impl TokenNames {
    fn decode(&self, tokens: &[TokenId]) -> String {
        self.codec.decode(tokens, false).unwrap_or_default()
    }

    /// A token's text after those before it.
    pub(crate) fn text(&self, context: &[TokenId], token: TokenId) -> String {
        let alone = self.decode(&[token]);
        if !alone.ends_with(REPLACEMENT) {
            return alone;
        }
        for count in 1..=context.len().min(CONTEXT) {
            let before = &context[context.len() - count..];
            let whole = self.decode(&[before, &[token]].concat());
            if whole.ends_with(REPLACEMENT) {
                continue;
            }
            // What came before and was no whole character was told as nothing: it is told now.
            let told = before
                .iter()
                .rposition(|&token| !self.decode(&[token]).ends_with(REPLACEMENT))
                .map_or(0, |last| last + 1);
            let known = self.decode(&before[..told]);
            let same = known.chars().zip(whole.chars()).take_while(|(a, b)| a == b);
            let same: usize = same.map(|(c, _)| c.len_utf8()).sum();
            return whole[same..].to_owned();
        }
        String::new()
    }

    fn name(&self, context: &[TokenId], token: TokenId) -> String {
        if self.as_ids { format!("token_id:{token}") } else { self.text(context, token) }
    }

    /// Adds tokens to a completion's list. `None` is a prompt's first token; `top` alternatives are named beside
    /// each.
    pub(crate) fn completion<'a>(
        &self,
        told: &mut Told,
        tokens: impl Iterator<Item = (TokenId, Option<&'a Logprobs>)>,
        top: usize,
    ) -> CompletionLogprobs {
        let mut list = CompletionLogprobs::default();
        for (token, logprobs) in tokens {
            let name = self.name(&told.context, token);
            list.text_offset.push(told.offset);
            told.offset += name.chars().count();
            list.token_logprobs.push(logprobs.map(|l| printable(l.chosen.logprob)));
            list.top_logprobs.push(logprobs.map(|logprobs| {
                let named =
                    |e: TokenLogprob| (self.name(&told.context, e.token), printable(e.logprob));
                entries(logprobs).take(top + 1).map(named).collect()
            }));
            list.tokens.push(name);
            told.note(token);
        }
        list
    }

    /// A chat's list. `top` of the likeliest tokens are named; the token itself counts as one of them.
    pub(crate) fn chat(&self, told: &mut Told, tokens: &[Logprobs], top: usize) -> ChatLogprobs {
        let mut content = Vec::with_capacity(tokens.len());
        for logprobs in tokens {
            let named = |entry: TokenLogprob| ChatTopLogprob {
                token: self.name(&told.context, entry.token),
                logprob: printable(entry.logprob),
                bytes: self.text(&told.context, entry.token).into_bytes(),
            };
            let ChatTopLogprob { token, logprob, bytes } = named(logprobs.chosen);
            let top_logprobs = entries(logprobs).take(top).map(named).collect();
            content.push(ChatLogprob { token, logprob, bytes, top_logprobs });
            told.note(logprobs.chosen.token);
        }
        ChatLogprobs { content }
    }

    /// A prompt's list, whose first token has nothing before it.
    pub(crate) fn prompt(&self, first: TokenId, rest: &[Logprobs]) -> PromptLogprobs {
        let mut told = Told::default();
        told.note(first);
        let mut list = vec![None];
        for logprobs in rest {
            let own = (logprobs.chosen, logprobs.rank);
            let top = logprobs.top.iter().copied().zip(1..);
            let named = |(entry, rank): (TokenLogprob, usize)| {
                let decoded_token = self.text(&told.context, entry.token);
                let logprob = printable(entry.logprob);
                (entry.token.to_string(), PromptLogprob { logprob, rank, decoded_token })
            };
            list.push(Some(std::iter::once(own).chain(top).map(named).collect::<Named<_>>()));
            told.note(logprobs.chosen.token);
        }
        list
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serving::{ChatMessage, TextError};

    use super::*;

    /// Every token is one byte.
    pub(crate) struct Bytes;

    impl TextCodec for Bytes {
        fn encode(&self, text: &str, _add_special: bool) -> Result<Vec<TokenId>, TextError> {
            Ok(text.bytes().map(TokenId::from).collect())
        }

        fn decode(&self, tokens: &[TokenId], _skip_special: bool) -> Result<String, TextError> {
            let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }

        fn apply_chat_template(&self, _messages: &[ChatMessage]) -> Result<String, TextError> {
            Ok(String::new())
        }

        fn eos_tokens(&self) -> &[TokenId] {
            &[]
        }

        fn vocab_size(&self) -> usize {
            256
        }
    }

    fn names() -> TokenNames {
        TokenNames { codec: Arc::new(Bytes), as_ids: false }
    }

    fn sure(token: TokenId) -> Logprobs {
        let chosen = TokenLogprob { token, logprob: 0.0 };
        Logprobs { chosen, rank: 1, top: vec![chosen, TokenLogprob { token: 97, logprob: -1.0 }] }
    }

    #[test]
    fn a_character_is_told_by_the_token_that_completes_it() {
        let tokens: Vec<Logprobs> = "x€é".bytes().map(|byte| sure(byte.into())).collect();
        let list = names().completion(
            &mut Told::default(),
            tokens.iter().map(|l| (l.chosen.token, Some(l))),
            1,
        );
        assert_eq!(list.tokens, ["x", "", "", "€", "", "é"]);
        assert_eq!(list.text_offset, [0, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn a_completion_names_one_more_than_a_chat() {
        let tokens = [sure(120)];
        let pairs = || tokens.iter().map(|l| (l.chosen.token, Some(l)));
        let list = names().completion(&mut Told::default(), pairs(), 1);
        assert_eq!(serde_json::to_string(&list.top_logprobs).unwrap(), r#"[{"x":0.0,"a":-1.0}]"#);
        let list = names().completion(&mut Told::default(), pairs(), 0);
        assert_eq!(serde_json::to_string(&list.top_logprobs).unwrap(), r#"[{"x":0.0}]"#);
        let chat = names().chat(&mut Told::default(), &tokens, 1);
        assert_eq!(chat.content[0].top_logprobs.len(), 1);
        assert_eq!(chat.content[0].bytes, [120]);
    }

    #[test]
    fn tokens_may_be_named_by_their_ids() {
        let names = TokenNames { as_ids: true, ..names() };
        let chat = names.chat(&mut Told::default(), &[sure(120)], 0);
        assert_eq!(chat.content[0].token, "token_id:120");
    }

    #[test]
    fn a_prompts_first_token_has_no_probability() {
        let list = names().prompt(97, &[sure(120)]);
        assert_eq!(list.len(), 2);
        assert!(list[0].is_none());
        let text = serde_json::to_string(&list[1]).unwrap();
        assert_eq!(
            text,
            r#"{"120":{"logprob":0.0,"rank":1,"decoded_token":"x"},"97":{"logprob":-1.0,"rank":2,"decoded_token":"a"}}"#
        );
    }
}
