//! The arrivals of `vllm bench serve`, reproduced: the same seed gives the same moments, so that a
//! published run can be repeated request by request.
//!
//! Follows vLLM 0.8.5, `vllm/benchmarks/serve.py` and `vllm/benchmarks/datasets.py`, for
//! `--dataset-name random` with prompts of one length and without a common prefix: NumPy's global
//! generator is seeded, draws an offset into the vocabulary for each prompt, and then a gap for
//! each request. Checked against a published run: with seed 0 and a rate of 1, the last of 100
//! requests must come at 102.4 s (test below).

use std::time::Duration;

use rand_mt::Mt;

/// NumPy's legacy generator (`numpy.random.seed`), as far as the benchmark draws from it.
struct RandomState(Mt);

impl RandomState {
    fn new(seed: u32) -> Self {
        Self(Mt::new(seed))
    }

    /// `random_sample`: 53 random bits in [0, 1).
    fn uniform(&mut self) -> f64 {
        let (high, low) = (self.0.next_u32() >> 5, self.0.next_u32() >> 6);
        (f64::from(high) * f64::from(1u32 << 26) + f64::from(low)) / (1u64 << 53) as f64
    }

    /// `gamma(shape=1)`, which is `standard_exponential`.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }

    /// `randint(0, bound)`: masks, and draws again what is too large. Returns no number: nobody
    /// needs it.
    fn skip_below(&mut self, bound: u32) {
        let mask = u32::MAX >> (bound - 1).leading_zeros();
        while self.0.next_u32() & mask >= bound {}
    }
}

/// When each of `count` requests is sent, for `--request-rate` requests a second, `--seed` and a
/// tokenizer of `vocab` tokens. Burstiness 1: arrivals of a Poisson process. An infinite rate sends
/// all of them at once.
///
/// # Panics
/// With a vocabulary of less than two tokens, or a rate that is not positive.
#[must_use]
pub fn bench_serve_arrivals(rate: f64, count: usize, vocab: u32, seed: u32) -> Vec<Duration> {
    assert!(vocab > 1 && rate > 0.0, "a vocabulary of {vocab} tokens, {rate} requests a second");
    let mut random = RandomState::new(seed);
    (0..count).for_each(|_| random.skip_below(vocab));
    let mut at = 0.0;
    let mut next = |_| {
        let now = Duration::from_secs_f64(at);
        at += random.exponential() / rate;
        now
    };
    (0..count).map(&mut next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_numpys() {
        // numpy.random.seed(0); numpy.random.random_sample() == 0.5488135039273248
        assert!((RandomState::new(0).uniform() - 0.548_813_503_927_324_8).abs() < 1e-16);
    }

    /// The run of 100 requests at 1 req/s took 105.142 s; the last request had a TTFT of 0.454 s
    /// and 127 more tokens at 17.9 ms: it was sent at 102.41 s. At 4 req/s: 58.789 - 30.865 - 127 x
    /// 0.0182 = 25.61 s. Source: results/raw of build 001 (see `catalogue`), rate-pressure.
    #[test]
    fn the_last_request_comes_when_it_came_in_the_published_runs() {
        let last = |rate| bench_serve_arrivals(rate, 100, 151_643, 0)[99].as_secs_f64();
        assert!((last(1.0) - 102.41).abs() < 0.02, "{}", last(1.0));
        assert!((last(4.0) - 25.61).abs() < 0.02, "{}", last(4.0));
    }

    #[test]
    fn an_infinite_rate_sends_all_at_once() {
        let all = bench_serve_arrivals(f64::INFINITY, 5, 1_000, 0);
        assert_eq!(all, vec![Duration::ZERO; 5]);
    }
}
