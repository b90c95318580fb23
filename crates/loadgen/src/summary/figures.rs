//! A distribution of latencies, kept in a histogram of high dynamic range.
//!
//! Three significant digits at any magnitude (Tene, "HdrHistogram"): an error of a tenth of a percent, in a fixed
//! size however many values there are.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency, in microseconds. Twice [`crate::plan::MAX_TIMEOUT`]: lateness comes on top.
const MAX_US: u64 = 2 * 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are the field's own")]
pub struct Figures {
    pub count: u64,
    pub mean: f64,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Collects latencies.
#[derive(Debug, Clone)]
pub(crate) struct Latency {
    histogram: Option<Histogram<u64>>,
}

impl Latency {
    pub(crate) fn new() -> Self {
        // These bounds are valid; without a histogram nothing would be measured, and figures would say so.
        Self { histogram: Histogram::new_with_bounds(1, MAX_US, SIGNIFICANT_DIGITS).ok() }
    }

    pub(crate) fn add(&mut self, latency: Option<Duration>) {
        if let (Some(histogram), Some(latency)) = (&mut self.histogram, latency) {
            let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            histogram.saturating_record(us);
        }
    }

    pub(crate) fn figures(&self) -> Option<Figures> {
        let histogram = self.histogram.as_ref().filter(|histogram| !histogram.is_empty())?;
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Some(Figures {
            count: histogram.len(),
            mean: histogram.mean() / 1000.0,
            min: histogram.min() as f64 / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        })
    }

    /// The distribution function at `steps` evenly spaced shares, and in its tail.
    pub(crate) fn distribution(&self, steps: u32) -> Vec<(f64, f64)> {
        let Some(histogram) = self.histogram.as_ref().filter(|h| !h.is_empty()) else {
            return Vec::new();
        };
        let even = (0..steps).map(|step| f64::from(step) / f64::from(steps));
        even.chain([0.995, 0.999, 1.0])
            .map(|share| (histogram.value_at_quantile(share) as f64 / 1000.0, share))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_measured_is_told_from_zero() {
        let mut latency = Latency::new();
        assert_eq!(latency.figures(), None);
        latency.add(None);
        assert_eq!(latency.figures(), None);
        latency.add(Some(Duration::ZERO));
        assert_eq!(latency.figures().map(|figures| (figures.count, figures.max)), Some((1, 0.0)));
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_values(
            mut values in prop::collection::vec(0u64..4_000_000_000, 1..300),
        ) {
            let mut latency = Latency::new();
            values.iter().for_each(|us| latency.add(Some(Duration::from_micros(*us))));
            values.sort_unstable();
            let figures = latency.figures().unwrap();
            for (share, seen) in [(0.5, figures.p50), (0.9, figures.p90), (0.99, figures.p99)] {
                let rank = (share * values.len() as f64).ceil() as usize;
                let exact = values[rank.max(1) - 1] as f64 / 1000.0;
                prop_assert!((seen - exact).abs() <= 0.002 + exact * 0.001, "{seen} {exact}");
            }
        }
    }
}
