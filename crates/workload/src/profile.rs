//! How many arrivals a second, over time: piecewise linear.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::WorkloadError;
use crate::error::in_range;
use crate::spec;

/// The highest rate, in arrivals a second.
pub const MAX_RATE: f64 = 1e6;
/// The most legs of a profile.
pub const MAX_LEGS: usize = 1024;

/// A stretch of time in which the rate moves on a straight line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leg {
    /// Arrivals a second at its start.
    pub from: f64,
    /// Arrivals a second at its end.
    pub to: f64,
    /// How long it is.
    pub over: Duration,
}

impl Leg {
    /// Arrivals expected in its first `seconds`.
    fn expected(&self, seconds: f64) -> f64 {
        seconds * (self.from + 0.5 * self.slope() * seconds)
    }

    fn slope(&self) -> f64 {
        let over = self.over.as_secs_f64();
        if over > 0.0 { (self.to - self.from) / over } else { 0.0 }
    }

    /// Seconds until `count` arrivals are expected; the inverse of `expected`.
    fn seconds_to(&self, count: f64) -> f64 {
        // count = from*x + slope/2 * x². This form of the root does not cancel where the slope is small.
        let root = (self.from * self.from + 2.0 * self.slope() * count).max(0.0).sqrt();
        if count > 0.0 { 2.0 * count / (self.from + root) } else { 0.0 }
    }
}

/// The rate of arrivals over time. Behind its last leg the last rate holds.
///
/// Written `10` (a flat rate), `1..20@60s` (a ramp, then 20), `5@30s,20@30s` (steps, then 20), or any
/// mixture: `5@30s,5..50@2m,0@10s,5@1s`.
#[derive(Debug, Clone, PartialEq)]
pub struct RateProfile {
    legs: Vec<Leg>,
    /// Arrivals a second behind the last leg.
    rest: f64,
}

impl RateProfile {
    /// One rate for ever.
    ///
    /// # Errors
    /// Unless `0 < rate <= MAX_RATE`.
    pub fn flat(rate: f64) -> Result<Self, WorkloadError> {
        let rate = positive(rate)?;
        Ok(Self { legs: Vec::new(), rest: rate })
    }

    /// From one rate to another, which then holds.
    ///
    /// # Errors
    /// Where a rate is negative or above [`MAX_RATE`], or both are 0.
    pub fn ramp(from: f64, to: f64, over: Duration) -> Result<Self, WorkloadError> {
        Self::legs(vec![Leg { from, to, over }])
    }

    /// Legs, one after the other; the last one's final rate then holds.
    ///
    /// # Errors
    /// Where there is no leg or more than [`MAX_LEGS`], a rate is negative or above [`MAX_RATE`], or all are 0.
    pub fn legs(legs: Vec<Leg>) -> Result<Self, WorkloadError> {
        let range = "1 to 1024";
        in_range("the number of legs", legs.len() as f64, 1.0, MAX_LEGS as f64, range)?;
        for rate in legs.iter().flat_map(|leg| [leg.from, leg.to]) {
            in_range("a rate", rate, 0.0, MAX_RATE, "0 to 1,000,000 a second")?;
        }
        let rest = legs.last().map_or(0.0, |leg| leg.to);
        let most = legs.iter().map(|leg| leg.expected(leg.over.as_secs_f64())).fold(rest, f64::max);
        positive(most)?;
        Ok(Self { legs, rest })
    }

    /// Arrivals a second at `time`.
    #[must_use]
    pub fn rate_at(&self, time: Duration) -> f64 {
        let mut left = time;
        for leg in &self.legs {
            if left < leg.over {
                return leg.from + leg.slope() * left.as_secs_f64();
            }
            left -= leg.over;
        }
        self.rest
    }

    /// Arrivals expected up to `time`: the integral of the rate.
    #[must_use]
    pub fn expected(&self, time: Duration) -> f64 {
        let mut left = time;
        let mut count = 0.0;
        for leg in &self.legs {
            if left < leg.over {
                return count + leg.expected(left.as_secs_f64());
            }
            count += leg.expected(leg.over.as_secs_f64());
            left -= leg.over;
        }
        count + self.rest * left.as_secs_f64()
    }

    /// The time up to which `count` arrivals are expected: the inverse of [`Self::expected`].
    ///
    /// `None` where so many never come, because the last rate is 0, or in more than a century.
    #[must_use]
    pub fn time_of(&self, count: f64) -> Option<Duration> {
        let mut left = count;
        let mut start = 0.0;
        for leg in &self.legs {
            let inside = leg.expected(leg.over.as_secs_f64());
            if left <= inside {
                return seconds(start + leg.seconds_to(left));
            }
            left -= inside;
            start += leg.over.as_secs_f64();
        }
        // What is left of a sum that should have come out even.
        let rounding = 1e-12 * count;
        match self.rest {
            rest if rest > 0.0 => seconds(start + left / rest),
            _ if left <= rounding => seconds(start),
            _ => None,
        }
    }
}

fn seconds(value: f64) -> Option<Duration> {
    const CENTURY: f64 = 3.2e9;
    if value < CENTURY { Duration::try_from_secs_f64(value).ok() } else { None }
}

fn positive(rate: f64) -> Result<f64, WorkloadError> {
    in_range("the rate", rate, 1e-6, f64::INFINITY, "above 0 a second")?;
    Ok(rate)
}

impl FromStr for RateProfile {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        const WHAT: &str = "rate";
        let wrong = || {
            let reason = "expected 10, 1..20@60s, or 5@30s,20@30s";
            WorkloadError::spec(WHAT, text, reason)
        };
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
        if let Ok(rate) = number(text) {
            in_range("the rate", rate, 1e-6, MAX_RATE, "above 0, up to 1,000,000 a second")?;
            return Self::flat(rate);
        }
        let leg = |leg: &str| {
            let (rates, over) = leg.split_once('@').ok_or_else(wrong)?;
            let (from, to) = rates.split_once("..").unwrap_or((rates, rates));
            let over = spec::duration(WHAT, over)?;
            Ok(Leg { from: number(from)?, to: number(to)?, over })
        };
        Self::legs(text.split(',').map(leg).collect::<Result<_, WorkloadError>>()?)
    }
}

impl fmt::Display for RateProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.legs.is_empty() {
            return write!(f, "{}", self.rest);
        }
        for (i, leg) in self.legs.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            write!(f, "{}", leg.from)?;
            if leg.from != leg.to {
                write!(f, "..{}", leg.to)?;
            }
            let over = humantime::format_duration(leg.over).to_string();
            write!(f, "@{}", over.replace(' ', ""))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_profile_reads_back_as_it_is_printed() {
        for text in ["10", "0.5", "1..20@1m", "5@30s,20@30s", "5@30s,5..50@2m,0@10s,5@1s500ms"] {
            assert_eq!(text.parse::<RateProfile>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_profile_that_sends_nothing_is_refused() {
        for text in ["0", "-1", "nan", "inf", "2000000", "0@10s", "1..-2@1s", "1@x", "5,6", ""] {
            assert!(text.parse::<RateProfile>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_ramp_from_nothing_expects_the_area_under_it() {
        let ramp: RateProfile = "0..10@10s".parse().unwrap();
        assert!((ramp.expected(Duration::from_secs(10)) - 50.0).abs() < 1e-9);
        assert!((ramp.expected(Duration::from_secs(20)) - 150.0).abs() < 1e-9);
        assert!((ramp.rate_at(Duration::from_secs(5)) - 5.0).abs() < 1e-9);
        assert!((ramp.rate_at(Duration::from_secs(50)) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn arrivals_end_where_the_last_rate_is_zero() {
        let pause: RateProfile = "5@2s,0@1s".parse().unwrap();
        assert_eq!(pause.time_of(10.0), Some(Duration::from_secs(2)));
        assert_eq!(pause.time_of(10.1), None);
    }

    fn legs() -> impl Strategy<Value = RateProfile> {
        let leg = (0.0..50.0, 0.0..50.0, 1u64..100).prop_map(|(from, to, s)| Leg {
            from,
            to,
            over: Duration::from_secs(s),
        });
        (prop::collection::vec(leg, 1..6), 1.0..50.0).prop_map(|(mut legs, rest)| {
            legs.push(Leg { from: rest, to: rest, over: Duration::ZERO });
            RateProfile::legs(legs).unwrap()
        })
    }

    proptest! {
        #[test]
        fn time_of_is_the_inverse_of_expected(profile in legs(), count in 0.0..10_000.0) {
            let time = profile.time_of(count).unwrap();
            // A nanosecond of rounding at the highest rate, and floating point.
            prop_assert!((profile.expected(time) - count).abs() < 1e-5, "{time:?}");
        }
    }
}
