//! What a fleet did: each request, each replica, and the figures that people compare.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::request::ms;
use crate::{Limit, RequestRecord, Series, Slo};

/// All that was recorded in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// From the start to the last event.
    pub duration: Duration,
    /// All requests in the order of their arrivals.
    pub requests: Vec<RequestRecord>,
    /// By index.
    pub replicas: Vec<ReplicaReport>,
    /// Gaps between tokens of all requests, in nanoseconds, to three digits.
    pub itl: Histogram<u64>,
}

/// What one replica did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReplicaReport {
    /// Steps that ran something.
    pub steps: u64,
    /// Time within steps.
    #[serde(rename = "busy_ms", serialize_with = "ms")]
    pub busy: Duration,
    /// Tokens fed by sequences in prefill, recomputed ones included.
    pub prefill_tokens: u64,
    /// Tokens fed by sequences in decode.
    pub decode_tokens: u64,
    /// Sequences that lost their blocks.
    pub preemptions: u64,
    /// Prompt tokens that the prefix cache was asked for.
    pub prefix_queries: u64,
    /// Tokens of those that it had.
    pub prefix_hits: u64,
    /// Steps by what bound them.
    pub bound_by: BTreeMap<Limit, u64>,
    /// Part of the KV blocks that is in use, over time.
    pub kv_use: Series,
    /// Sequences that hold a place, over time.
    pub running: Series,
    /// Sequences that wait, over time.
    pub waiting: Series,
}

/// One latency over all requests that have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many have it.
    pub count: u64,
    /// The mean.
    #[serde(rename = "mean_ms", serialize_with = "ms")]
    pub mean: Duration,
    /// Half are at or below.
    #[serde(rename = "p50_ms", serialize_with = "ms")]
    pub p50: Duration,
    /// 90 % are at or below.
    #[serde(rename = "p90_ms", serialize_with = "ms")]
    pub p90: Duration,
    /// 99 % are at or below.
    #[serde(rename = "p99_ms", serialize_with = "ms")]
    pub p99: Duration,
    /// The largest.
    #[serde(rename = "max_ms", serialize_with = "ms")]
    pub max: Duration,
}

/// A run in a few figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// From the start to the last event.
    #[serde(rename = "duration_ms", serialize_with = "ms")]
    pub duration: Duration,
    /// Requests by how they ended.
    pub requests: BTreeMap<&'static str, u64>,
    /// Time to the first token.
    pub ttft: Spread,
    /// Time for each further token, a mean for each request.
    pub tpot: Spread,
    /// Gaps between tokens, to three digits.
    pub itl: Spread,
    /// To the last token, of successful requests.
    pub e2e: Spread,
    /// Before the first place in a step.
    pub queue: Spread,
    /// Successful requests a second.
    pub requests_per_s: f64,
    /// Prompt tokens of successful requests a second.
    pub prompt_tokens_per_s: f64,
    /// Tokens generated a second.
    pub output_tokens_per_s: f64,
    /// What was asked for.
    pub slo: Slo,
    /// Requests a second that met the SLO.
    pub goodput_per_s: f64,
    /// Part of all requests that met the SLO.
    pub slo_attainment: f64,
    /// Preemptions on all replicas.
    pub preemptions: u64,
    /// Steps on all replicas.
    pub steps: u64,
    /// Part of all steps that each limit bound.
    pub bound_by: BTreeMap<Limit, f64>,
    /// Part of the time that a replica is in a step, on average.
    pub busy: f64,
    /// Part of the KV blocks in use: the mean over time and replicas.
    pub kv_use_mean: f64,
    /// Part of the KV blocks in use: the largest on any replica.
    pub kv_use_max: f64,
    /// Part of the looked up prompt tokens that the prefix cache had; 0 without a look-up.
    pub prefix_hit_rate: f64,
}

impl Report {
    /// The figures that people compare.
    #[must_use]
    pub fn summary(&self, slo: &Slo) -> Summary {
        let seconds = self.duration.as_secs_f64();
        let rate = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        let part = |count: f64, of: f64| if of > 0.0 { count / of } else { 0.0 };
        let spread = |of: fn(&RequestRecord) -> Option<Duration>| {
            Spread::of(self.requests.iter().filter_map(of).collect())
        };
        let successes = || self.requests.iter().filter(|request| request.outcome.is_success());
        let good = self.requests.iter().filter(|request| slo.is_met(request)).count() as f64;
        let total = |of: fn(&ReplicaReport) -> f64| self.replicas.iter().map(of).sum::<f64>();
        let replicas = self.replicas.len() as f64;
        let steps: u64 = self.replicas.iter().map(|replica| replica.steps).sum();
        let kv_use = self.replicas.iter().map(|replica| replica.kv_use.mean_over(self.duration));
        Summary {
            duration: self.duration,
            requests: self.by_outcome(),
            ttft: spread(|request| request.ttft),
            tpot: spread(|request| request.tpot),
            itl: Spread::of_histogram(&self.itl),
            e2e: spread(|request| request.e2e.filter(|_| request.outcome.is_success())),
            queue: spread(|request| request.queue),
            requests_per_s: rate(successes().count() as f64),
            prompt_tokens_per_s: rate(successes().map(|r| r.prompt_tokens as f64).sum()),
            output_tokens_per_s: rate(
                self.requests.iter().map(|request| request.generated_tokens as f64).sum(),
            ),
            slo: *slo,
            goodput_per_s: rate(good),
            slo_attainment: part(good, self.requests.len() as f64),
            preemptions: self.replicas.iter().map(|replica| replica.preemptions).sum(),
            steps,
            bound_by: self
                .bound_by()
                .map(|(limit, n)| (limit, part(n as f64, steps as f64)))
                .collect(),
            busy: part(total(|replica| replica.busy.as_secs_f64()), seconds * replicas),
            kv_use_mean: part(kv_use.sum(), replicas),
            kv_use_max: self.replicas.iter().map(|r| r.kv_use.max()).fold(0.0, f64::max),
            prefix_hit_rate: part(
                total(|replica| replica.prefix_hits as f64),
                total(|replica| replica.prefix_queries as f64),
            ),
        }
    }

    fn by_outcome(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for request in &self.requests {
            *counts.entry(request.outcome.as_str()).or_default() += 1;
        }
        counts
    }

    /// Steps of all replicas by what bound them.
    fn bound_by(&self) -> impl Iterator<Item = (Limit, u64)> {
        let mut counts = BTreeMap::new();
        for (limit, count) in self.replicas.iter().flat_map(|replica| &replica.bound_by) {
            *counts.entry(*limit).or_default() += count;
        }
        counts.into_iter()
    }
}

impl Spread {
    /// Exact: by nearest rank over the sorted values.
    fn of(mut values: Vec<Duration>) -> Self {
        values.sort_unstable();
        let Some(&max) = values.last() else { return Self::default() };
        let rank = |q: f64| values[((q * values.len() as f64).ceil() as usize).max(1) - 1];
        let sum: u128 = values.iter().map(Duration::as_nanos).sum();
        let mean = Duration::from_nanos((sum / values.len() as u128) as u64);
        let count = values.len() as u64;
        Self { count, mean, p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max }
    }

    fn of_histogram(values: &Histogram<u64>) -> Self {
        let rank = |q| Duration::from_nanos(values.value_at_quantile(q));
        Self {
            count: values.len(),
            mean: Duration::from_nanos(values.mean() as u64),
            p50: rank(0.5),
            p90: rank(0.9),
            p99: rank(0.99),
            max: Duration::from_nanos(values.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_by_nearest_rank() {
        let values = (1..=200).rev().map(Duration::from_millis).collect();
        let spread = Spread::of(values);
        let ms = |time: Duration| time.as_millis();
        assert_eq!((ms(spread.p50), ms(spread.p90), ms(spread.p99)), (100, 180, 198));
        assert_eq!(
            (ms(spread.max), spread.mean, spread.count),
            (200, Duration::from_micros(100_500), 200)
        );
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }
}
