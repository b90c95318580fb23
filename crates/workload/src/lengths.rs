//! How long prompts and answers are, in tokens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand::Rng;
use rand_distr::{Distribution, LogNormal};

use crate::WorkloadError;
use crate::error::in_range;
use crate::spec::Spec;

/// The longest length, in tokens.
pub const MAX_LENGTH: u32 = 1 << 24;

/// A distribution of lengths, each at least 1 and at most [`MAX_LENGTH`].
///
/// Written `512`, `uniform:min=100,max=900` or `lognormal:mean=512,cv=1.2,max=8192`.
#[derive(Debug, Clone, PartialEq)]
pub enum Lengths {
    /// Always the same.
    Fixed(u32),
    /// Every length from `min` to `max` alike.
    Uniform {
        /// The shortest.
        min: u32,
        /// The longest.
        max: u32,
    },
    /// Log-normal, as lengths of real conversations roughly are: many short, few very long.
    LogNormal {
        /// Mean before the limits are applied.
        mean: f64,
        /// Standard deviation over mean, before the limits are applied.
        cv: f64,
        /// A shorter draw becomes this.
        min: u32,
        /// A longer draw becomes this.
        max: u32,
    },
    /// Drawn from lengths that were seen, each as often as it stands there.
    Empirical(Arc<[u32]>),
}

impl Lengths {
    /// Lengths that were seen, each cut to 1..=[`MAX_LENGTH`].
    ///
    /// # Errors
    /// Where there are none.
    pub fn empirical(seen: impl IntoIterator<Item = u32>) -> Result<Self, WorkloadError> {
        let seen: Arc<[u32]> = seen.into_iter().map(|length| length.clamp(1, MAX_LENGTH)).collect();
        in_range("the number of lengths", seen.len() as f64, 1.0, f64::INFINITY, "at least 1")?;
        Ok(Self::Empirical(seen))
    }

    /// Draws one.
    pub fn sample(&self, rng: &mut impl Rng) -> u32 {
        match self {
            Self::Fixed(length) => *length,
            Self::Uniform { min, max } => rng.random_range(*min..=*max.max(min)),
            Self::LogNormal { mean, cv, min, max } => {
                let (mu, sigma) = log_parameters(*mean, *cv);
                let drawn = LogNormal::new(mu, sigma).map_or(*mean, |normal| normal.sample(rng));
                // `as` saturates, so that an endless tail ends at the limit.
                (drawn.round() as u32).max(*min).min(*max)
            }
            Self::Empirical(seen) => seen[rng.random_range(0..seen.len())],
        }
    }

    /// The longest that can be drawn.
    #[must_use]
    pub fn max(&self) -> u32 {
        match self {
            Self::Fixed(length) => *length,
            Self::Uniform { max, .. } | Self::LogNormal { max, .. } => *max,
            Self::Empirical(seen) => seen.iter().copied().max().unwrap_or(1),
        }
    }

    /// The mean; of a log-normal before its limits are applied.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed(length) => f64::from(*length),
            Self::Uniform { min, max } => f64::midpoint(f64::from(*min), f64::from(*max)),
            Self::LogNormal { mean, .. } => *mean,
            Self::Empirical(seen) => {
                seen.iter().map(|length| f64::from(*length)).sum::<f64>() / seen.len() as f64
            }
        }
    }
}

/// Mean and deviation of the logarithm: `sigma² = ln(1 + cv²)`, `mu = ln(mean) - sigma²/2`.
fn log_parameters(mean: f64, cv: f64) -> (f64, f64) {
    let variance = (cv * cv).ln_1p();
    (mean.ln() - variance / 2.0, variance.sqrt())
}

fn length(what: &'static str, value: f64) -> Result<u32, WorkloadError> {
    let value = in_range(what, value, 1.0, f64::from(MAX_LENGTH), "1 to 16,777,216 tokens")?;
    Ok(value.round() as u32)
}

impl FromStr for Lengths {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        if let Ok(fixed) = text.trim().parse::<f64>() {
            return length("a length", fixed).map(Self::Fixed);
        }
        let spec = Spec::parse("length", text)?;
        match spec.kind {
            "uniform" => {
                spec.only(&["min", "max"])?;
                let min = length("min", spec.need("min")?)?;
                let max = length("max", spec.need("max")?)?;
                in_range("max", f64::from(max), f64::from(min), f64::INFINITY, "at least min")?;
                Ok(Self::Uniform { min, max })
            }
            "lognormal" => {
                spec.only(&["mean", "cv", "min", "max"])?;
                let mean = f64::from(length("mean", spec.need("mean")?)?);
                let cv = in_range("cv", spec.need("cv")?, 0.0, 100.0, "0 to 100")?;
                let min = length("min", spec.get("min")?.unwrap_or(1.0))?;
                let max = length("max", spec.get("max")?.unwrap_or(f64::from(MAX_LENGTH)))?;
                in_range("max", f64::from(max), f64::from(min), f64::INFINITY, "at least min")?;
                Ok(Self::LogNormal { mean, cv, min, max })
            }
            _ => {
                Err(spec
                    .wrong("expected 512, uniform:min=100,max=900 or lognormal:mean=512,cv=1.2"))
            }
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Uniform { min, max } => write!(f, "uniform:min={min},max={max}"),
            Self::LogNormal { mean, cv, min, max } => {
                write!(f, "lognormal:mean={mean},cv={cv},min={min},max={max}")
            }
            Self::Empirical(seen) => write!(f, "{} lengths that were seen", seen.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn lengths_read_back_as_they_are_printed() {
        for text in ["512", "uniform:min=1,max=9", "lognormal:mean=512,cv=1.2,min=1,max=8192"] {
            assert_eq!(text.parse::<Lengths>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn lengths_that_mean_nothing_are_refused() {
        for text in [
            "0",
            "-3",
            "nan",
            "1e12",
            "long",
            "uniform:min=5,max=2",
            "uniform:max=2",
            "lognormal:mean=5",
            "lognormal:mean=5,cv=1,maxx=9",
            "lognormal:mean=5,cv=1,min=9,max=8",
        ] {
            assert!(text.parse::<Lengths>().is_err(), "{text}");
        }
        assert!(Lengths::empirical([]).is_err());
    }

    fn mean_of(lengths: &Lengths, seed: u64) -> f64 {
        let mut rng = StdRng::seed_from_u64(seed);
        (0..50_000).map(|_| f64::from(lengths.sample(&mut rng))).sum::<f64>() / 50_000.0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn samples_have_the_asked_mean(mean in 100.0..5_000.0, cv in 0.0..1.5, seed: u64) {
            let log = Lengths::LogNormal { mean, cv, min: 1, max: MAX_LENGTH };
            let flat = Lengths::Uniform { min: 1, max: mean as u32 };
            let seen = Lengths::empirical([1, mean as u32, 3 * mean as u32]).unwrap();
            for lengths in [log, flat, seen] {
                let error = mean_of(&lengths, seed) / lengths.mean() - 1.0;
                // Six standard errors at a CV of 1.5, and the rounding to whole tokens.
                prop_assert!(error.abs() < 0.05, "{lengths}: {error}");
            }
        }

        #[test]
        fn samples_stay_inside_their_limits(min in 1u32..500, width in 0u32..500, seed: u64) {
            let max = min + width;
            let log = Lengths::LogNormal { mean: 250.0, cv: 3.0, min, max };
            let mut rng = StdRng::seed_from_u64(seed);
            for lengths in [log, Lengths::Uniform { min, max }, Lengths::Fixed(min)] {
                for _ in 0..200 {
                    prop_assert!((min..=max).contains(&lengths.sample(&mut rng)));
                }
                prop_assert!(lengths.max() <= max);
            }
        }
    }
}
