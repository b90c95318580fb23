//! Task 2.5, part 3: who is left alone for a while because it fails.
//!
//! Envoy calls it outlier detection, others a circuit breaker for each endpoint. What counts is what the endpoint did: a
//! request that is wrong is wrong everywhere, and a full endpoint is not a broken one.

use std::collections::BTreeMap;
use std::time::Duration;

use routing::{Ending, EndpointId};

/// When somebody is ejected, and for how long. The names are Envoy's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlierRules {
    /// Failures in a row after which an endpoint is ejected.
    pub consecutive_failures: u32,
    /// How long the first ejection lasts; the second in a row twice as long, the third three times.
    pub base_ejection_time: Duration,
    /// No ejection lasts longer.
    pub max_ejection_time: Duration,
    /// No more than this part of all endpoints is ejected at once, from 0 to 1. Where all fail, the fault is elsewhere.
    pub max_ejected: f64,
}

impl Default for OutlierRules {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            base_ejection_time: Duration::from_secs(5),
            max_ejection_time: Duration::from_secs(60),
            max_ejected: 0.5,
        }
    }
}

/// What is remembered of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Record {
    /// Failures since the last answer.
    failures: u32,
    /// Until when it is ejected; in the past: it was.
    ejected_until: Duration,
    /// Ejections since the last answer.
    ejections: u32,
    /// Whether it is ready.
    ready: bool,
}

/// All endpoints, and who of them is ejected.
#[derive(Debug, Clone)]
pub struct Outliers {
    rules: OutlierRules,
    records: BTreeMap<EndpointId, Record>,
    /// Ejections so far.
    total: u64,
}

impl Outliers {
    /// Nobody is ejected.
    #[must_use]
    pub fn new(rules: OutlierRules) -> Self {
        Self { rules, records: BTreeMap::new(), total: 0 }
    }

    /// These endpoints are ready. An ejected one that is not is remembered for as long as an ejection may last: whoever
    /// flaps between ready and not shall not be forgiven for it.
    pub fn set_ready(&mut self, endpoints: &[EndpointId], now: Duration) {
        let longest = self.rules.max_ejection_time;
        for (id, record) in &mut self.records {
            record.ready = endpoints.contains(id);
        }
        self.records.retain(|_, record| {
            record.ready || (record.ejections > 0 && now < record.ejected_until + longest)
        });
        for id in endpoints {
            self.records.entry(*id).or_default().ready = true;
        }
    }

    /// Forgets an endpoint that is gone for good.
    pub fn forget(&mut self, endpoint: EndpointId) {
        self.records.remove(&endpoint);
    }

    /// Endpoints of which something is remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether it gets no requests at `now`.
    #[must_use]
    pub fn is_ejected(&self, endpoint: EndpointId, now: Duration) -> bool {
        self.records.get(&endpoint).is_some_and(|record| now < record.ejected_until)
    }

    /// How many of those that are ready get none at `now`.
    #[must_use]
    pub fn ejected(&self, now: Duration) -> usize {
        let ejected = |record: &&Record| record.ready && now < record.ejected_until;
        self.records.values().filter(ejected).count()
    }

    /// How many are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.records.values().filter(|record| record.ready).count()
    }

    /// How often somebody was ejected.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.total
    }

    /// Takes note of how an attempt ended.
    pub fn observe(&mut self, endpoint: EndpointId, ending: Ending, now: Duration) {
        // An attempt at `endpoint` ended so, at `now`. Endpoints without a record are unknown: nothing happens.
        //
        // - While it is ejected nothing changes: these are requests that it had before.
        // - `Answered` clears the record: no failures, no ejections. It stays as `ready` as it was.
        // - `Failed` and `TimedOut` are failures; each other ending says nothing about the endpoint and changes nothing.
        // - It is ejected at `consecutive_failures` in a row, and at the first one if it was ejected before and has not
        //   answered since: it is on probation.
        // - But not if more than `max_ejected` of the endpoints that are ready would then be ejected, itself counted. One may
        //   always be, if at least two are ready. Who is not ejected for that reason keeps its failures, and is at the next
        //   failure that finds room.
        // - An ejection counts in `ejections` and in `self.total`, and lasts `base_ejection_time` times the ejections in a
        //   row, at most `max_ejection_time`. Its failures start again at 0.
        // ANCHOR: task_2_5_observe
        let all = self.ready();
        let ejected = self.ejected(now);
        let Some(record) = self.records.get_mut(&endpoint) else { return };
        if now < record.ejected_until {
            return;
        }
        match ending {
            Ending::Answered => *record = Record { ready: record.ready, ..Record::default() },
            Ending::Failed | Ending::TimedOut => {
                record.failures += 1;
                let on_probation = record.ejections > 0;
                let enough = on_probation || record.failures >= self.rules.consecutive_failures;
                let share = (ejected + 1) as f64 / all as f64;
                let room = share <= self.rules.max_ejected || (ejected == 0 && all > 1);
                if enough && room {
                    record.failures = 0;
                    record.ejections += 1;
                    self.total += 1;
                    let time = self.rules.base_ejection_time.saturating_mul(record.ejections);
                    record.ejected_until = now + time.min(self.rules.max_ejection_time);
                }
            }
            _ => {}
        }
        // ANCHOR_END: task_2_5_observe
    }
}
