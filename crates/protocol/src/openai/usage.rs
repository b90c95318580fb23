//! Tokens in and out.

use serde::Serialize;

/// A field that is either absent or null.
type NullIf = Option<Option<()>>;

/// Tokens in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
    completion_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: NullIf,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: NullIf,
}

impl Usage {
    /// In a stream's last chunk, and in every chunk of a completion with continuous usage.
    #[must_use]
    pub fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        let total_tokens = prompt_tokens + completion_tokens;
        Self { prompt_tokens, total_tokens, completion_tokens, ..Self::default() }
    }

    /// In a whole response, which has both details.
    #[must_use]
    pub fn whole(prompt_tokens: usize, completion_tokens: usize) -> Self {
        let details = Some(None);
        Self {
            prompt_tokens_details: details,
            completion_tokens_details: details,
            ..Self::new(prompt_tokens, completion_tokens)
        }
    }

    /// In every chunk of a chat with continuous usage.
    #[must_use]
    pub fn of_chat_so_far(prompt_tokens: usize, completion_tokens: usize) -> Self {
        let completion_tokens_details = Some(None);
        Self { completion_tokens_details, ..Self::new(prompt_tokens, completion_tokens) }
    }
}
