//! From logits to a token: adjusted, then greedy, or temperature, min-p, top-k, top-p, seeded.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serving::{Logprobs, SamplingParams, TokenId};

use crate::adjust::Adjustments;

/// Temperatures below this are greedy: dividing by them would overflow (vLLM's `_SAMPLING_EPS`).
const MIN_TEMPERATURE: f32 = 1e-5;

/// Draws the tokens of one sequence. It has its own random stream, so that what a sequence says does not
/// depend on who else is in the batch.
#[derive(Debug)]
pub(crate) struct Sampler {
    params: SamplingParams,
    adjustments: Option<Box<Adjustments>>,
    rng: StdRng,
}

impl Sampler {
    pub(crate) fn new(prompt: &[TokenId], params: &SamplingParams) -> Self {
        let rng = match params.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        };
        Self { params: params.clone(), adjustments: Adjustments::new(prompt, params), rng }
    }

    /// Draws a token, and says how likely the model found it where the request wants to know. The logits may be
    /// changed on the way.
    pub(crate) fn sample(&mut self, logits: &mut [f32]) -> (TokenId, Option<Logprobs>) {
        let Some(adjustments) = &mut self.adjustments else {
            let token = draw(logits, &self.params, &mut self.rng);
            return (token, self.params.logprobs.map(|top| Logprobs::of(logits, token, top)));
        };
        let own = self.params.logprobs.map(|top| (logits.to_vec(), top));
        adjustments.apply(logits);
        let token = draw(logits, &self.params, &mut self.rng);
        adjustments.drawn(token);
        (token, own.map(|(own, top)| Logprobs::of(&own, token, top)))
    }
}

/// Draws a token. A logit that is NaN is never drawn while there is a number.
fn draw(logits: &[f32], params: &SamplingParams, rng: &mut StdRng) -> TokenId {
    let best = argmax(logits);
    let greedy = params.temperature.is_nan() || params.temperature < MIN_TEMPERATURE;
    if greedy || !logits[best].is_finite() {
        return best as TokenId;
    }
    let candidates = candidates(logits, logits[best], params);
    let total: f64 = candidates.iter().map(|&(_, weight)| f64::from(weight)).sum();
    let mut left = rng.random::<f64>() * total;
    for &(token, weight) in &candidates {
        left -= f64::from(weight);
        if left < 0.0 {
            return token;
        }
    }
    best as TokenId
}

/// The largest logit; the first of equals; 0 where none is a number.
fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (token, &logit) in logits.iter().enumerate() {
        if logit > logits[best] || (logits[best].is_nan() && !logit.is_nan()) {
            best = token;
        }
    }
    best
}

/// The tokens that may be drawn, with weights in proportion to their probabilities: temperature, min-p, then
/// top-k, then top-p, as vLLM and Hugging Face do it.
fn candidates(logits: &[f32], max: f32, params: &SamplingParams) -> Vec<(TokenId, f32)> {
    // The likeliest weighs 1, so that a weight is also a share of the likeliest.
    let mut candidates: Vec<(TokenId, f32)> = logits
        .iter()
        .enumerate()
        .map(|(token, &logit)| (token as TokenId, ((logit - max) / params.temperature).exp()))
        .filter(|&(_, weight)| weight > 0.0 && weight >= params.min_p)
        .collect();
    let likelier = |a: &(TokenId, f32), b: &(TokenId, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if let Some(k) = params.top_k.filter(|&k| k > 0 && k < candidates.len()) {
        candidates.select_nth_unstable_by(k - 1, likelier);
        candidates.truncate(k);
    }
    if params.top_p < 1.0 {
        let total: f64 = candidates.iter().map(|&(_, weight)| f64::from(weight)).sum();
        // Tokens below this sum to less than 1 - top_p, so none of them is needed: no need to sort them.
        let negligible = (1.0 - f64::from(params.top_p)) * total / candidates.len() as f64;
        candidates.retain(|&(_, weight)| f64::from(weight) >= negligible);
        candidates.sort_unstable_by(likelier);
        let enough = f64::from(params.top_p.max(0.0)) * total;
        let mut sum = 0.0;
        let kept = candidates.iter().position(|&(_, weight)| {
            sum += f64::from(weight);
            sum >= enough
        });
        candidates.truncate(kept.map_or(candidates.len(), |last| last + 1));
    }
    candidates
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(temperature: f32, top_k: Option<usize>, top_p: f32) -> SamplingParams {
        SamplingParams { temperature, top_k, top_p, seed: Some(1), ..SamplingParams::default() }
    }

    fn draw_one(params: &SamplingParams, logits: &[f32]) -> TokenId {
        Sampler::new(&[], params).sample(&mut logits.to_vec()).0
    }

    fn logits() -> impl Strategy<Value = Vec<f32>> {
        let logit = prop_oneof![
            8 => -20f32..20.0,
            1 => Just(f32::NAN),
            1 => Just(f32::INFINITY),
            1 => Just(f32::NEG_INFINITY),
        ];
        prop::collection::vec(logit, 1..40)
    }

    proptest! {
        #[test]
        fn any_logits_and_parameters_give_a_token_of_the_vocabulary(
            logits in logits(),
            temperature in prop_oneof![Just(0.0), Just(f32::NAN), Just(1e-30), 0f32..3.0],
            top_k in prop::option::of(0usize..50),
            top_p in prop_oneof![Just(f32::NAN), Just(0.0), 0f32..1.5],
        ) {
            let token = draw_one(&params(temperature, top_k, top_p), &logits) as usize;
            prop_assert!(token < logits.len());
            let has_number = logits.iter().any(|logit| !logit.is_nan());
            prop_assert!(!(has_number && logits[token].is_nan()), "drew NaN");
        }

        #[test]
        fn greedy_takes_the_first_of_the_largest(logits in prop::collection::vec(-5f32..5.0, 1..40)) {
            let token = draw_one(&SamplingParams::greedy(), &logits) as usize;
            prop_assert!(logits.iter().all(|&logit| logit <= logits[token]));
            prop_assert!(logits[..token].iter().all(|&logit| logit < logits[token]));
        }

        #[test]
        fn top_k_draws_only_the_k_likeliest(
            logits in prop::collection::vec(-5f32..5.0, 1..40), k in 1usize..40, seed in any::<u64>(),
        ) {
            let params = SamplingParams { seed: Some(seed), ..params(1.0, Some(k), 1.0) };
            let token = draw_one(&params, &logits) as usize;
            let better = logits.iter().filter(|&&logit| logit > logits[token]).count();
            prop_assert!(better < k);
        }

        #[test]
        fn top_p_keeps_the_smallest_set_that_is_enough(
            logits in prop::collection::vec(-5f32..5.0, 1..40), top_p in 0.01f32..0.99,
        ) {
            let max = logits.iter().copied().fold(f32::MIN, f32::max);
            let all = candidates(&logits, max, &params(1.0, None, 1.0));
            let kept = candidates(&logits, max, &params(1.0, None, top_p));
            let sum = |set: &[(TokenId, f32)]| set.iter().map(|c| f64::from(c.1)).sum::<f64>();
            let share = sum(&kept) / sum(&all);
            prop_assert!(share >= f64::from(top_p) - 1e-6, "kept {share} of {top_p}");
            let without_last = sum(&kept[..kept.len() - 1]) / sum(&all);
            prop_assert!(without_last < f64::from(top_p), "{without_last} was enough");
        }

        #[test]
        fn the_same_seed_draws_the_same_tokens(
            logits in prop::collection::vec(-2f32..2.0, 2..40), seed in any::<u64>(),
        ) {
            let params = SamplingParams { seed: Some(seed), ..params(1.0, None, 0.95) };
            let (mut one, mut two) = (Sampler::new(&[], &params), Sampler::new(&[], &params));
            for _ in 0..8 {
                prop_assert_eq!(one.sample(&mut logits.clone()), two.sample(&mut logits.clone()));
            }
        }
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let logits = [0f32, 2f32.ln(), 5f32.ln()];
        let mut sampler = Sampler::new(&[], &params(1.0, None, 1.0));
        let mut counts = [0u32; 3];
        for _ in 0..8000 {
            counts[sampler.sample(&mut logits.clone()).0 as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([1000f64, 2000.0, 5000.0]) {
            assert!((f64::from(*count) - expected).abs() < 5.0 * expected.sqrt(), "{counts:?}");
        }
    }

    #[test]
    fn min_p_leaves_out_what_is_much_less_likely_than_the_likeliest() {
        let logits = [0.4f32.ln(), 0.3f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
        let params = SamplingParams { min_p: 0.6, ..params(1.0, None, 1.0) };
        let kept = candidates(&logits, logits[0], &params);
        assert_eq!(kept.iter().map(|&(token, _)| token).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn log_probabilities_are_of_the_models_own_logits() {
        let biased = SamplingParams {
            logit_bias: vec![(1, 100.0)],
            logprobs: Some(1),
            ..SamplingParams::greedy()
        };
        let (token, logprobs) = Sampler::new(&[], &biased).sample(&mut [1.0, 1.0 - 3f32.ln()]);
        let logprobs = logprobs.unwrap();
        assert_eq!((token, logprobs.rank, logprobs.top[0].token), (1, 2, 0));
        assert!((logprobs.chosen.logprob - 0.25f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn no_seed_draws_a_fresh_one() {
        let params = SamplingParams { seed: None, ..params(1.0, None, 1.0) };
        let draw = || {
            let mut sampler = Sampler::new(&[], &params);
            (0..16).map(|_| sampler.sample(&mut [0.0; 64]).0).collect::<Vec<_>>()
        };
        assert_ne!(draw(), draw());
    }
}
