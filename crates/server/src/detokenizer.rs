//! Tokens to text one token at a time, without ever showing half a character.
//!
//! A token may end inside a character: byte-level vocabularies split any character outside ASCII. And some
//! tokenizers decode a token differently at the start of a text. So a short tail of tokens is decoded together
//! with a few before it, and only what can no longer change is given out. The prefix and read
//! offsets are those of Hugging Face's text-generation-inference and of vLLM's `detokenizer_utils.py`.

use std::sync::Arc;

use serving::{TextCodec, TextError, TokenId};

/// Tokens of the prompt that give the first generated token its context.
const CONTEXT_TOKENS: usize = 5;

/// A tail is given out as it is when it is this long and still no whole text: no character has as many bytes.
const MAX_HELD_TOKENS: usize = 16;

/// What decoders put for bytes that are no UTF-8, or none yet.
const REPLACEMENT: char = '\u{FFFD}';

/// One sequence's text so far.
pub(crate) struct Detokenizer {
    codec: Arc<dyn TextCodec>,
    skip_special: bool,
    /// The tokens that may still matter, a few at the prompt's end included.
    tokens: Vec<TokenId>,
    /// Tokens before this one were given out, and serve as context only.
    read: usize,
    /// The text of the tokens before `read`.
    known: String,
}

impl Detokenizer {
    /// Starts after `prompt`.
    pub(crate) fn new(
        codec: Arc<dyn TextCodec>,
        skip_special: bool,
        prompt: &[TokenId],
    ) -> Result<Self, TextError> {
        let tokens = prompt[prompt.len().saturating_sub(CONTEXT_TOKENS)..].to_vec();
        let known = codec.decode(&tokens, skip_special)?;
        Ok(Self { codec, skip_special, read: tokens.len(), tokens, known })
    }

    /// Takes a token and gives out the text that became certain.
    pub(crate) fn push(&mut self, token: TokenId) -> Result<String, TextError> {
        self.tokens.push(token);
        let text = self.decode(0)?;
        let held = self.tokens.len() - self.read;
        if !text.ends_with(REPLACEMENT) || held >= MAX_HELD_TOKENS {
            return self.give_out(&text, self.tokens.len());
        }
        // The tail is no whole text. What lies before its last few tokens is certain where cutting there
        // changes nothing.
        for cut in (self.read + 1..self.tokens.len()).rev() {
            let head = self.codec.decode(&self.tokens[..cut], self.skip_special)?;
            let tail = self.decode(cut)?;
            if text.strip_prefix(head.as_str()) == Some(tail.as_str()) {
                return self.give_out(&head, cut);
            }
        }
        Ok(String::new())
    }

    /// Gives out the rest, half characters as U+FFFD.
    pub(crate) fn finish(&mut self) -> Result<String, TextError> {
        let text = self.decode(0)?;
        self.give_out(&text, self.tokens.len())
    }

    fn decode(&self, from: usize) -> Result<String, TextError> {
        self.codec.decode(&self.tokens[from..], self.skip_special)
    }

    /// Gives out `text`, the text of the first `end` tokens, but for what is known; keeps the rest.
    fn give_out(&mut self, text: &str, end: usize) -> Result<String, TextError> {
        let new = text[common_prefix(&self.known, text)..].to_owned();
        // The tokens just given out are the context of the next.
        let context = if self.read < end { self.read } else { 0 };
        self.tokens.drain(..context);
        self.read = end - context;
        self.known = self.codec.decode(&self.tokens[..self.read], self.skip_special)?;
        Ok(new)
    }
}

/// Bytes at the start that both have, in whole characters.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serving::ChatMessage;

    use super::*;

    /// Every token is one byte.
    struct Bytes;

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

    /// The pieces given out for these bytes, after a prompt.
    fn pieces(prompt: &str, bytes: &[u8]) -> Vec<String> {
        let prompt = Bytes.encode(prompt, false).unwrap();
        let mut detokenizer = Detokenizer::new(Arc::new(Bytes), true, &prompt).unwrap();
        let mut pieces: Vec<_> =
            bytes.iter().map(|&byte| detokenizer.push(byte.into()).unwrap()).collect();
        pieces.push(detokenizer.finish().unwrap());
        pieces
    }

    #[test]
    fn a_character_is_given_out_whole() {
        assert_eq!(pieces("ab", "é€".as_bytes()), ["", "é", "", "", "€", ""]);
    }

    #[test]
    fn bytes_that_never_become_a_character_do_not_hold_back_what_follows() {
        assert_eq!(pieces("", b"\xffabc"), ["", "\u{FFFD}a", "b", "c", ""]);
        let many = pieces("", &[0x80; 40]);
        assert_eq!(many.concat(), "\u{FFFD}".repeat(40));
        assert!(many[..40].iter().skip(1).all(|piece| !piece.is_empty()));
    }

    #[test]
    fn half_a_character_at_the_end_is_shown_as_a_replacement() {
        assert_eq!(pieces("x", b"a\xe2\x82"), ["a", "", "", "\u{FFFD}"]);
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_text(prompt in ".{0,8}", bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(pieces(&prompt, &bytes).concat(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn no_piece_of_a_text_holds_a_replacement(text in "\\PC{0,32}") {
            prop_assume!(!text.contains(REPLACEMENT));
            let pieces = pieces("", text.as_bytes());
            prop_assert!(pieces.iter().all(|piece| !piece.contains(REPLACEMENT)));
        }
    }
}
