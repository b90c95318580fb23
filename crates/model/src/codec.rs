//! A model's tokenizer and chat template behind the seam that the server uses.

use serving::{ChatMessage, TextCodec, TextError, TokenId};
use tokenizers::Tokenizer;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{AddedToken, Model};

use crate::template::ChatTemplate;
use crate::{ModelError, tiny};

/// A tokenizer of the `tokenizers` crate and, where the model has one, its chat template.
#[derive(Debug)]
pub(crate) struct Codec {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    eos: Vec<TokenId>,
    vocab_size: usize,
}

impl Codec {
    pub(crate) fn new(
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        eos: Vec<TokenId>,
        vocab_size: usize,
    ) -> Self {
        Self { tokenizer, template, eos, vocab_size }
    }

    /// The tiny model's: special tokens, then one token a byte.
    pub(crate) fn tiny() -> Result<Self, ModelError> {
        let specials = tiny::SPECIAL_TOKENS.iter().map(|token| (*token).to_owned());
        let bytes = (0..=u8::MAX).map(|byte| byte_char(byte).to_string());
        let vocab: Vocab = specials.chain(bytes).zip(0u32..).collect();
        let model = BPE::builder()
            .vocab_and_merges(vocab, Vec::new())
            .build()
            .map_err(|error| ModelError::Tokenizer(error.to_string()))?;
        let eos = model.token_to_id(tiny::EOS).into_iter().collect();
        let mut tokenizer = byte_level(model);
        let specials = tiny::SPECIAL_TOKENS.map(|token| AddedToken::from(token, true));
        tokenizer
            .add_special_tokens(specials)
            .map_err(|error| ModelError::Tokenizer(error.to_string()))?;
        let template = ChatTemplate::new(tiny::CHAT_TEMPLATE, tiny::SPECIAL_TOKENS[1], tiny::EOS)?;
        Ok(Self::new(tokenizer, Some(template), eos, tiny::config().vocab_size))
    }

    /// Writes the tokenizer as `tokenizer.json`.
    #[cfg(test)]
    pub(crate) fn save(&self, path: &std::path::Path) {
        self.tokenizer.save(path, false).unwrap();
    }
}

/// A tokenizer on bytes, without a regular expression that splits words.
fn byte_level(model: BPE) -> Tokenizer {
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, false, false)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
    tokenizer
}

/// The printable character that stands for a byte in GPT-2's vocabulary: itself where it is printable,
/// else the next free one from U+0100.
pub(crate) fn byte_char(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !printable(other)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

// === impl TextCodec for Codec ===

impl TextCodec for Codec {
    fn encode(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>, TextError> {
        let encoding = self
            .tokenizer
            .encode_fast(text, add_special)
            .map_err(|error| TextError::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn decode(&self, tokens: &[TokenId], skip_special: bool) -> Result<String, TextError> {
        let vocab_size = self.vocab_size;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(TextError::OutOfVocabulary { token, vocab_size });
        }
        self.tokenizer
            .decode(tokens, skip_special)
            .map_err(|error| TextError::Tokenizer(error.to_string()))
    }

    fn apply_chat_template(&self, messages: &[ChatMessage]) -> Result<String, TextError> {
        match &self.template {
            Some(template) => template.render(messages),
            None => Err(TextError::Template("this model has none: use /v1/completions".into())),
        }
    }

    fn eos_tokens(&self) -> &[TokenId] {
        &self.eos
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}
