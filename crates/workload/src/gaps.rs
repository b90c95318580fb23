//! How irregular arrivals are: the gap to the next one, in units of the mean gap.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use rand_distr::{Distribution, Exp1, Gamma};

use crate::WorkloadError;
use crate::error::in_range;
use crate::spec::Spec;

/// The largest coefficient of variation of a gap. Beyond it, almost all gaps are zero.
pub const MAX_CV: f64 = 30.0;

/// The distribution of gaps; its mean is 1.
///
/// Written `constant`, `poisson`, `gamma:cv=2` or `gamma:burstiness=0.25`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gaps {
    /// Every gap alike. Coefficient of variation (CV) 0.
    Constant,
    /// Exponential gaps: users that know nothing of each other. CV 1.
    Poisson,
    /// Gamma gaps: burstier than Poisson above a CV of 1, more regular below.
    ///
    /// The shape is `1/cv²`. vLLM's `--burstiness` is that shape, so that `cv = 1/sqrt(burstiness)`
    /// (`vllm/benchmarks/serve.py`, `get_request`).
    Gamma {
        /// Standard deviation over mean.
        cv: f64,
    },
}

impl Gaps {
    /// Gamma gaps.
    ///
    /// # Errors
    /// Unless `0 < cv <= MAX_CV`.
    pub fn gamma(cv: f64) -> Result<Self, WorkloadError> {
        in_range("the gaps' cv", cv, 0.01, MAX_CV, "0.01 to 30")?;
        Ok(Self::Gamma { cv })
    }

    /// Standard deviation over mean.
    #[must_use]
    pub fn cv(&self) -> f64 {
        match self {
            Self::Constant => 0.0,
            Self::Poisson => 1.0,
            Self::Gamma { cv } => *cv,
        }
    }

    pub(crate) fn sampler(self) -> Sampler {
        match self {
            Self::Constant => Sampler::Constant,
            Self::Poisson => Sampler::Exponential,
            Self::Gamma { cv } => {
                let shape = 1.0 / (cv * cv);
                // An invalid shape was refused when the gaps were made; a field set by hand falls back.
                Gamma::new(shape, 1.0 / shape).map_or(Sampler::Exponential, Sampler::Gamma)
            }
        }
    }
}

/// Draws gaps.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sampler {
    Constant,
    Exponential,
    Gamma(Gamma<f64>),
}

impl Sampler {
    pub(crate) fn gap(&self, rng: &mut impl Rng) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Exponential => rng.sample(Exp1),
            Self::Gamma(gamma) => gamma.sample(rng),
        }
    }
}

impl FromStr for Gaps {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let spec = Spec::parse("arrivals", text)?;
        match spec.kind {
            "constant" => spec.only(&[]).map(|()| Self::Constant),
            "poisson" => spec.only(&[]).map(|()| Self::Poisson),
            "gamma" => {
                spec.only(&["cv", "burstiness"])?;
                match (spec.get("cv")?, spec.get::<f64>("burstiness")?) {
                    (Some(cv), None) => Self::gamma(cv),
                    (None, Some(burstiness)) => Self::gamma(burstiness.sqrt().recip()),
                    _ => Err(spec.wrong("give either cv=... or burstiness=...")),
                }
            }
            _ => Err(spec.wrong("expected constant, poisson, gamma:cv=2 or gamma:burstiness=0.25")),
        }
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Poisson => f.write_str("poisson"),
            Self::Gamma { cv } => write!(f, "gamma:cv={cv}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_read_back_as_they_are_printed() {
        for text in ["constant", "poisson", "gamma:cv=2.5"] {
            assert_eq!(text.parse::<Gaps>().unwrap().to_string(), text);
        }
        assert_eq!("gamma:burstiness=0.25".parse::<Gaps>().unwrap(), Gaps::Gamma { cv: 2.0 });
    }

    #[test]
    fn gaps_that_mean_nothing_are_refused_with_what_would_do() {
        for (text, says) in [
            ("posson", "expected constant"),
            ("poisson:cv=2", "means nothing"),
            ("gamma", "either"),
            ("gamma:cv=1,burstiness=1", "either"),
            ("gamma:sv=1", "none of"),
            ("gamma:cv=-1", "0.01 to 30"),
            ("gamma:burstiness=0", "0.01 to 30"),
            ("gamma:cv=nan", "0.01 to 30"),
        ] {
            let error = text.parse::<Gaps>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
