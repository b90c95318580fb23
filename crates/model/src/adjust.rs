//! What a request changes about the logits before a token is drawn: masks, biases, penalties.
//!
//! In vLLM's order (`vllm/v1/sample/sampler.py` of 0.32): allowed tokens, `min_tokens`, bias, penalties.

use std::collections::HashMap;

use serving::{SamplingParams, TokenId};

/// The changes of one sequence, and what they must know about it.
#[derive(Debug)]
pub(crate) struct Adjustments {
    presence: f32,
    frequency: f32,
    repetition: f32,
    bias: Vec<(TokenId, f32)>,
    /// Sorted.
    allowed: Option<Vec<TokenId>>,
    min_tokens: usize,
    stop_tokens: Vec<TokenId>,
    generated: usize,
    /// How often each token of prompt and answer was generated; 0 for those of the prompt alone.
    seen: HashMap<TokenId, u32>,
}

impl Adjustments {
    /// `None` where the request takes the logits as they are.
    pub(crate) fn new(prompt: &[TokenId], params: &SamplingParams) -> Option<Box<Self>> {
        let repeats = params.repetition_penalty != 1.0;
        let penalties =
            repeats || params.presence_penalty != 0.0 || params.frequency_penalty != 0.0;
        let stops = params.min_tokens > 0 && !params.stop_tokens.is_empty();
        let masks = stops || params.allowed_tokens.is_some() || !params.logit_bias.is_empty();
        if !penalties && !masks {
            return None;
        }
        let mut allowed = params.allowed_tokens.clone();
        if let Some(allowed) = &mut allowed {
            allowed.sort_unstable();
        }
        let of_prompt: &[TokenId] = if repeats { prompt } else { &[] };
        Some(Box::new(Self {
            presence: params.presence_penalty,
            frequency: params.frequency_penalty,
            repetition: params.repetition_penalty,
            bias: params.logit_bias.clone(),
            allowed,
            min_tokens: params.min_tokens,
            stop_tokens: params.stop_tokens.clone(),
            generated: 0,
            seen: of_prompt.iter().map(|&token| (token, 0)).collect(),
        }))
    }

    /// Changes `logits`, one a token of the vocabulary.
    pub(crate) fn apply(&self, logits: &mut [f32]) {
        if let Some(allowed) = &self.allowed {
            for (token, logit) in logits.iter_mut().enumerate() {
                if allowed.binary_search(&(token as TokenId)).is_err() {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        if self.generated < self.min_tokens {
            for &token in &self.stop_tokens {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        for &(token, bias) in &self.bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        for (&token, &times) in &self.seen {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            // Keskar et al. 2019, section 4.1; the sign decides so that a penalty never rewards.
            if *logit > 0.0 {
                *logit /= self.repetition;
            } else {
                *logit *= self.repetition;
            }
            *logit -= self.frequency * times as f32;
            if times > 0 {
                *logit -= self.presence;
            }
        }
    }

    /// Takes note of a token that was drawn.
    pub(crate) fn drawn(&mut self, token: TokenId) {
        self.generated += 1;
        *self.seen.entry(token).or_insert(0) += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn adjusted(prompt: &[TokenId], params: SamplingParams, drawn: &[TokenId]) -> Vec<f32> {
        let mut adjustments = Adjustments::new(prompt, &params).expect("it changes something");
        drawn.iter().for_each(|&token| adjustments.drawn(token));
        let mut logits = vec![2.0, -2.0, 1.0, 0.5];
        adjustments.apply(&mut logits);
        logits
    }

    #[test]
    fn a_request_that_changes_nothing_costs_nothing() {
        assert!(Adjustments::new(&[1], &SamplingParams::greedy()).is_none());
        let only_min = SamplingParams { min_tokens: 3, ..SamplingParams::greedy() };
        assert!(Adjustments::new(&[1], &only_min).is_none());
    }

    #[test]
    fn penalties_count_what_was_generated_and_repetition_the_prompt_too() {
        let params = SamplingParams { presence_penalty: 0.5, ..SamplingParams::default() };
        assert_eq!(adjusted(&[3], params, &[0, 0]), [1.5, -2.0, 1.0, 0.5]);
        let params = SamplingParams { frequency_penalty: 0.5, ..SamplingParams::default() };
        assert_eq!(adjusted(&[3], params, &[0, 0]), [1.0, -2.0, 1.0, 0.5]);
        let params = SamplingParams { repetition_penalty: 2.0, ..SamplingParams::default() };
        assert_eq!(adjusted(&[1, 3], params, &[0]), [1.0, -4.0, 1.0, 0.25]);
    }

    #[test]
    fn a_token_that_would_end_the_answer_waits_for_min_tokens() {
        let params =
            SamplingParams { min_tokens: 2, stop_tokens: vec![0], ..SamplingParams::default() };
        assert_eq!(adjusted(&[], params.clone(), &[1])[0], f32::NEG_INFINITY);
        assert_eq!(adjusted(&[], params, &[1, 1])[0], 2.0);
    }

    #[test]
    fn a_bias_is_added_and_a_mask_leaves_only_what_is_allowed() {
        let params =
            SamplingParams { logit_bias: vec![(2, 5.0), (99, 1.0)], ..SamplingParams::default() };
        assert_eq!(adjusted(&[], params, &[]), [2.0, -2.0, 6.0, 0.5]);
        let params =
            SamplingParams { allowed_tokens: Some(vec![3, 1]), ..SamplingParams::default() };
        let none = f32::NEG_INFINITY;
        assert_eq!(adjusted(&[], params, &[]), [none, -2.0, none, 0.5]);
    }

    proptest! {
        #[test]
        fn positive_penalties_never_raise_a_logit(
            presence in 0f32..2.0, frequency in 0f32..2.0, repetition in 1f32..3.0,
            drawn in prop::collection::vec(0u32..4, 1..8),
        ) {
            let params = SamplingParams { presence_penalty: presence, frequency_penalty: frequency,
                repetition_penalty: repetition, logit_bias: vec![(0, 0.0)], ..SamplingParams::default() };
            let after = adjusted(&[0, 1], params, &drawn);
            for (after, before) in after.iter().zip([2.0, -2.0, 1.0, 0.5]) {
                prop_assert!(*after <= before);
            }
        }
    }
}
