//! What is left to do: each key once, in order of due time, with back-off after failures.
//!
//! Pure: time is an argument, a `Duration` since some start. What a key means is not known here.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// The first wait after a failure; each further one doubles it (as client-go's per-item limiter does).
pub(crate) const FIRST_BACK_OFF: Duration = Duration::from_millis(5);
/// The longest wait after failures.
pub(crate) const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// Keys with the time from which they may be taken. A key waits at most once, at the earliest time asked for.
#[derive(Debug)]
pub(crate) struct WorkQueue<K> {
    /// By due time, then by order of arrival.
    due: BTreeMap<(Duration, u64), K>,
    waiting: HashMap<K, (Duration, u64)>,
    failures: HashMap<K, u32>,
    arrivals: u64,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        Self {
            due: BTreeMap::new(),
            waiting: HashMap::new(),
            failures: HashMap::new(),
            arrivals: 0,
        }
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// Adds a key that may be taken from `at` on. One that waits for an earlier time stays where it is.
    pub(crate) fn add(&mut self, key: K, at: Duration) {
        if let Some(place) = self.waiting.get(&key) {
            if place.0 <= at {
                return;
            }
            self.due.remove(place);
        }
        self.arrivals += 1;
        let place = (at, self.arrivals);
        self.due.insert(place, key.clone());
        self.waiting.insert(key, place);
    }

    /// Adds a key again after a failure, later with each failure in a row. Returns the wait.
    pub(crate) fn retry(&mut self, key: K, now: Duration) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = back_off(*failures);
        *failures = failures.saturating_add(1);
        self.add(key, now + wait);
        wait
    }

    /// Forgets a key's failures: it went well, or its object is gone.
    pub(crate) fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// The first key that is due.
    pub(crate) fn take(&mut self, now: Duration) -> Option<K> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let key = entry.remove();
        self.waiting.remove(&key);
        Some(key)
    }

    /// When the next key is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Keys that wait or have failed: what the queue holds memory for.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len().max(self.failures.len())
    }
}

/// 5 ms, doubled for each failure before, at most [`LONGEST_BACK_OFF`].
fn back_off(failures: u32) -> Duration {
    FIRST_BACK_OFF
        .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
        .min(LONGEST_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_key_waits_once_at_the_earliest_time_asked_for() {
        let mut queue = WorkQueue::default();
        queue.add("a", 30 * MS);
        queue.add("b", 10 * MS);
        queue.add("a", 5 * MS);
        queue.add("a", 20 * MS);
        assert_eq!(queue.next_due(), Some(5 * MS));
        assert_eq!(queue.take(4 * MS), None);
        assert_eq!(queue.take(10 * MS), Some("a"));
        assert_eq!(queue.take(10 * MS), Some("b"));
        assert_eq!(queue.take(40 * MS), None);
    }

    #[test]
    fn failures_in_a_row_double_the_wait_up_to_a_limit() {
        let mut queue = WorkQueue::default();
        let waits: Vec<_> = (0..20)
            .map(|_| {
                let wait = queue.retry("a", Duration::ZERO);
                queue.take(wait);
                wait
            })
            .collect();
        assert_eq!(waits[..3], [5 * MS, 10 * MS, 20 * MS]);
        assert_eq!(waits[19], LONGEST_BACK_OFF);
        queue.forget(&"a");
        assert_eq!(queue.retry("a", Duration::ZERO), 5 * MS);
    }

    #[test]
    fn what_is_done_and_forgotten_holds_no_memory() {
        let mut queue = WorkQueue::default();
        for key in 0..1000 {
            queue.retry(key, Duration::ZERO);
            queue.take(LONGEST_BACK_OFF);
            queue.forget(&key);
        }
        assert_eq!(queue.len(), 0);
    }
}
