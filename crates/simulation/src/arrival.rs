//! A request before it is served: when it comes, how long it is, and when its client gives up.

use std::time::Duration;

use serving::TokenId;
use workload::scramble;

/// One request to a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When, since the fleet started.
    pub at: Duration,
    /// What is asked.
    pub prompt: Prompt,
    /// Tokens after which the model ends its answer; at least 1.
    pub output_tokens: usize,
    /// The most that the client lets it generate: the answer is cut there. `None`: as many as it wants.
    pub max_tokens: Option<usize>,
    /// When the client goes away if it has not got its whole answer by then.
    pub abort_at: Option<Duration>,
}

impl Arrival {
    /// A request of these lengths whose prompt shares nothing with any other.
    #[must_use]
    pub fn new(at: Duration, prompt_tokens: usize, output_tokens: usize) -> Self {
        let prompt = Prompt::Unique(prompt_tokens);
        Self { at, prompt, output_tokens, max_tokens: None, abort_at: None }
    }

    /// Tokens that the sequence holds at its end if nobody cuts it short.
    pub(crate) fn max_len(&self) -> usize {
        self.prompt.len() + self.max_new_tokens()
    }

    /// The most it may generate.
    pub(crate) fn max_new_tokens(&self) -> usize {
        self.max_tokens.unwrap_or(self.output_tokens).max(1)
    }
}

/// The tokens of a prompt, or what matters of them: how many, and with whom they are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// So many tokens, none of which can be found in a prefix cache.
    Unique(usize),
    /// The first `prefix_tokens` are those of every prompt with this `prefix`; the rest is its own.
    Shared {
        /// Name of the prefix: a system prompt, a document, a conversation.
        prefix: u64,
        /// Tokens of the prefix.
        prefix_tokens: usize,
        /// Tokens in all, the prefix included.
        tokens: usize,
    },
    /// Stretches, some of which other prompts share: from a workload or a trace.
    Segments(workload::Prompt),
    /// Exactly these.
    Tokens(Vec<TokenId>),
}

/// A request of a workload or of a trace.
impl From<workload::TimedRequest> for Arrival {
    fn from(timed: workload::TimedRequest) -> Self {
        Self {
            at: timed.at,
            prompt: Prompt::Segments(timed.request.prompt),
            output_tokens: timed.request.output_tokens as usize,
            max_tokens: None,
            abort_at: None,
        }
    }
}

impl Prompt {
    /// Tokens in all.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Unique(tokens) | Self::Shared { tokens, .. } => *tokens,
            Self::Segments(prompt) => prompt.tokens(),
            Self::Tokens(tokens) => tokens.len(),
        }
    }

    /// Whether there is nothing to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of the `index`-th request.
    ///
    /// An owner's tokens count upwards from a number of its own, so those of two owners differ at every
    /// position. They are not in any vocabulary.
    pub(crate) fn into_tokens(self, index: u64, room: usize) -> Vec<TokenId> {
        let mut made = Vec::new();
        match self {
            Self::Tokens(tokens) => made = tokens,
            Self::Segments(prompt) => {
                made.reserve_exact(prompt.tokens() + room);
                for segment in prompt.segments {
                    let first = scramble(segment.id, 0) as TokenId;
                    made.extend(count_from(first).take(segment.tokens as usize));
                }
            }
            Self::Unique(tokens) => {
                made.reserve_exact(tokens + room);
                made.extend(run(index << 1).take(tokens));
            }
            Self::Shared { prefix, prefix_tokens, tokens } => {
                made.reserve_exact(tokens + room);
                made.extend(run(prefix << 1 | 1).take(prefix_tokens.min(tokens)));
                made.extend(run(index << 1).take(tokens).skip(made.len()));
            }
        }
        made
    }
}

/// The tokens of one owner. The factor is odd, so no two of 2^32 owners start at the same number.
fn run(owner: u64) -> impl Iterator<Item = TokenId> {
    count_from((owner as TokenId).wrapping_mul(0x9e37_79b1))
}

fn count_from(first: TokenId) -> impl Iterator<Item = TokenId> {
    (0..).map(move |position: TokenId| first.wrapping_add(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_share_exactly_their_prefix() {
        let prompt = |prefix| Prompt::Shared { prefix, prefix_tokens: 5, tokens: 8 };
        let (one, two) = (prompt(3).into_tokens(0, 0), prompt(3).into_tokens(1, 0));
        assert_eq!(one[..5], two[..5]);
        assert!(one[5..].iter().zip(&two[5..]).all(|(a, b)| a != b));
        let other = prompt(4).into_tokens(2, 0);
        let unique = Prompt::Unique(8).into_tokens(3, 0);
        for tokens in [&other, &unique] {
            assert!(one.iter().zip(tokens).all(|(a, b)| a != b));
        }
        assert_eq!((unique.len(), prompt(4).len()), (8, 8));
    }

    #[test]
    fn segments_of_one_id_are_equal() {
        let prompt = |ids: [u64; 2]| {
            let segments = ids.map(|id| workload::Segment { id, tokens: 4 }).to_vec();
            Prompt::Segments(workload::Prompt { segments }).into_tokens(0, 0)
        };
        let (one, two) = (prompt([7, 8]), prompt([7, 9]));
        assert_eq!(one[..4], two[..4]);
        assert!(one[4..].iter().zip(&two[4..]).all(|(a, b)| a != b));
    }
}
