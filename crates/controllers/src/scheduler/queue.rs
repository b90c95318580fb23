//! Pods without a node: who is tried next, who waits, and for what.

use std::collections::HashMap;
use std::time::Duration;

use apimachinery::Key;
use jiff::{SignedDuration, Timestamp};

/// The first wait of a pod that fits nowhere, once something changed; doubled with each try (kube-scheduler's defaults).
const FIRST_BACK_OFF: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_secs(10);
/// After this long without a change that could help, a pod is tried all the same.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(5);

#[derive(Clone, Debug)]
struct Waiting {
    priority: i64,
    /// It wants to be near others: their coming may help it.
    sociable: bool,
    since: Timestamp,
    arrival: u64,
    tries: u32,
    /// None: nothing has changed since it was last tried in vain.
    ready_at: Option<Timestamp>,
    tried_at: Timestamp,
}

/// Pods without a node.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pods: HashMap<Key, Waiting>,
    arrivals: u64,
}

impl Pending {
    /// Adds a pod, or takes over its new priority; `changed`: it asks for something else now.
    pub(crate) fn add(
        &mut self,
        key: Key,
        (priority, sociable): (i64, bool),
        changed: bool,
        now: Timestamp,
    ) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let fresh = Waiting {
            priority,
            sociable,
            since: now,
            arrival,
            tries: 0,
            ready_at: Some(now),
            tried_at: now,
        };
        let waiting = self.pods.entry(key).or_insert(fresh);
        waiting.priority = priority;
        if changed && waiting.ready_at.is_none() {
            waiting.ready_at = Some(now);
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        self.pods.remove(key);
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.pods.contains_key(key)
    }

    /// Something changed that may help: whoever was tried in vain is tried again, after its back-off.
    pub(crate) fn stir(&mut self, now: Timestamp) {
        self.stir_where(now, |_| true);
    }

    /// A pod got its node: that may help those who want to be near it.
    pub(crate) fn stir_sociable(&mut self, now: Timestamp) {
        self.stir_where(now, |waiting| waiting.sociable);
    }

    fn stir_where(&mut self, now: Timestamp, concerned: impl Fn(&Waiting) -> bool) {
        for waiting in self.pods.values_mut().filter(|one| one.ready_at.is_none() && concerned(one))
        {
            let from = waiting.tried_at.checked_add(back_off(waiting.tries)).unwrap_or(now);
            waiting.ready_at = Some(from.max(now));
        }
    }

    /// The most important pod that may be tried; among equals the one that waits longest.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<Key> {
        for waiting in self.pods.values_mut() {
            if waiting.ready_at.is_none() && now.duration_since(waiting.tried_at) >= LONGEST_WAIT {
                waiting.ready_at = Some(now);
            }
        }
        let ready = self.pods.iter().filter(|(_, one)| one.ready_at.is_some_and(|at| at <= now));
        let first =
            ready.min_by_key(|(_, one)| (std::cmp::Reverse(one.priority), one.since, one.arrival));
        first.map(|(key, _)| key.clone())
    }

    /// It was tried in vain.
    pub(crate) fn failed(&mut self, key: &Key, now: Timestamp) {
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.tries = waiting.tries.saturating_add(1);
            waiting.ready_at = None;
            waiting.tried_at = now;
        }
    }

    /// How long until somebody may be tried.
    pub(crate) fn next_in(&self, now: Timestamp) -> Option<Duration> {
        let at = |one: &Waiting| {
            one.ready_at.unwrap_or_else(|| one.tried_at.checked_add(LONGEST_WAIT).unwrap_or(now))
        };
        self.pods.values().map(at).min().map(|at| crate::wait_of(at.duration_since(now)))
    }
}

fn back_off(tries: u32) -> SignedDuration {
    let factor = 1_i32.checked_shl(tries.saturating_sub(1).min(10)).unwrap_or(i32::MAX);
    FIRST_BACK_OFF.saturating_mul(factor).min(LONGEST_BACK_OFF)
}
