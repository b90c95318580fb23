//! How much a router sends to one replica at once, and who waits in the router meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Arrival, Outcome, RequestRecord};

/// What a router keeps to, whoever chooses: the rules of a real router that no policy sees, and that decide for it where a policy
/// would send everything to one replica. By default there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterLimits {
    /// Requests that one replica may have from one router at once; at least 1. A replica that has them is not shown to the policy.
    /// Where all have them, requests wait in the router, first come, first served.
    pub max_in_flight: u32,
    /// Requests that may wait in a router; one more is refused.
    pub max_queue: usize,
    /// How long a request may wait there; then it is refused.
    pub max_wait: Duration,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self { max_in_flight: u32::MAX, max_queue: usize::MAX, max_wait: Duration::MAX }
    }
}

/// Requests that wait in one router, by their place in the journal.
#[derive(Debug, Default)]
pub(crate) struct Waiting(VecDeque<(usize, Arrival)>);

// === impl Waiting ===

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a request, unless there are `max` already. Whether it did.
    pub(crate) fn push(&mut self, index: usize, arrival: Arrival, max: usize) -> bool {
        let room = self.0.len() < max;
        if room {
            self.0.push_back((index, arrival));
        }
        room
    }

    pub(crate) fn pop(&mut self) -> Option<(usize, Arrival)> {
        self.0.pop_front()
    }

    /// Those whose client is gone leave, and those who waited for longer than `max_wait`.
    pub(crate) fn leave(
        &mut self,
        now: Duration,
        max_wait: Duration,
        records: &mut [RequestRecord],
    ) {
        self.0.retain(|(index, arrival)| {
            let too_late = arrival.at.saturating_add(max_wait);
            let gone = arrival.abort_at.filter(|at| *at <= now.min(too_late));
            if let Some(at) = gone {
                records[*index].outcome = Outcome::Aborted;
                records[*index].e2e = Some(at.saturating_sub(arrival.at));
            } else if too_late < now {
                records[*index].outcome = Outcome::Refused;
            }
            gone.is_none() && too_late >= now
        });
    }
}
