//! Given: who waits, and for whom. One fair queue for each set of deployments that requests can be served by, so that requests for a
//! model that is full do not hold up those for another. Without a catalogue there is one queue, as there is one set.

use routing::RequestKey;

use crate::capable::Able;
use crate::fair_queue::{FairQueue, Pushed};

/// Queues at most. A request that would need another one is refused.
const MOST_QUEUES: usize = 64;

struct Queue {
    able: Able,
    waiting: FairQueue,
    /// Requests that were told that it is their turn, and have not begun: their places are taken.
    promised: u32,
}

/// All queues of a router.
pub(crate) struct Queues {
    /// Requests that may wait in each.
    capacity: usize,
    all: Vec<Queue>,
    /// Which is the first to get places next.
    first: usize,
}

// === impl Queues ===

impl Queues {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, all: Vec::new(), first: 0 }
    }

    /// Requests that wait, in all.
    pub(crate) fn len(&self) -> usize {
        self.all.iter().map(|queue| queue.waiting.len()).sum()
    }

    /// Requests that wait for the same.
    pub(crate) fn len_of(&self, able: Able) -> usize {
        self.of(able).map_or(0, |queue| queue.waiting.len())
    }

    /// Places that are promised, and that a request for these could otherwise get.
    pub(crate) fn promised(&self, able: Able) -> u32 {
        self.all.iter().filter(|queue| queue.able.meets(able)).map(|queue| queue.promised).sum()
    }

    pub(crate) fn push(&mut self, able: Able, tenant: &str, key: RequestKey, cost: u32) -> Pushed {
        let known = self.all.iter().position(|queue| queue.able == able);
        let Some(at) = known.or_else(|| self.open(able)) else { return Pushed::Full };
        self.all[at].waiting.push(tenant, key, cost)
    }

    /// A place for another queue: a new one, or that of one that nobody needs.
    fn open(&mut self, able: Able) -> Option<usize> {
        let queue = Queue { able, waiting: FairQueue::new(self.capacity), promised: 0 };
        if self.all.len() < MOST_QUEUES {
            self.all.push(queue);
            return Some(self.all.len() - 1);
        }
        let idle = |queue: &Queue| queue.waiting.is_empty() && queue.promised == 0;
        let at = self.all.iter().position(idle)?;
        self.all[at] = queue;
        Some(at)
    }

    /// A request gave up.
    pub(crate) fn remove(&mut self, able: Able, key: RequestKey) {
        if let Some(queue) = self.of_mut(able) {
            queue.waiting.remove(key);
        }
    }

    /// One that was promised a place has begun, or gave up.
    pub(crate) fn kept(&mut self, able: Able) {
        if let Some(queue) = self.of_mut(able) {
            queue.promised = queue.promised.saturating_sub(1);
        }
    }

    /// Promises places to those that wait. `places` says how many there are for whom, those that are promised not taken off. No
    /// queue is always the first.
    pub(crate) fn fill(&mut self, places: impl Fn(Able) -> u32) -> Vec<RequestKey> {
        let mut turns = Vec::new();
        let count = self.all.len();
        self.first = (self.first + 1).checked_rem(count).unwrap_or(0);
        for at in (self.first..count).chain(0..self.first) {
            if self.all[at].waiting.is_empty() {
                continue;
            }
            let able = self.all[at].able;
            for _ in 0..places(able).saturating_sub(self.promised(able)) {
                let queue = &mut self.all[at];
                let Some(next) = queue.waiting.pop() else { break };
                queue.promised += 1;
                turns.push(next);
            }
        }
        turns
    }

    fn of(&self, able: Able) -> Option<&Queue> {
        self.all.iter().find(|queue| queue.able == able)
    }

    fn of_mut(&mut self, able: Able) -> Option<&mut Queue> {
        self.all.iter_mut().find(|queue| queue.able == able)
    }
}
