//! How many requests may wait for a place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts waiting requests up to a limit.
#[derive(Debug)]
pub(crate) struct Admission {
    waiting: Arc<AtomicUsize>,
    limit: usize,
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self { waiting: Arc::default(), limit }
    }

    /// Lets a request wait, unless `limit` do already.
    pub(crate) fn enter(&self) -> Option<Ticket> {
        let enter = |waiting| (waiting < self.limit).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).ok()?;
        Some(Ticket { waiting: Arc::clone(&self.waiting) })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

/// Held by a request for as long as it waits: from its arrival until its last choice got a place, or until
/// it is given up.
#[derive(Debug)]
pub(crate) struct Ticket {
    waiting: Arc<AtomicUsize>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_ticket_makes_room() {
        let admission = Admission::new(2);
        let first = admission.enter().unwrap();
        let _second = admission.enter().unwrap();
        assert!(admission.enter().is_none());
        drop(first);
        assert!(admission.enter().is_some());
    }
}
