//! Text without a vocabulary: a token is up to three bytes.

use serving::{ChatMessage, TextCodec, TextError, TokenId};

/// Bytes in a token at most. English text has about four characters a token with the vocabularies that people use.
const WIDTH: usize = 3;
/// Tokens of one byte start here: before them is the end of text.
const FIRST: TokenId = 1;
/// Where the tokens of 1, 2 and 3 bytes start, and where they end.
const STARTS: [TokenId; WIDTH + 1] = [
    FIRST,
    FIRST + (1 << 8),
    FIRST + (1 << 8) + (1 << 16),
    FIRST + (1 << 8) + (1 << 16) + (1 << 24),
];

const CONSONANTS: &[u8; 16] = b"bdfghklmnprstvwz";
const VOWELS: &[u8; 5] = b"aeiou";

/// A codec that needs no file.
///
/// A token's id says its bytes: after the end of text (0) come the 2^8 tokens of one byte, the 2^16 of two and the
/// 2^24 of three, each in the order of their bytes as a little-endian number. Text becomes tokens of three bytes and
/// one shorter one at its end, so that every text comes back exactly, and texts with a common start have a common
/// start in tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct SyllableCodec;

impl SyllableCodec {
    /// Ends a text.
    pub const END_OF_TEXT: TokenId = 0;

    /// A syllable like `ka ` or `mon`, chosen by 64 random bits: what answers are made of.
    #[must_use]
    pub fn syllable(random: u64) -> TokenId {
        let pick = |from: &[u8], bits: u64| from[(bits % from.len() as u64) as usize];
        let last = if random & 1 == 0 { b' ' } else { pick(CONSONANTS, random >> 1) };
        token(&[pick(CONSONANTS, random >> 8), pick(VOWELS, random >> 16), last])
    }
}

/// The token of 1 to 3 bytes.
fn token(bytes: &[u8]) -> TokenId {
    let number = bytes.iter().rev().fold(0, |number, &byte| number << 8 | TokenId::from(byte));
    STARTS[bytes.len() - 1] + number
}

/// The bytes of a token that is neither special nor outside the vocabulary.
fn bytes(token: TokenId) -> impl Iterator<Item = u8> {
    let width = STARTS.partition_point(|start| *start <= token);
    let number = token - STARTS[width - 1];
    (0..width).map(move |index| (number >> (8 * index)) as u8)
}

// === impl TextCodec for SyllableCodec ===

impl TextCodec for SyllableCodec {
    fn encode(&self, text: &str, _add_special: bool) -> Result<Vec<TokenId>, TextError> {
        Ok(text.as_bytes().chunks(WIDTH).map(token).collect())
    }

    fn decode(&self, tokens: &[TokenId], _skip_special: bool) -> Result<String, TextError> {
        let vocab_size = self.vocab_size();
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(TextError::OutOfVocabulary { token, vocab_size });
        }
        let text = tokens.iter().filter(|&&token| token != Self::END_OF_TEXT);
        let text: Vec<u8> = text.flat_map(|&token| bytes(token)).collect();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn apply_chat_template(&self, messages: &[ChatMessage]) -> Result<String, TextError> {
        let turns = messages.iter().map(|turn| format!("{}: {}\n", turn.role, turn.content));
        Ok(turns.chain(["assistant: ".to_owned()]).collect())
    }

    fn eos_tokens(&self) -> &[TokenId] {
        &[Self::END_OF_TEXT]
    }

    fn vocab_size(&self) -> usize {
        STARTS[WIDTH] as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back(text in "\\PC*") {
            let tokens = SyllableCodec.encode(&text, true).unwrap();
            prop_assert_eq!(tokens.len(), text.len().div_ceil(3));
            prop_assert_eq!(SyllableCodec.decode(&tokens, true).unwrap(), text);
        }

        #[test]
        fn a_common_start_is_a_common_start_in_tokens(start in "[a-z ]{9}", a in ".*", b in ".*") {
            let tokens = |end: &str| SyllableCodec.encode(&format!("{start}{end}"), true).unwrap();
            prop_assert_eq!(&tokens(&a)[..3], &tokens(&b)[..3]);
        }

        #[test]
        fn an_answer_is_words(random in any::<u64>()) {
            let text = SyllableCodec.decode(&[SyllableCodec::syllable(random)], true).unwrap();
            prop_assert!(text.len() == 3 && text.chars().all(|c| c == ' ' || c.is_ascii_lowercase()));
        }
    }

    #[test]
    fn the_end_of_text_is_no_text_and_nothing_lies_beyond_the_vocabulary() {
        let ok = SyllableCodec.encode("ok", true).unwrap()[0];
        assert_eq!(SyllableCodec.decode(&[ok, SyllableCodec::END_OF_TEXT], false).unwrap(), "ok");
        let last = SyllableCodec.vocab_size() as TokenId - 1;
        assert!(SyllableCodec.decode(&[last], true).is_ok());
        assert!(SyllableCodec.decode(&[last + 1], true).is_err());
    }
}
