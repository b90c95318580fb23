//! What a step says about how likely tokens were, for sequences that asked.
//!
//! Log probabilities are natural logarithms of the softmax over the model's own logits, before temperature,
//! penalties and masks: vLLM's default `raw_logprobs`.

use crate::{SequenceId, TokenId};

/// A token and how likely it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprob {
    /// Which token.
    pub token: TokenId,
    /// The natural logarithm of its probability; at most 0.
    pub logprob: f32,
}

/// One position of a sequence: the token that is there, and those that the model found likeliest.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The token that was sampled, or that the prompt has.
    pub chosen: TokenLogprob,
    /// How many tokens were at least as likely, itself included: 1 for the likeliest.
    pub rank: usize,
    /// As many of the likeliest as were asked for, likeliest first. May or may not hold `chosen`.
    pub top: Vec<TokenLogprob>,
}

impl Logprobs {
    /// The entry for `chosen` where `logits`, one a token of the vocabulary, say how likely each is.
    ///
    /// Of equally likely tokens the one with the smaller id comes first.
    ///
    /// # Panics
    /// Where `chosen` is no index of `logits`.
    #[must_use]
    pub fn of(logits: &[f32], chosen: TokenId, top: usize) -> Self {
        // What is no number is never likely.
        let logit = |token: TokenId| {
            Some(logits[token as usize]).filter(|l| !l.is_nan()).unwrap_or(f32::NEG_INFINITY)
        };
        let all = 0..logits.len() as TokenId;
        let max = all.clone().map(logit).fold(f32::NEG_INFINITY, f32::max);
        // In double precision: a sum of tens of thousands of small terms.
        let sum: f64 = all.clone().map(|token| f64::from(logit(token) - max).exp()).sum();
        let log_sum = sum.ln();
        let likelier = |a: &TokenId, b: &TokenId| logit(*b).total_cmp(&logit(*a)).then(a.cmp(b));
        let top = top.min(logits.len());
        let mut best: Vec<TokenId> = Vec::new();
        if top > 0 {
            best = all.clone().collect();
            best.select_nth_unstable_by(top - 1, likelier);
            best.truncate(top);
            best.sort_unstable_by(likelier);
        }
        let entry = |token: TokenId| TokenLogprob {
            token,
            logprob: (f64::from(logit(token) - max) - log_sum) as f32,
        };
        Self {
            chosen: entry(chosen),
            rank: all.filter(|&token| logit(token) >= logit(chosen)).count(),
            top: best.into_iter().map(entry).collect(),
        }
    }
}

/// What one step says about one sequence that asked.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceLogprobs {
    /// Whom it is about.
    pub sequence: SequenceId,
    /// Prompt tokens, in order and each once, from the second on: the first has nothing before it. A step that
    /// computes part of a prompt has part of them.
    pub prompt: Vec<Logprobs>,
    /// The token that this step sampled; `None` where it sampled none or nobody asked.
    pub sampled: Option<Logprobs>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_logits_are_equally_likely_and_in_the_order_of_their_ids() {
        let logprobs = Logprobs::of(&[1.0, 1.0, 0.0, 1.0], 3, 2);
        assert_eq!(logprobs.rank, 3);
        assert_eq!(logprobs.top.iter().map(|t| t.token).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(logprobs.top[0].logprob, logprobs.chosen.logprob);
    }

    proptest! {
        #[test]
        fn probabilities_of_all_tokens_sum_to_one(
            logits in prop::collection::vec(-30f32..30.0, 1..60), at in any::<prop::sample::Index>(),
        ) {
            let chosen = at.index(logits.len());
            let all = Logprobs::of(&logits, chosen as TokenId, usize::MAX);
            prop_assert_eq!(all.top.len(), logits.len());
            let sum: f64 = all.top.iter().map(|t| f64::from(t.logprob).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{sum}");
            prop_assert!(all.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
            let place = all.top.iter().position(|t| t.token == chosen as TokenId).expect("it is there");
            prop_assert!(place < all.rank);
            prop_assert_eq!(all.top[place], all.chosen);
        }
    }
}
