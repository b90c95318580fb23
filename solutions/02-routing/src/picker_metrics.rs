//! What an endpoint picker counts, and the page that says so. Knows no transport and no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use endpoint_picker::Refusal;
use protocol::exposition::{MetricFamily, MetricKind};
use routing::Policy;

use crate::pool_picker::PoolPicker;

/// Upper bounds of the buckets of a time, in seconds: a choice takes microseconds, the wait for a long body seconds.
pub const BOUNDS: [f64; 14] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0, 5.0];
/// Priorities that have a label of their own. Objectives are written by people, and there are few; the rest share a label.
pub const PRIORITIES: usize = 32;

/// What became of a request at the picker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It has an endpoint.
    Picked,
    /// 429: it can wait, and everyone has enough to do.
    Shed,
    /// 503: there is nobody who may have it.
    NoneReady,
    /// 413.
    TooLong,
}

// === impl Outcome ===

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Picked => "picked",
            Self::Shed => "shed",
            Self::NoneReady => "none_ready",
            Self::TooLong => "too_long",
        }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoneReady => Self::NoneReady,
            Refusal::Shed { .. } => Self::Shed,
            Refusal::TooLong => Self::TooLong,
        }
    }
}

/// Times, by bucket.
#[derive(Debug, Clone, Default)]
pub struct Times {
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

// === impl Times ===

impl Times {
    /// One more.
    pub fn took(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.buckets[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// As a family.
    #[must_use]
    pub fn family(&self, name: &str, help: &str) -> MetricFamily {
        let mut family = family(name, help, MetricKind::Histogram);
        let mut total = 0;
        let mut cumulative = self.buckets.iter().map(|bucket| {
            total += bucket;
            total
        });
        let within: Vec<u64> = cumulative.by_ref().take(BOUNDS.len()).collect();
        let count = cumulative.next().unwrap_or(0);
        family.add_histogram(&Vec::new(), &BOUNDS, &within, self.sum.as_secs_f64(), count);
        family
    }
}

/// The counters of a picker.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    requests: BTreeMap<(Option<i32>, Outcome), u64>,
    decisions: Times,
    moved: u64,
}

// === impl Tally ===

impl Tally {
    /// A request of this priority was decided, so long after its headers came.
    pub fn decided(&mut self, priority: i32, outcome: Outcome, waited: Duration) {
        let mut known: Vec<i32> = self.requests.keys().filter_map(|(known, _)| *known).collect();
        known.dedup();
        let own = known.contains(&priority) || known.len() < PRIORITIES;
        *self.requests.entry((own.then_some(priority), outcome)).or_default() += 1;
        self.decisions.took(waited);
    }

    /// The proxy went on to another endpoint than the one that was picked.
    pub fn moved(&mut self) {
        self.moved += 1;
    }

    /// Requests with this outcome, over all priorities.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.requests.iter().filter(|((_, each), _)| *each == outcome).map(|(_, n)| n).sum()
    }
}

/// The page, in Prometheus' text format. `now` is on the clock of the scrapes.
#[must_use]
pub fn page<P: Policy>(picker: &PoolPicker<P>, now: Duration) -> String {
    let tally = picker.tally();
    let mut requests = family(
        "llm_picker_requests_total",
        "Requests that were decided, by outcome and by the priority of their objective.",
        MetricKind::Counter,
    );
    for ((priority, outcome), count) in &tally.requests {
        let priority = priority.map_or_else(|| "other".to_owned(), |p| p.to_string());
        let labels =
            vec![("outcome".into(), outcome.label().into()), ("priority".into(), priority)];
        requests.add(labels, *count as f64);
    }
    let mut ages = family(
        "llm_picker_scrape_age_seconds",
        "Since a ready endpoint last said how it is; missing where it never did.",
        MetricKind::Gauge,
    );
    let mut flying = family(
        "llm_picker_in_flight",
        "Requests that were sent to an endpoint and have not ended.",
        MetricKind::Gauge,
    );
    for replica in picker.table().replicas() {
        let labels = vec![("endpoint".to_owned(), replica.seen.address.to_string())];
        flying.add(labels.clone(), f64::from(picker.in_flight(replica.id)));
        let scrape = picker.scrape(replica.id);
        if let Some(scrape) = scrape.filter(|_| replica.seen.state == crate::slices::State::Ready) {
            ages.add(labels, scrape.age(now).as_secs_f64());
        }
    }
    let ready = picker.table().ready().count() as f64;
    let synced = f64::from(u8::from(picker.table().is_synced()));
    let single = |name: &str, help: &str, kind, value| {
        let mut family = family(name, help, kind);
        family.add(Vec::new(), value);
        family
    };
    let (counter, gauge) = (MetricKind::Counter, MetricKind::Gauge);
    let moved = "Answers of another endpoint than the one that was picked first.";
    let families = [
        requests,
        tally.decisions.family(
            "llm_picker_decision_seconds",
            "From a request's headers to its decision, the wait for its body included.",
        ),
        single("llm_picker_moved_total", moved, counter, tally.moved as f64),
        single("llm_picker_endpoints_ready", "Endpoints that may be picked.", gauge, ready),
        single("llm_picker_synced", "1 once the endpoints have been listed.", gauge, synced),
        flying,
        ages,
    ];
    families.iter().map(ToString::to_string).collect()
}

fn family(name: &str, help: &str, kind: MetricKind) -> MetricFamily {
    MetricFamily { name: name.to_owned(), help: help.to_owned(), kind, samples: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_have_labels_as_long_as_there_are_few() {
        let mut tally = Tally::default();
        for priority in 0..1000 {
            tally.decided(priority, Outcome::Picked, Duration::from_micros(20));
            tally.decided(priority, Outcome::Shed, Duration::from_micros(20));
        }
        assert_eq!(tally.requests.len(), 2 * (PRIORITIES + 1));
        assert_eq!((tally.count(Outcome::Picked), tally.count(Outcome::Shed)), (1000, 1000));
    }
}
