//! What the data plane counts, and the page that says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::exposition::{MetricFamily, MetricKind};
use routing::Counts;

/// Upper bounds of the buckets of the time to the first byte, in seconds.
const BOUNDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0,
];
/// Statuses from 100 to 599.
const STATUSES: usize = 500;

/// Counters of all threads.
#[derive(Debug)]
pub(crate) struct Metrics {
    statuses: [AtomicU64; STATUSES],
    cut_off: AtomicU64,
    clients_gone: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
    pub(crate) connections: AtomicU64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            statuses: [const { AtomicU64::new(0) }; STATUSES],
            cut_off: AtomicU64::new(0),
            clients_gone: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            sum_us: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    /// A client got an answer with this status, or its beginning.
    pub(crate) fn answered(&self, status: u16) {
        let at = usize::from(status).saturating_sub(100).min(STATUSES - 1);
        self.statuses[at].fetch_add(1, Ordering::Relaxed);
    }

    /// An answer was ended before its end.
    pub(crate) fn was_cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }

    /// A client hung up before the end of its answer.
    pub(crate) fn client_gone(&self) {
        self.clients_gone.fetch_add(1, Ordering::Relaxed);
    }

    /// The first byte of an answer came, so long after the request was complete.
    pub(crate) fn first_byte(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The page, in Prometheus' text format.
    pub(crate) fn page(&self, counts: &Counts) -> String {
        let mut page = String::new();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let mut requests = family(
            "llm_router_requests_total",
            "Requests that were answered, by status.",
            MetricKind::Counter,
        );
        for (at, count) in self.statuses.iter().enumerate() {
            if load(count) > 0.0 {
                requests.add(vec![("code".into(), (at + 100).to_string())], load(count));
            }
        }
        page.push_str(&requests.to_string());
        let counters = [
            ("cut_off_total", "Answers that were ended before their end.", load(&self.cut_off)),
            (
                "clients_gone_total",
                "Clients that hung up before the end of their answer.",
                load(&self.clients_gone),
            ),
            ("retries_total", "Attempts that followed on a failed one.", counts.retries as f64),
            (
                "retries_denied_total",
                "Failed attempts without another, for want of budget.",
                counts.retries_denied as f64,
            ),
            ("hedges_total", "Second attempts beside a slow first one.", counts.hedges as f64),
            ("hedges_won_total", "Hedges that became the answer.", counts.hedges_won as f64),
            ("ejections_total", "Endpoints that were ejected.", counts.ejections as f64),
        ];
        let gauges = [
            ("queue_depth", "Requests that wait for their turn.", f64::from(counts.queued)),
            ("in_flight", "Attempts under way.", f64::from(counts.in_flight)),
            ("endpoints_ready", "Endpoints that are ready.", f64::from(counts.ready)),
            ("endpoints_ejected", "Ready endpoints that are ejected.", f64::from(counts.ejected)),
            ("connections", "Connections of clients.", load(&self.connections)),
        ];
        let both = counters.map(|entry| (entry, MetricKind::Counter)).into_iter();
        for ((name, help, value), kind) in
            both.chain(gauges.map(|entry| (entry, MetricKind::Gauge)))
        {
            let mut family = family(&format!("llm_router_{name}"), help, kind);
            family.add(Vec::new(), value);
            page.push_str(&family.to_string());
        }
        page.push_str(&self.first_byte_family().to_string());
        page
    }

    fn first_byte_family(&self) -> MetricFamily {
        let mut family = family(
            "llm_router_time_to_first_byte_seconds",
            "From a complete request to the first byte of its answer.",
            MetricKind::Histogram,
        );
        let mut total = 0;
        let mut cumulative = self.buckets.iter().map(|bucket| {
            total += bucket.load(Ordering::Relaxed);
            total
        });
        let within: Vec<u64> = cumulative.by_ref().take(BOUNDS.len()).collect();
        let count = cumulative.next().unwrap_or(0);
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        family.add_histogram(&Vec::new(), &BOUNDS, &within, sum, count);
        family
    }
}

fn family(name: &str, help: &str, kind: MetricKind) -> MetricFamily {
    MetricFamily { name: name.to_owned(), help: help.to_owned(), kind, samples: Vec::new() }
}

#[cfg(test)]
mod tests {
    use protocol::scrape::Page;

    use super::*;

    #[test]
    fn the_page_says_what_was_counted() {
        let metrics = Metrics::new();
        metrics.answered(200);
        metrics.answered(200);
        metrics.answered(429);
        metrics.first_byte(Duration::from_millis(3));
        metrics.first_byte(Duration::from_secs(1000));
        let page = metrics.page(&Counts { retries: 3, queued: 2, ..Counts::default() });
        let page = Page::parse(&page).unwrap();
        assert_eq!(page.total("llm_router_requests_total"), Some(3.0));
        assert_eq!(page.total("llm_router_retries_total"), Some(3.0));
        assert_eq!(page.total("llm_router_queue_depth"), Some(2.0));
        let buckets = page.buckets("llm_router_time_to_first_byte_seconds");
        assert_eq!((buckets[1].1, buckets[2].1, buckets[16].1), (0.0, 1.0, 2.0));
    }
}
