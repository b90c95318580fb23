//! Task 1.2, metrics that do not lie: a histogram as Prometheus stores it, and what can be read
//! back out of it.
//!
//! Values are plain numbers; for latencies they are seconds, as everywhere in Prometheus. What is
//! stored is a count for each bucket, so a quantile is an estimate, and its error is the choice of
//! the buckets.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Bounds that make no histogram.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BucketError {
    /// No finite bucket at all.
    #[error("a histogram needs at least one bound")]
    Empty,
    /// Bounds must rise.
    #[error("bounds must be finite and rise: {next} comes after {bound}")]
    NotRising {
        /// A bound.
        bound: f64,
        /// The one after it.
        next: f64,
    },
    /// An SLO, a range or an error that no buckets can be chosen for.
    #[error("{what} must be positive, got {value}")]
    NotPositive {
        /// Which argument.
        what: &'static str,
        /// What it was.
        value: f64,
    },
    /// The precision asked for costs more buckets than allowed.
    #[error("more than {limit} buckets needed: allow a larger error or a smaller range")]
    TooMany {
        /// The most that were allowed.
        limit: usize,
    },
}

/// Counts observations in buckets.
///
/// Bucket `i` holds the observations above `bounds[i - 1]` and at or below `bounds[i]`: Prometheus'
/// label is `le`, less or *equal*. One more bucket, `+Inf`, holds what is above the last bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bounds: Vec<f64>,
    /// Observations in each bucket, not cumulative; one longer than `bounds`.
    counts: Vec<u64>,
    sum: f64,
}

/// An interval that certainly holds the value asked for, and all that the histogram knows about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bracket {
    /// The value is above this (for the first bucket of a positive quantity: at or above 0).
    pub above: f64,
    /// The value is at or below this; infinite in the `+Inf` bucket.
    pub at_most: f64,
}

impl Histogram {
    /// An empty histogram. The `+Inf` bucket is added, do not pass it.
    ///
    /// # Errors
    /// [`BucketError::Empty`] and [`BucketError::NotRising`].
    pub fn try_new(bounds: &[f64]) -> Result<Self, BucketError> {
        let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else {
            return Err(BucketError::Empty);
        };
        for pair in bounds.windows(2) {
            if pair[0].partial_cmp(&pair[1]) != Some(std::cmp::Ordering::Less) {
                return Err(BucketError::NotRising { bound: pair[0], next: pair[1] });
            }
        }
        if !first.is_finite() || !last.is_finite() {
            return Err(BucketError::NotRising { bound: *first, next: *last });
        }
        Ok(Self { bounds: bounds.to_vec(), counts: vec![0; bounds.len() + 1], sum: 0.0 })
    }

    /// The upper bounds of the finite buckets.
    #[must_use]
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// How many observations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Counts one value, which is not NaN.
    pub fn observe(&mut self, value: f64) {
        // Add 1 to the count of the one bucket that holds `value` (`le` is less or *equal*; the
        // last count is the `+Inf` bucket's), and add `value` to the sum.
        // ANCHOR: task_1_2_observe
        todo!("task 1.2")
        // ANCHOR_END: task_1_2_observe
    }

    /// Observations at or below each bound, and last of all: what Prometheus stores and scrapes.
    #[must_use]
    pub fn cumulative(&self) -> Vec<u64> {
        // Element `i` is the sum of `counts[0..=i]`; as long as `counts`, so the last one is
        // `count()`.
        // ANCHOR: task_1_2_cumulative
        todo!("task 1.2")
        // ANCHOR_END: task_1_2_cumulative
    }

    /// The `q`-quantile as PromQL's `histogram_quantile` estimates it.
    ///
    /// NaN for an empty histogram and for a NaN `q`, minus infinity for `q < 0`, plus infinity for
    /// `q > 1`.
    ///
    /// Source:
    /// <https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile> and
    /// `bucketQuantile` in `promql/quantile.go` of Prometheus.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        if q.is_nan() || self.count() == 0 {
            return f64::NAN;
        }
        if !(0.0..=1.0).contains(&q) {
            return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        let cumulative = self.cumulative();

        // The rank looked for is `q * count`, a fraction: do not round it.
        // 1. The bucket is the first whose cumulative count is at least the rank.
        // 2. In the `+Inf` bucket there is nothing to interpolate to: the answer is the last finite
        //    bound.
        // 3. A bucket starts where the one before it ends. The first starts at 0 if its bound is
        //    positive; if its bound is 0 or less, the answer is that bound.
        // 4. Observations are taken to be spread evenly: go from the start of the bucket towards
        //    its end by the share of *its own* observations that the rank asks for.
        // ANCHOR: task_1_2_quantile
        todo!("task 1.2")
        // ANCHOR_END: task_1_2_quantile
    }

    /// Where the true `q`-quantile lies: the bucket of the observation that has rank `q * count`,
    /// rounded up, and at least 1. `None` for an empty histogram and for a `q` outside 0 to 1.
    ///
    /// [`quantile`](Self::quantile) answers with one number and hides how little it knows. This
    /// does not.
    #[must_use]
    pub fn bracket(&self, q: f64) -> Option<Bracket> {
        if self.count() == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let cumulative = self.cumulative();

        // Find the bucket as `quantile` does, but for a rank of at least 1, and answer with its
        // edges. Below the first bound lies 0 if the bound is positive, else minus infinity; above
        // the last, plus infinity.
        // ANCHOR: task_1_2_bracket
        todo!("task 1.2")
        // ANCHOR_END: task_1_2_bracket
    }

    /// The share of observations at or below `value`, if the histogram knows it: only at one of its
    /// bounds. `None` elsewhere, and for an empty histogram.
    #[must_use]
    pub fn share_within(&self, value: f64) -> Option<f64> {
        let bucket = self.bounds.iter().position(|bound| *bound == value)?;
        let count = self.count();
        (count > 0).then(|| self.cumulative()[bucket] as f64 / count as f64)
    }
}

impl Bracket {
    /// By how much an estimate somewhere in the bracket can be wrong, as a share of the true value:
    /// 0.1 is 10 %. Infinite where the bracket reaches down to 0 or up to infinity.
    #[must_use]
    pub fn max_relative_error(&self) -> f64 {
        if self.above > 0.0 { (self.at_most - self.above) / self.above } else { f64::INFINITY }
    }
}

/// Chooses bucket bounds, in seconds, for latencies that have an SLO.
///
/// - The SLO itself is one of the bounds, to the last bit, so that the share of requests within it
///   is a count and not an estimate.
/// - For every value within `range`, ends included, the bracket that holds it has a relative error
///   of at most `max_relative_error` (up to rounding).
/// - There are at most `limit` bounds: every bucket is a time series for every label set, scraped
///   for ever.
///
/// # Errors
/// [`BucketError::NotPositive`] for an argument that is zero, negative or not finite,
/// [`BucketError::TooMany`] where the error asked for needs more than `limit` bounds.
pub fn buckets_for_slo(
    slo: Duration,
    range: RangeInclusive<Duration>,
    max_relative_error: f64,
    limit: usize,
) -> Result<Vec<f64>, BucketError> {
    let slo = positive("slo", slo.as_secs_f64())?;
    let fastest = positive("range", range.start().as_secs_f64())?;
    let slowest = positive("range", range.end().as_secs_f64())?;
    let growth = 1.0 + positive("max_relative_error", max_relative_error)?;

    // A bracket from `a` to `b` has the relative error `(b - a) / a`, so neighbouring bounds may
    // differ by the factor `growth` and no more. Start with the SLO and grow the list at both ends
    // by that factor:
    // - downwards until the first bound is *below* `fastest` (at it, `fastest` would fall into the
    //   first bucket, which reaches down to 0),
    // - upwards until the last bound is at or above `slowest`.
    // Give up with `TooMany` as soon as there are more than `limit`.
    // ANCHOR: task_1_2_buckets
    todo!("task 1.2")
    // ANCHOR_END: task_1_2_buckets
}

/// Refuses what is not a positive, finite number.
fn positive(what: &'static str, value: f64) -> Result<f64, BucketError> {
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(BucketError::NotPositive { what, value })
    }
}
