//! From text to tokens and back, as the server needs it.

use crate::TokenId;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, or what the model's template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// Text that cannot be turned into tokens, or tokens into text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The tokenizer refused.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template refused these messages.
    #[error("chat template: {0}")]
    Template(String),
    /// A token outside the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocab_size}")]
    OutOfVocabulary {
        /// The token given.
        token: TokenId,
        /// Tokens that the model knows.
        vocab_size: usize,
    },
}

/// A model's tokenizer and chat template.
pub trait TextCodec: Send + Sync {
    /// Text to tokens. `add_special` adds what the model expects around a plain prompt, where it does.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    fn encode(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>, TextError>;

    /// Tokens to text. Bytes that are no UTF-8 yet become U+FFFD. `skip_special` leaves out special tokens.
    ///
    /// # Errors
    /// [`TextError::OutOfVocabulary`].
    fn decode(&self, tokens: &[TokenId], skip_special: bool) -> Result<String, TextError>;

    /// Messages to the prompt that the model was trained on, ready for its answer.
    ///
    /// # Errors
    /// [`TextError::Template`].
    fn apply_chat_template(&self, messages: &[ChatMessage]) -> Result<String, TextError>;

    /// Tokens that end a text.
    fn eos_tokens(&self) -> &[TokenId];

    /// Tokens that the model knows.
    fn vocab_size(&self) -> usize;
}
