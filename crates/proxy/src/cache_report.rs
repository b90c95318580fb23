//! What endpoints told of their KV caches: how full they are, and how fast what is in them changes. Pure.
//!
//! A router sees text, and a publisher tells of tokens: which prompts the blocks are of is not known here. That a cache is empty is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kv_events::{Loss, Update};
use protocol::exposition::{MetricFamily, MetricKind};
use routing::{EndpointId, KvEvent};

/// Why a cache is believed to be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// The endpoint says so.
    Cleared,
    /// Batches were missed: one may have said so.
    Gap,
    /// The connection ended: perhaps the engine did.
    Connection,
}

impl Why {
    const ALL: [Self; 3] = [Self::Cleared, Self::Gap, Self::Connection];

    fn kind(self) -> &'static str {
        match self {
            Self::Cleared => "cleared",
            Self::Gap => "gap",
            Self::Connection => "connection",
        }
    }
}

/// Of all endpoints.
#[derive(Debug, Default)]
pub struct CacheReport {
    told: BTreeMap<EndpointId, Told>,
    emptied: BTreeMap<Why, u64>,
    unreadable: u64,
}

/// Of one.
#[derive(Debug)]
struct Told {
    address: SocketAddr,
    joined: bool,
    stored: u64,
    removed: u64,
    /// Stored and not removed since the cache was last empty, or the publisher last joined.
    held: u64,
}

// === impl CacheReport ===

impl CacheReport {
    /// Somebody listens to it from now on.
    pub(crate) fn add(&mut self, endpoint: EndpointId, address: SocketAddr) {
        let told = Told { address, joined: false, stored: 0, removed: 0, held: 0 };
        self.told.insert(endpoint, told);
    }

    /// Nobody does any more.
    pub(crate) fn remove(&mut self, endpoint: EndpointId) {
        self.told.remove(&endpoint);
    }

    /// Counts an update. Whether what was believed of the endpoint's cache is to be forgotten.
    pub(crate) fn take(&mut self, endpoint: EndpointId, update: &Update) -> bool {
        let Some(told) = self.told.get_mut(&endpoint) else { return false };
        let mut emptied = Vec::new();
        match update {
            Update::Joined => told.joined = true,
            Update::Away(_) => {}
            Update::Unreadable(_) => self.unreadable += 1,
            Update::Lost(Loss::Gap { .. }) => emptied.push(Why::Gap),
            Update::Lost(Loss::Connection(_)) => {
                told.joined = false;
                emptied.push(Why::Connection);
            }
            Update::Batch(batch) => {
                for event in batch.events.iter().map(|told| &told.event) {
                    match event {
                        KvEvent::Stored { blocks, .. } => told.stored(blocks.len() as u64),
                        KvEvent::Removed { blocks } => told.removed(blocks.len() as u64),
                        KvEvent::Cleared => {
                            told.held = 0;
                            emptied.push(Why::Cleared);
                        }
                    }
                }
            }
        }
        if matches!(update, Update::Lost(_)) {
            told.held = 0;
        }
        for why in &emptied {
            *self.emptied.entry(*why).or_default() += 1;
        }
        !emptied.is_empty()
    }

    /// The metrics of `whose` process, which their names begin with: `llm_router`.
    #[must_use]
    pub fn families(&self, whose: &str) -> Vec<MetricFamily> {
        let family = |name, help, kind| family(whose, name, help, kind);
        // Two members may have one address while one follows on the other: one line for both.
        let told: BTreeMap<_, _> = self.told.values().map(|told| (told.address, told)).collect();
        let of_each = |name, help, kind, value: fn(&Told) -> u64| {
            let mut family = family(name, help, kind);
            for (address, told) in &told {
                let label = ("endpoint".to_owned(), address.to_string());
                family.add(vec![label], value(told) as f64);
            }
            family
        };
        let (counter, gauge) = (MetricKind::Counter, MetricKind::Gauge);
        let mut emptied = family(
            "emptied_total",
            "How often a KV cache was believed to be empty, by why: cleared, gap (batches were missed), connection (it ended).",
            counter,
        );
        for why in Why::ALL {
            let label = ("why".to_owned(), why.kind().to_owned());
            emptied.add(vec![label], self.emptied.get(&why).copied().unwrap_or(0) as f64);
        }
        let mut unreadable =
            family("unreadable_total", "Messages of KV events that cannot be read.", counter);
        unreadable.add(Vec::new(), self.unreadable as f64);
        vec![
            of_each("joined", "Whether KV events are heard.", gauge, |told| told.joined.into()),
            of_each("stored_blocks_total", "Blocks that it stored.", counter, |told| told.stored),
            of_each("removed_blocks_total", "Blocks that it removed.", counter, |told| {
                told.removed
            }),
            of_each(
                "blocks",
                "Blocks stored and not removed since its cache was last empty or first heard of, on all media.",
                gauge,
                |told| told.held,
            ),
            emptied,
            unreadable,
        ]
    }
}

impl Told {
    fn stored(&mut self, blocks: u64) {
        self.stored += blocks;
        self.held += blocks;
    }

    /// Also blocks of which it told nobody here when it stored them.
    fn removed(&mut self, blocks: u64) {
        self.removed += blocks;
        self.held = self.held.saturating_sub(blocks);
    }
}

fn family(whose: &str, name: &str, help: &str, kind: MetricKind) -> MetricFamily {
    let name = format!("{whose}_kv_{name}");
    MetricFamily { name, help: help.to_owned(), kind, samples: Vec::new() }
}

#[cfg(test)]
mod tests {
    use kv_events::{Batch, ConnectionError};
    use protocol::scrape::Page;
    use routing::KvBlock;

    use super::*;

    const ENDPOINT: EndpointId = EndpointId(3);

    fn report() -> CacheReport {
        let mut report = CacheReport::default();
        report.add(ENDPOINT, "10.0.0.1:8000".parse().unwrap());
        report
    }

    fn batch(events: Vec<KvEvent>) -> Update {
        let told = events.into_iter().map(|event| kv_events::Told { event, plain: true });
        Update::Batch(Batch { at: 1.0, events: told.collect(), unknown: 0, rank: None })
    }

    fn stored(count: u64) -> KvEvent {
        let blocks = (0..count).map(KvBlock).collect();
        KvEvent::Stored { blocks, parent: None, tokens: Vec::new(), block_size: 16 }
    }

    fn removed(count: u64) -> KvEvent {
        KvEvent::Removed { blocks: (0..count).map(KvBlock).collect() }
    }

    fn value(report: &CacheReport, name: &str) -> f64 {
        let page: String = report.families("llm_router").iter().map(ToString::to_string).collect();
        Page::parse(&page).unwrap().total(&format!("llm_router_kv_{name}")).unwrap()
    }

    #[test]
    fn blocks_are_counted_as_they_come_and_go() {
        let mut report = report();
        assert!(!report.take(ENDPOINT, &Update::Joined));
        assert!(!report.take(ENDPOINT, &batch(vec![removed(4), stored(10), removed(3)])));
        assert_eq!(value(&report, "joined"), 1.0);
        assert_eq!(value(&report, "stored_blocks_total"), 10.0);
        assert_eq!(value(&report, "removed_blocks_total"), 7.0);
        assert_eq!(value(&report, "blocks"), 7.0, "four were stored before anybody listened");
    }

    #[test]
    fn a_cache_is_believed_empty_when_it_says_so_or_may_have() {
        let mut report = report();
        assert!(report.take(ENDPOINT, &batch(vec![stored(5), KvEvent::Cleared, stored(2)])));
        assert_eq!(value(&report, "blocks"), 2.0);
        assert!(report.take(ENDPOINT, &Update::Lost(Loss::Gap { expected: 1, came: 3 })));
        assert_eq!(value(&report, "blocks"), 0.0);
        report.take(ENDPOINT, &Update::Joined);
        let ended = || Update::Lost(Loss::Connection(ConnectionError::Closed));
        assert!(report.take(ENDPOINT, &ended()));
        assert_eq!(value(&report, "joined"), 0.0);
        assert_eq!(value(&report, "emptied_total"), 3.0);
    }

    #[test]
    fn an_endpoint_that_is_away_or_not_understood_keeps_what_is_believed() {
        let mut report = report();
        assert!(!report.take(ENDPOINT, &Update::Away(ConnectionError::Closed)));
        let unreadable = Update::Unreadable(kv_events::Unreadable::Parts(1));
        assert!(!report.take(ENDPOINT, &unreadable));
        assert_eq!(value(&report, "unreadable_total"), 1.0);
    }

    #[test]
    fn who_is_gone_is_on_the_page_no_more() {
        let mut report = report();
        report.remove(ENDPOINT);
        assert!(!report.take(ENDPOINT, &batch(vec![KvEvent::Cleared])));
        assert!(report.families("llm_router").iter().all(|family| {
            family
                .samples
                .iter()
                .all(|sample| sample.labels.iter().all(|(name, _)| name != "endpoint"))
        }));
    }
}
