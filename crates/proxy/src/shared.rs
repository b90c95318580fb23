//! What all connections of a router share: who decides, the endpoints, the counters, the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::task::Waker;
use std::time::{Duration, Instant, UNIX_EPOCH};

use hashbrown::HashMap;
use otlp::Exporter;
use routing::{
    Arrival, Counts, Dispatch, EndpointId, Event, KvEvent, Model, Orders, RequestKey, Scrape,
};
use slab::Slab;
use smallvec::SmallVec;

use crate::cache_report::CacheReport;
use crate::limits::Limits;
use crate::members::Member;
use crate::metrics::Metrics;
use crate::shadow::Shadow;
use crate::traces::Routed;

/// Shared by all threads of a router.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    started: Instant,
    /// The same, in seconds since 1970.
    pub(crate) created: u64,
    /// Held for a microsecond at a time, and never across an await: a std Mutex.
    core: Mutex<Core>,
    members: RwLock<HashMap<EndpointId, Arc<Member>, foldhash::fast::FixedState>>,
    next_id: AtomicU64,
    draining: AtomicBool,
    /// What `Dispatch::reads_prompt` says.
    pub(crate) reads_prompt: bool,
    /// What `Dispatch::reads_features` says.
    pub(crate) reads_features: bool,
    /// `None` where nobody asked for traces.
    pub(crate) traces: Option<Exporter<Routed>>,
    /// `None` where nothing is copied.
    pub(crate) shadow: Option<Shadow>,
    /// What endpoints told of their KV caches. Held for a moment: a std Mutex. Not there before anybody listens.
    caches: OnceLock<Arc<Mutex<CacheReport>>>,
}

struct Core {
    dispatch: Box<dyn Dispatch>,
    waiting: Slab<Waiting>,
    /// Who was told to be ready.
    ready: Vec<EndpointId>,
}

/// How a request's task hears that it is its turn.
#[derive(Default)]
struct Waiting {
    turn: bool,
    waker: Option<Waker>,
}

impl Shared {
    pub(crate) fn new(
        dispatch: Box<dyn Dispatch>,
        limits: Limits,
        traces: Option<Exporter<Routed>>,
        shadow: Option<Shadow>,
    ) -> Self {
        Self {
            limits,
            metrics: Metrics::new(),
            started: Instant::now(),
            created: UNIX_EPOCH.elapsed().unwrap_or_default().as_secs(),
            reads_prompt: dispatch.reads_prompt(),
            reads_features: dispatch.reads_features(),
            core: Mutex::new(Core { dispatch, waiting: Slab::new(), ready: Vec::new() }),
            members: RwLock::default(),
            next_id: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            traces,
            shadow,
            caches: OnceLock::new(),
        }
    }

    /// Time since the router started.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// As the runtime's timers count.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        self.started + at
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new request, and a key that is its own until [`Shared::close`].
    pub(crate) fn open(&self) -> (u64, RequestKey) {
        let key = self.core().waiting.insert(Waiting::default());
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        (id, RequestKey(u32::try_from(key).unwrap_or(u32::MAX)))
    }

    pub(crate) fn close(&self, key: RequestKey) {
        self.core().waiting.try_remove(key.0 as usize);
    }

    /// Tells an event, and wakes whose turn it is.
    pub(crate) fn on(
        &self,
        key: RequestKey,
        about: &Arrival<'_>,
        event: Event,
        orders: &mut Orders,
    ) {
        let now = self.now();
        self.with_core(orders, |dispatch, orders| dispatch.on(key, about, event, now, orders));
    }

    fn with_core(&self, orders: &mut Orders, call: impl FnOnce(&mut dyn Dispatch, &mut Orders)) {
        let mut wakers = SmallVec::<[Waker; 4]>::new();
        let mut core = self.core();
        call(core.dispatch.as_mut(), orders);
        for turn in orders.turns.drain(..) {
            if let Some(waiting) = core.waiting.get_mut(turn.0 as usize) {
                waiting.turn = true;
                wakers.extend(waiting.waker.take());
            }
        }
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it is this request's turn. If not, `waker` hears when it is.
    pub(crate) fn take_turn(&self, key: RequestKey, waker: &Waker) -> bool {
        let mut core = self.core();
        let Some(waiting) = core.waiting.get_mut(key.0 as usize) else { return false };
        if std::mem::take(&mut waiting.turn) {
            return true;
        }
        if !waiting.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiting.waker = Some(waker.clone());
        }
        false
    }

    pub(crate) fn endpoint(&self, id: EndpointId) -> Option<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// These are there, and no others. Who may get no requests is not ready from now on, who is missing is forgotten; who is new is
    /// ready when somebody has looked. Returns those that are to be looked at.
    pub(crate) fn set_members(&self, told: &[Member]) -> Vec<Arc<Member>> {
        let ids: BTreeSet<EndpointId> = told.iter().map(|member| member.id).collect();
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        for member in told {
            if members.get(&member.id).is_none_or(|known| **known != *member) {
                members.insert(member.id, Arc::new(*member));
            }
        }
        let takes = members.values().filter(|member| member.takes_requests);
        let takes = takes.filter(|member| ids.contains(&member.id));
        let takes: BTreeMap<_, _> = takes.map(|member| (member.id, member.clone())).collect();
        let gone: Vec<_> = members.keys().filter(|id| !ids.contains(id)).copied().collect();
        drop(members);
        // First nobody chooses them any more, then they go.
        let mut ready = std::mem::take(&mut self.core().ready);
        ready.retain(|id| takes.contains_key(id));
        self.set_ready(ready);
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        gone.iter().for_each(|endpoint| drop(members.remove(endpoint)));
        drop(members);
        let mut core = self.core();
        gone.into_iter().for_each(|endpoint| core.dispatch.forget(endpoint));
        takes.into_values().collect()
    }

    /// These are well. Of those that left meanwhile, or may get nothing any more, none is ready.
    pub(crate) fn set_ready(&self, mut ready: Vec<EndpointId>) {
        let may = |id: &EndpointId| self.endpoint(*id).is_some_and(|member| member.takes_requests);
        ready.retain(may);
        let now = self.now();
        let mut orders = Orders::default();
        self.with_core(&mut orders, |dispatch, orders| dispatch.set_ready(&ready, now, orders));
        self.core().ready = ready;
    }

    /// Requests that an endpoint has from this router.
    pub(crate) fn in_flight(&self, endpoint: EndpointId) -> u32 {
        self.core().dispatch.in_flight(endpoint)
    }

    pub(crate) fn set_scrape(&self, endpoint: EndpointId, scrape: Scrape) {
        self.core().dispatch.set_scrape(endpoint, scrape);
    }

    pub(crate) fn set_adapters(&self, endpoint: EndpointId, adapters: Vec<String>) {
        self.core().dispatch.set_adapters(endpoint, adapters);
    }

    /// Tells whoever decides that an endpoint's KV cache is to be believed empty.
    pub(crate) fn emptied(self: &Arc<Self>) -> impl Fn(EndpointId) + Clone + Send + 'static {
        let shared = self.clone();
        move |endpoint| shared.kv_event(endpoint, &KvEvent::Cleared)
    }

    /// Tells what an endpoint told of its KV cache, as long as it is a member.
    fn kv_event(&self, endpoint: EndpointId, event: &KvEvent) {
        let mut core = self.core();
        // Asked behind the core's lock: whoever is forgotten is no member before, so nothing is remembered after that.
        if self.endpoint(endpoint).is_some() {
            core.dispatch.kv_event(endpoint, event);
        }
    }

    /// What is reported of KV caches, from now on.
    pub(crate) fn caches(&self) -> Arc<Mutex<CacheReport>> {
        self.caches.get_or_init(Arc::default).clone()
    }

    /// The models that clients can reach; `None` where only the endpoints know.
    pub(crate) fn models(&self) -> Option<Vec<Model>> {
        self.core().dispatch.models(self.now())
    }

    pub(crate) fn counts(&self) -> Counts {
        self.core().dispatch.counts(self.now())
    }

    /// Metrics of whoever decides.
    pub(crate) fn write_metrics(&self, page: &mut String) {
        self.core().dispatch.write_metrics(page);
        self.shadow.iter().for_each(|shadow| page.push_str(&shadow.family().to_string()));
        let Some(caches) = self.caches.get() else { return };
        let caches = caches.lock().unwrap_or_else(PoisonError::into_inner);
        for family in caches.families("llm_router") {
            page.push_str(&family.to_string());
        }
    }

    /// Takes no more requests, and says so to whoever asks for readiness.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Refuses requests that come from now on.
    pub(crate) fn refuse(&self) {
        self.core().dispatch.drain();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use routing::Direct;

    use super::*;
    use crate::remembers::Remembers;

    fn member(id: u32, port: u16, takes_requests: bool) -> Member {
        Member { id: EndpointId(id), address: ([127, 0, 0, 1], port).into(), takes_requests }
    }

    #[test]
    fn who_is_gone_is_forgotten_and_who_only_rests_is_not() {
        let policy = Remembers::default();
        let dispatch = Box::new(Direct::new(policy.clone()));
        let shared = Shared::new(dispatch, Limits::default(), None, None);
        let looked_at = shared.set_members(&[member(0, 1, true), member(1, 2, false)]);
        assert_eq!(looked_at.iter().map(|member| member.id.0).collect::<Vec<_>>(), [0]);
        assert_eq!(shared.counts().ready, 0, "nobody has looked yet");
        shared.set_ready(vec![EndpointId(0), EndpointId(1)]);
        assert_eq!(shared.counts().ready, 1, "one may not get requests");
        // Its readiness comes and goes; a look that began before ends after that.
        shared.set_members(&[member(0, 1, false), member(1, 2, true)]);
        shared.set_ready(vec![EndpointId(0)]);
        assert_eq!(shared.counts().ready, 0);
        assert_eq!(policy.told().forgotten, []);
        // Another pod at the same address.
        shared.set_members(&[member(2, 1, true), member(1, 2, true)]);
        assert_eq!(policy.told().forgotten, [EndpointId(0)]);
        assert!(shared.endpoint(EndpointId(0)).is_none());
        assert_eq!(shared.endpoint(EndpointId(2)).unwrap().address.port(), 1);
        shared.set_members(&[]);
        assert_eq!(shared.members.read().unwrap().len(), 0);
    }
}
