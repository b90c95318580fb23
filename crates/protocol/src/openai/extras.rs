//! What a response may carry besides text, where the request asks for it.

use super::RequestError;
use super::fields::Fields;

/// vLLM's additions that a client turns on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// The ids of prompt and answer, beside the text.
    pub token_ids: bool,
    /// Tokens in log probabilities as `token_id:5` instead of their text.
    pub tokens_as_ids: bool,
    /// The text that the chat template made.
    pub prompt_text: bool,
}

impl Extras {
    pub(super) fn parse(body: &Fields<'_>) -> Result<Self, RequestError> {
        Ok(Self {
            token_ids: body.boolean("return_token_ids", false)?,
            tokens_as_ids: body.boolean("return_tokens_as_token_ids", false)?,
            prompt_text: body.boolean("return_prompt_text", false)?,
        })
    }
}
