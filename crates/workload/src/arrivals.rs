//! When requests arrive: gaps under a rate profile.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::gaps::Sampler;
use crate::{Gaps, RateProfile, WorkloadError};

/// The most arrivals that a schedule holds.
pub const MAX_REQUESTS: usize = 10_000_000;

/// An arrival process.
///
/// The n-th arrival is at the time up to which `S_n` arrivals are expected, where `S_n` is the sum of the first
/// n gaps of mean 1. With exponential gaps that is the inhomogeneous Poisson process of the profile's rate
/// (time-change theorem; Cinlar 1975, "Introduction to Stochastic Processes", chapter 4); with others it
/// keeps their irregularity at every rate.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrivalProcess {
    /// How irregular.
    pub gaps: Gaps,
    /// How many a second, over time.
    pub profile: RateProfile,
}

impl ArrivalProcess {
    /// Poisson arrivals at one rate, a second.
    ///
    /// # Errors
    /// Unless the rate is positive and at most [`crate::MAX_RATE`].
    pub fn poisson(rate: f64) -> Result<Self, WorkloadError> {
        Ok(Self { gaps: Gaps::Poisson, profile: RateProfile::flat(rate)? })
    }

    /// Arrivals without end (unless the last rate is 0), from the seed. The first comes after the first gap.
    #[must_use]
    pub fn arrivals(&self, seed: u64) -> Arrivals {
        self.scaled(seed, 1.0)
    }

    fn scaled(&self, seed: u64, scale: f64) -> Arrivals {
        Arrivals {
            sampler: self.gaps.sampler(),
            profile: self.profile.clone(),
            rng: StdRng::seed_from_u64(seed),
            scale,
            sum: 0.0,
        }
    }

    /// Exactly `count` arrivals, in order, at most [`MAX_REQUESTS`]; fewer where the profile ends earlier.
    ///
    /// The gaps are scaled by one factor so that their mean is 1 in this sample, not only on average: 200
    /// Poisson arrivals at 10 a second take 20 s, not 20 s give or take 1.4 s. Of a Poisson process that is what
    /// is left when one asks for a count in a time; the gaps' coefficient of variation does not change.
    #[must_use]
    pub fn schedule(&self, count: usize, seed: u64) -> Vec<Duration> {
        let count = count.min(MAX_REQUESTS);
        let sampler = self.gaps.sampler();
        let mut rng = StdRng::seed_from_u64(seed);
        let sum: f64 = (0..count).map(|_| sampler.gap(&mut rng)).sum();
        let scale = if sum > 0.0 { count as f64 / sum } else { 1.0 };
        self.scaled(seed, scale).take(count).collect()
    }

    /// How many arrivals the profile expects in a time, at most [`MAX_REQUESTS`].
    #[must_use]
    pub fn count_within(&self, time: Duration) -> usize {
        // Saturates: a count beyond usize is cut to the limit as well.
        (self.profile.expected(time).round() as usize).min(MAX_REQUESTS)
    }
}

/// The times of arrivals since the start, in order.
#[derive(Debug, Clone)]
pub struct Arrivals {
    sampler: Sampler,
    profile: RateProfile,
    rng: StdRng,
    scale: f64,
    sum: f64,
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.sum += self.sampler.gap(&mut self.rng) * self.scale;
        self.profile.time_of(self.sum)
    }
}

/// What arrivals look like from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GapStatistics {
    /// Gaps a second: their number over the time between the first arrival and the last.
    pub rate: f64,
    /// Standard deviation of the gaps over their mean.
    pub cv: f64,
}

impl GapStatistics {
    /// Of arrival times in order. `None` for fewer than two gaps, or where all arrive at once.
    #[must_use]
    pub fn of(times: &[Duration]) -> Option<Self> {
        let (first, last) = (times.first()?, times.last()?);
        let gaps = times.len().checked_sub(1).filter(|gaps| *gaps >= 2)? as f64;
        let mean = last.saturating_sub(*first).as_secs_f64() / gaps;
        if mean <= 0.0 {
            return None;
        }
        let squares: f64 = times
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]).as_secs_f64() - mean)
            .map(|difference| difference * difference)
            .sum();
        Some(Self { rate: mean.recip(), cv: (squares / gaps).sqrt() / mean })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn process(gaps: Gaps, profile: &str) -> ArrivalProcess {
        ArrivalProcess { gaps, profile: profile.parse().unwrap() }
    }

    #[test]
    fn constant_arrivals_are_a_ruler() {
        let times: Vec<_> = process(Gaps::Constant, "10").arrivals(7).take(3).collect();
        assert_eq!(times, [100, 200, 300].map(Duration::from_millis));
    }

    #[test]
    fn a_ramp_has_the_profiles_rate_at_every_moment() {
        let ramp = process(Gaps::Poisson, "100..300@100s");
        let times = ramp.schedule(20_000, 3);
        for (from, to) in [(0, 20), (40, 60), (80, 100)] {
            let (from, to) = (Duration::from_secs(from), Duration::from_secs(to));
            let seen = times.iter().filter(|t| (from..to).contains(t)).count() as f64;
            let asked = ramp.profile.expected(to) - ramp.profile.expected(from);
            // Five standard deviations of a Poisson count.
            assert!((seen - asked).abs() < 5.0 * asked.sqrt(), "{seen} of {asked}");
        }
    }

    #[test]
    fn a_profile_that_ends_ends_the_schedule() {
        assert_eq!(process(Gaps::Constant, "5@2s,0@1s").schedule(100, 7).len(), 10);
    }

    #[test]
    fn statistics_need_two_gaps() {
        let at = |ms: &[u64]| ms.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        assert_eq!(GapStatistics::of(&at(&[1, 2])), None);
        assert_eq!(GapStatistics::of(&at(&[1, 1, 1])), None);
        let even = GapStatistics::of(&at(&[0, 100, 200])).unwrap();
        assert!((even.rate - 10.0).abs() < 1e-9 && even.cv < 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_schedule_has_the_asked_rate_and_irregularity(
            rate in 0.1..5_000.0f64, cv in prop_oneof![Just(0.0), Just(1.0), 0.1..3.0f64], seed: u64,
        ) {
            const COUNT: usize = 40_000;
            let gaps = match cv {
                0.0 => Gaps::Constant,
                1.0 => Gaps::Poisson,
                cv => Gaps::gamma(cv).unwrap(),
            };
            let times = process(gaps, &rate.to_string()).schedule(COUNT, seed);
            prop_assert_eq!(times.len(), COUNT);
            let last = times[COUNT - 1].as_secs_f64();
            prop_assert!((last - COUNT as f64 / rate).abs() < 1e-6 * last);
            let seen = GapStatistics::of(&times).unwrap();
            prop_assert!((seen.rate / rate - 1.0).abs() < 0.01, "{seen:?}");
            // The standard error of a gamma sample's CV grows with the CV: about cv²/sqrt(n) above 1.
            prop_assert!((seen.cv - cv).abs() < 0.01 + 6.0 * cv.max(cv * cv) / 200.0, "{seen:?}");
        }

        #[test]
        fn arrivals_are_in_order_and_the_same_for_the_same_seed(cv in 0.1..5.0, seed: u64) {
            let process = process(Gaps::gamma(cv).unwrap(), "1..50@10s,3@5s");
            let times: Vec<_> = process.arrivals(seed).take(500).collect();
            prop_assert!(times.is_sorted());
            prop_assert_eq!(&times, &process.arrivals(seed).take(500).collect::<Vec<_>>());
            prop_assert_ne!(&times, &process.arrivals(seed ^ 1).take(500).collect::<Vec<_>>());
        }

        #[test]
        fn arrivals_without_end_have_the_asked_rate_on_average(rate in 1.0..1_000.0, seed: u64) {
            let times: Vec<_> =
                ArrivalProcess::poisson(rate).unwrap().arrivals(seed).take(40_000).collect();
            // Six standard errors of the mean of 40,000 exponential gaps.
            let seen = GapStatistics::of(&times).unwrap().rate / rate;
            prop_assert!((seen - 1.0).abs() < 0.03, "{seen}");
        }
    }
}
