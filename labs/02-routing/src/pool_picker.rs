//! Task 2.6, Kubernetes-native, its third part: the endpoint that a request gets, for whoever asks.
//!
//! The policy is the one that was graded in the simulator. What stands around it here: which replicas it may be shown, and what
//! it means when it chooses none. Knows no transport.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use discovery::Event;
use endpoint_picker::Refusal;
use routing::{
    EndpointId, EndpointView, Feedback, Happening, KvEvent, Policy, RouteRequest, Scrape,
};

use crate::picker_metrics::Tally;
use crate::slices::{EndpointTable, Replica, Wanted, in_zone};

/// When a client that was shed may come again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// When an endpoint has enough to do for a request that can wait.
///
/// The inference extension's defaults: a queue of 5, 80 % of the KV cache, metrics of the last 200 ms. Ours are scraped less often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saturation {
    /// More requests than this wait.
    pub waiting: u32,
    /// A greater part of the KV cache is in use.
    pub kv_usage: f64,
    /// What it said of itself is older.
    pub age: Duration,
}

impl Default for Saturation {
    fn default() -> Self {
        Self { waiting: 5, kv_usage: 0.8, age: Duration::from_secs(2) }
    }
}

impl Saturation {
    /// Whether an endpoint has enough to do. Who says nothing, or said it long ago, counts as one who has.
    #[must_use]
    pub fn is_reached(&self, endpoint: &EndpointView, now: Duration) -> bool {
        endpoint.scrape.as_ref().is_none_or(|scrape| {
            scrape.age(now) > self.age
                || scrape.signals.waiting > self.waiting
                || scrape.signals.kv_usage > self.kv_usage
        })
    }
}

/// One request, as far as a picker looks at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The prompt; empty where the policy does not read it.
    pub prompt: Vec<u8>,
    /// The conversation, where the client names one.
    pub session: Option<String>,
    /// From the InferenceObjective that the request names; below 0: can be dropped.
    pub priority: i32,
    /// The only endpoints that may be picked, as `ip:port`. `None`: all.
    pub subset: Option<Vec<String>>,
}

/// What was picked for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The request's number, for [`Feedback`].
    pub request: u64,
    /// Who.
    pub endpoint: EndpointId,
    /// Where.
    pub address: SocketAddr,
}

/// A policy, and what it may choose from.
#[derive(Debug)]
pub struct PoolPicker<P> {
    policy: P,
    table: EndpointTable,
    zone: Option<String>,
    saturation: Saturation,
    /// Priority by name of the InferenceObjective.
    objectives: BTreeMap<String, i32>,
    in_flight: BTreeMap<EndpointId, u32>,
    scrapes: BTreeMap<EndpointId, Scrape>,
    requests: u64,
    /// Endpoints that a proxy may try when the one that was picked fails.
    fallbacks: usize,
    tally: Tally,
}

// === impl PoolPicker ===

impl<P: Policy> PoolPicker<P> {
    /// A picker that knows no endpoint yet. `zone` is where its clients are.
    #[must_use]
    pub fn new(policy: P, wanted: Wanted, zone: Option<String>) -> Self {
        Self {
            policy,
            table: EndpointTable::new(wanted),
            zone,
            saturation: Saturation::default(),
            objectives: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            scrapes: BTreeMap::new(),
            requests: 0,
            fallbacks: 0,
            tally: Tally::default(),
        }
    }

    /// What requests that name an objective are worth, from now on.
    pub fn set_objectives(&mut self, objectives: BTreeMap<String, i32>) {
        self.objectives = objectives;
    }

    /// Names so many endpoints behind the one that is picked, at most.
    #[must_use]
    pub fn with_fallbacks(mut self, fallbacks: usize) -> Self {
        self.fallbacks = fallbacks;
        self
    }

    /// What was counted.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The same, to count more.
    pub fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// What an endpoint last said of itself.
    #[must_use]
    pub fn scrape(&self, endpoint: EndpointId) -> Option<Scrape> {
        self.scrapes.get(&endpoint).copied()
    }

    /// The endpoints, as far as they are known.
    #[must_use]
    pub fn table(&self) -> &EndpointTable {
        &self.table
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The priority of a request: 0 where it names no objective, or one that nobody knows.
    #[must_use]
    pub fn priority(&self, objective: Option<&str>) -> i32 {
        objective.and_then(|name| self.objectives.get(name)).copied().unwrap_or(0)
    }

    /// Whether a prompt is worth waiting for.
    #[must_use]
    pub fn reads_prompt(&self) -> bool {
        self.policy.reads_prompt()
    }

    /// Slices changed. What is known of an endpoint that is gone is forgotten; who still has requests keeps its count, and the policy
    /// what it learned, until the last of them ends.
    pub fn apply(&mut self, event: Event) {
        let before: Vec<EndpointId> = self.table.replicas().iter().map(|each| each.id).collect();
        self.table.apply(event);
        let known = |id: &EndpointId| self.table.replicas().iter().any(|each| each.id == *id);
        self.scrapes.retain(|id, _| known(id));
        self.in_flight.retain(|id, count| known(id) || *count > 0);
        for gone in before.iter().filter(|id| !known(id) && !self.in_flight.contains_key(id)) {
            self.policy.forget(*gone);
        }
    }

    /// An endpoint said how it is.
    pub fn scraped(&mut self, endpoint: EndpointId, scrape: Scrape) {
        self.scrapes.insert(endpoint, scrape);
    }

    /// An endpoint told of its KV cache. Of one that is gone the policy remembers nothing more.
    pub fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        if self.table.replicas().iter().any(|replica| replica.id == endpoint) {
            self.policy.kv_event(endpoint, event);
        }
    }

    /// Requests that were sent to an endpoint and have not ended.
    #[must_use]
    pub fn in_flight(&self, endpoint: EndpointId) -> u32 {
        self.in_flight.get(&endpoint).copied().unwrap_or(0)
    }

    /// The endpoint of a request.
    ///
    /// # Errors
    /// [`Refusal::NoneReady`] where there is none to choose from, [`Refusal::Shed`] where none should have it.
    pub fn pick(&mut self, wish: &Wish, now: Duration) -> Result<Pick, Refusal> {
        // The candidates are the table's ready replicas. Where the wish names a subset, only those of them whose address, as text, is in
        // it: a proxy that names a subset cannot reach any other, and an empty subset allows none. No candidate: `NoneReady`. Of what is
        // left keep those for our zone (`in_zone`), in this order: a zone must not hide the only endpoint that the subset allows.
        // A request whose priority is below 0 is shed (`Shed`, `RETRY_AFTER`) when every endpoint that it could get is saturated
        // (`self.saturation`). Otherwise ask the policy, with `self.views` and `self.next_request`. It chooses nobody: `Shed`.
        // Report what was chosen as `Happening::Sent` through `self.observe`.
        // ANCHOR: task_2_6_pick
        todo!("task 2.6")
        // ANCHOR_END: task_2_6_pick
    }

    /// Where a proxy may go on to when the endpoint that was picked fails, the best first: never more than
    /// [`with_fallbacks`](Self::with_fallbacks) allows, and nobody outside of the subset. Who has room comes first, then who is in our zone,
    /// then who has less in flight. The policy is not asked: it would take each question for a request.
    #[must_use]
    pub fn fallbacks(&self, wish: &Wish, picked: &Pick, now: Duration) -> Vec<SocketAddr> {
        if self.fallbacks == 0 {
            return Vec::new();
        }
        let allowed = |address: SocketAddr| {
            wish.subset.as_ref().is_none_or(|subset| subset.contains(&address.to_string()))
        };
        let others = self.table.ready().filter(|replica| replica.id != picked.endpoint);
        let others: Vec<&Replica> =
            others.filter(|replica| allowed(replica.seen.address)).collect();
        let near: Vec<EndpointId> = in_zone(others.clone(), self.zone.as_deref())
            .iter()
            .map(|replica| replica.id)
            .collect();
        let mut ranked: Vec<_> = others
            .into_iter()
            .map(|replica| {
                let view = self.view(replica);
                let is_full = self.saturation.is_reached(&view, now);
                let rank = (is_full, !near.contains(&replica.id), view.in_flight, replica.id);
                (rank, replica.seen.address)
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().take(self.fallbacks).map(|(_, address)| address).collect()
    }

    /// What a policy is shown of these replicas, in their order.
    #[must_use]
    pub fn views(&self, replicas: &[Replica]) -> Vec<EndpointView> {
        replicas.iter().map(|replica| self.view(replica)).collect()
    }

    fn view(&self, replica: &Replica) -> EndpointView {
        EndpointView {
            id: replica.id,
            in_flight: self.in_flight(replica.id),
            scrape: self.scrape(replica.id),
        }
    }

    /// A number for a request.
    pub fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests - 1
    }

    /// Counts what is in flight, and tells the policy.
    pub fn observe(&mut self, feedback: &Feedback) {
        self.policy.observe(feedback);
        match feedback.happening {
            Happening::Sent => *self.in_flight.entry(feedback.endpoint).or_default() += 1,
            Happening::FirstToken(_) => {}
            Happening::Ended { .. } => {
                let left = self.in_flight.entry(feedback.endpoint).or_default();
                *left = left.saturating_sub(1);
                let known = self.table.replicas().iter().any(|each| each.id == feedback.endpoint);
                if *left == 0 && !known {
                    self.in_flight.remove(&feedback.endpoint);
                    self.policy.forget(feedback.endpoint);
                }
            }
        }
    }

    /// The endpoint at an address, whatever it is up to.
    #[must_use]
    pub fn at(&self, address: &str) -> Option<EndpointId> {
        let address: SocketAddr = address.parse().ok()?;
        let mut replicas = self.table.replicas().iter();
        replicas.find(|replica| replica.seen.address == address).map(|replica| replica.id)
    }
}
