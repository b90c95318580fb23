//! A value over time in a bounded number of points.

use std::time::Duration;

use serde::Serialize;

/// Points that a series has at most.
const MAX_POINTS: usize = 256;
/// Width of the points of a short series: about a millisecond.
const FIRST_WIDTH: u64 = 1 << 20;

/// The time-weighted mean of a value in stretches of equal width.
///
/// Where a series gets too long, neighbours are merged and the width doubles. So its size is bounded, and it depends
/// on nothing but what was added.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    width: u64,
    /// For each stretch the integral of the value over its nanoseconds.
    sums: Vec<f64>,
    /// The largest value that lasted any time.
    max: f64,
}

impl Default for Series {
    fn default() -> Self {
        Self { width: FIRST_WIDTH, sums: Vec::new(), max: 0.0 }
    }
}

impl Series {
    /// The value between two times, in nanoseconds. Where nothing is added, it is 0.
    pub(crate) fn add(&mut self, from: u64, to: u64, value: f64) {
        if from >= to {
            return;
        }
        while (to - 1) / self.width >= MAX_POINTS as u64 {
            self.sums = self.sums.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.width *= 2;
        }
        let (first, last) = ((from / self.width) as usize, ((to - 1) / self.width) as usize);
        if self.sums.len() <= last {
            self.sums.resize(last + 1, 0.0);
        }
        for index in first..=last {
            let start = (index as u64 * self.width).max(from);
            let end = ((index as u64 + 1) * self.width).min(to);
            self.sums[index] += value * (end - start) as f64;
        }
        self.max = self.max.max(value);
    }

    /// How long one point lasts.
    #[must_use]
    pub fn width(&self) -> Duration {
        Duration::from_nanos(self.width)
    }

    /// The mean over each stretch, from the start of the fleet on.
    pub fn means(&self) -> impl Iterator<Item = f64> {
        self.sums.iter().map(|sum| sum / self.width as f64)
    }

    /// The mean over the first `span`.
    #[must_use]
    pub fn mean_over(&self, span: Duration) -> f64 {
        let total: f64 = self.sums.iter().sum();
        if span.is_zero() { 0.0 } else { total / span.as_nanos() as f64 }
    }

    /// The largest value that lasted any time.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.max
    }
}

/// As `{"width_ms", "max", "means"}`.
impl Serialize for Series {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Points {
            width_ms: f64,
            max: f64,
            means: Vec<f64>,
        }
        let width_ms = self.width as f64 / 1e6;
        Points { width_ms, max: self.max, means: self.means().collect() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_series_stays_short_and_keeps_its_integral(
            stretches in prop::collection::vec((0u64..1 << 34, 0u64..1 << 30, 0u32..100), 1..60),
        ) {
            let mut series = Series::default();
            let (mut integral, mut end) = (0.0, 0);
            for (from, length, value) in stretches {
                series.add(from, from + length, f64::from(value));
                integral += length as f64 * f64::from(value);
                end = end.max(from + length);
            }
            prop_assert!(series.means().count() <= MAX_POINTS);
            let mean = series.mean_over(Duration::from_nanos(end));
            prop_assert!((mean * end as f64 - integral).abs() <= 1e-9 * integral.max(1.0));
        }
    }
}
