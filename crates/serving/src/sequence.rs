//! A sequence as a scheduler sees it: its tokens so far and how many of them the KV cache holds.

use crate::{SequenceId, TokenId};

/// A prompt and what was generated after it.
///
/// `computed` counts the leading tokens whose keys and values are in the cache. In steady decode it is
/// `tokens.len() - 1`: the newest token was sampled but has not been fed to the model yet.
#[derive(Debug, Clone, PartialEq, Eq)]
// ANCHOR: book_sequence
pub struct Sequence {
    /// Who this is.
    pub id: SequenceId,
    /// Prompt tokens, then generated tokens.
    pub tokens: Vec<TokenId>,
    /// How many of `tokens` came with the request.
    pub prompt_len: usize,
    /// The most tokens this sequence may generate.
    pub max_new_tokens: usize,
    /// How many leading tokens have their keys and values in the cache.
    pub computed: usize,
    /// How often this sequence was preempted.
    pub preemptions: u32,
}
// ANCHOR_END: book_sequence

impl Sequence {
    /// A sequence that has not been scheduled yet. `prompt` is not empty.
    #[must_use]
    pub fn new(id: SequenceId, prompt: Vec<TokenId>, max_new_tokens: usize) -> Self {
        let prompt_len = prompt.len();
        Self { id, tokens: prompt, prompt_len, max_new_tokens, computed: 0, preemptions: 0 }
    }

    /// Tokens that must still be fed to the model before the next one can be sampled.
    ///
    /// The whole prompt at first; one in steady decode; prompt and generated tokens again after a
    /// preemption that recomputes.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// The most tokens this sequence can ever hold: prompt and all it may generate.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.prompt_len + self.max_new_tokens
    }

    /// How many tokens were generated so far.
    #[inline]
    #[must_use]
    pub fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Takes the outcome of a step: the cache holds its first `computed` tokens now. A token that was sampled is
    /// appended; the cache does not hold it, the next step feeds it.
    #[inline]
    pub fn commit(&mut self, computed: usize, sampled: Option<TokenId>) {
        self.computed = computed;
        self.tokens.extend(sampled);
    }
}
