//! Task 2.5, part 4: who is next, and who has to go, when there are more requests than places.
//!
//! First come, first served is not fair: who sends a thousand requests gets a thousand times the service. Start-time fair
//! queuing gives each tenant the same part of the work, whatever it sends. Work is tokens, not requests: a request for 8,000
//! tokens counts for as much as a hundred for 80.
//!
//! Source: Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996; for LLMs Sheng et al., "Fairness in Serving Large
//! Language Models", OSDI 2024.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use routing::RequestKey;

/// What became of a request that wanted to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Waits,
    /// It waits, and this one has to go for it.
    Instead(RequestKey),
    /// There is no room for it.
    Full,
}

/// One request that waits. The order is the order of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    /// Its start tag: the virtual time at which its tenant would have it begin.
    start: u64,
    /// Who came first, where tags are equal.
    number: u64,
    key: RequestKey,
}

/// What is known of a tenant that has requests in the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tenant {
    /// The finish tag of its latest request.
    finish: u64,
    /// Its requests, in the order in which they came.
    waiting: Vec<Waiting>,
}

/// A bounded queue that serves tenants in turn, by tokens.
#[derive(Debug, Clone)]
pub struct FairQueue {
    capacity: usize,
    /// The start tag of the request that was served last.
    virtual_time: u64,
    next_number: u64,
    order: BTreeSet<Waiting>,
    /// Whose a request is.
    owners: BTreeMap<RequestKey, String>,
    tenants: BTreeMap<String, Tenant>,
}

impl FairQueue {
    /// Tenants that are told apart.
    pub const MAX_TENANTS: usize = 1024;

    /// An empty queue for so many requests.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            virtual_time: 0,
            next_number: 0,
            order: BTreeSet::new(),
            owners: BTreeMap::new(),
            tenants: BTreeMap::new(),
        }
    }

    /// Requests that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// A request wants to wait, with so many tokens of work.
    pub fn push(&mut self, tenant: &str, key: RequestKey, cost: u32) -> Pushed {
        // Names are the clients' own: those that come when there are too many share a turn.
        let known = self.tenants.contains_key(tenant) || self.tenants.len() < Self::MAX_TENANTS;
        let tenant = if known { tenant } else { "" };
        let mut pushed = Pushed::Waits;
        if self.len() >= self.capacity {
            match self.victim(tenant) {
                None => return Pushed::Full,
                Some(victim) => {
                    self.remove(victim);
                    pushed = Pushed::Instead(victim);
                }
            }
        }
        let start = self.start_tag(tenant);
        let waiting = Waiting { start, number: self.next_number, key };
        self.next_number += 1;
        self.order.insert(waiting);
        self.owners.insert(key, tenant.to_owned());
        let tenant = self.tenants.entry(tenant.to_owned()).or_default();
        // A request that costs nothing would never end its tenant's turn.
        tenant.finish = start.saturating_add(u64::from(cost.max(1)));
        tenant.waiting.push(waiting);
        pushed
    }

    /// The start tag of a request of this tenant that comes now.
    fn start_tag(&self, tenant: &str) -> u64 {
        // A tenant's request starts when the one before it has finished, but never in the past: the later of the virtual time and of
        // the tenant's finish tag. A tenant without requests in the queue may be unknown, and has no finish tag.
        // ANCHOR: task_2_5_start_tag
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_start_tag
    }

    /// Whose turn it is.
    pub fn pop(&mut self) -> Option<RequestKey> {
        // The first in order leaves the queue: `self.take_out` takes it out of everything. The virtual time is now its start tag.
        // Its tenant keeps its finish tag, even where nothing of it waits any more: otherwise whoever sends one request at a time
        // would always come first. `self.forget_idle()` then forgets whom nobody needs to remember.
        // ANCHOR: task_2_5_pop
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_pop
    }

    /// Who has to go for a request of this tenant.
    fn victim(&self, newcomer: &str) -> Option<RequestKey> {
        // The queue is full, and a request of `newcomer` wants in. Who goes is the latest request of the tenant with the most
        // requests in the queue, so that nobody can keep others out by filling it. `None` where that is the newcomer itself, or where it
        // has as many as the one with the most: then it is the newcomer's request that has no place.
        // ANCHOR: task_2_5_victim
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_victim
    }

    /// A request gave up or was thrown out. Whether it was there. It was not served: if it was its tenant's latest, the
    /// tenant is where it was before.
    pub fn remove(&mut self, key: RequestKey) -> bool {
        let Some((owner, waiting, latest)) = self.take_out(key) else { return false };
        if latest && let Some(tenant) = self.tenants.get_mut(&owner) {
            tenant.finish = waiting.start;
        }
        self.forget_idle();
        true
    }

    /// Takes a request out of everything. Returns whose it was, and whether it was the latest of its tenant.
    fn take_out(&mut self, key: RequestKey) -> Option<(String, Waiting, bool)> {
        let owner = self.owners.remove(&key)?;
        let tenant = self.tenants.get_mut(&owner)?;
        let at = tenant.waiting.iter().position(|waiting| waiting.key == key)?;
        let waiting = tenant.waiting.remove(at);
        let latest = at == tenant.waiting.len();
        self.order.remove(&waiting);
        Some((owner, waiting, latest))
    }

    /// Forgets tenants that have nothing in the queue and are not ahead of the virtual time; all of them, when nobody waits:
    /// then there is nothing to share.
    fn forget_idle(&mut self) {
        if self.order.is_empty() {
            let finishes = self.tenants.values().map(|tenant| tenant.finish);
            self.virtual_time = finishes.fold(self.virtual_time, u64::max);
        }
        let now = self.virtual_time;
        self.tenants.retain(|_, tenant| !tenant.waiting.is_empty() || tenant.finish > now);
    }
}

/// How long a client should wait before it comes again: the time in which the requests that wait now are served, at the rate
/// at which requests were served lately, and no less than a second.
#[must_use]
pub fn retry_after(waiting: usize, served_per_s: f64) -> Duration {
    const LONGEST: f64 = 60.0;
    let seconds = waiting as f64 / served_per_s.max(1e-3);
    Duration::from_secs_f64(seconds.clamp(1.0, LONGEST))
}
