//! What all connections of a router share: who decides, the endpoints, the counters, the clock.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use otlp::Exporter;
use routing::{Arrival, Counts, Dispatch, EndpointId, Event, Orders, RequestKey, Scrape};
use slab::Slab;
use smallvec::SmallVec;

use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::traces::Routed;

/// One replica of a model server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    pub(crate) address: SocketAddr,
}

/// Shared by all threads of a router.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    started: Instant,
    /// Held for a microsecond at a time, and never across an await: a std Mutex.
    core: Mutex<Core>,
    endpoints: RwLock<Endpoints>,
    next_id: AtomicU64,
    draining: AtomicBool,
    /// What `Dispatch::reads_prompt` says.
    pub(crate) reads_prompt: bool,
    /// `None` where nobody asked for traces.
    pub(crate) traces: Option<Exporter<Routed>>,
}

struct Core {
    dispatch: Box<dyn Dispatch>,
    waiting: Slab<Waiting>,
}

/// How a request's task hears that it is its turn.
#[derive(Default)]
struct Waiting {
    turn: bool,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Endpoints {
    by_id: HashMap<EndpointId, Arc<Endpoint>, foldhash::fast::FixedState>,
    next: u32,
}

impl Shared {
    pub(crate) fn new(
        dispatch: Box<dyn Dispatch>,
        limits: Limits,
        traces: Option<Exporter<Routed>>,
    ) -> Self {
        Self {
            limits,
            metrics: Metrics::new(),
            started: Instant::now(),
            reads_prompt: dispatch.reads_prompt(),
            core: Mutex::new(Core { dispatch, waiting: Slab::new() }),
            endpoints: RwLock::default(),
            next_id: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            traces,
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

    pub(crate) fn endpoint(&self, id: EndpointId) -> Option<Arc<Endpoint>> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// These addresses serve, and no others. One that was there keeps its id.
    pub(crate) fn set_members(&self, addresses: &[SocketAddr]) -> Vec<Arc<Endpoint>> {
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        let Endpoints { by_id, next } = &mut *endpoints;
        by_id.retain(|_, endpoint| addresses.contains(&endpoint.address));
        for address in addresses {
            if !by_id.values().any(|endpoint| endpoint.address == *address) {
                let id = EndpointId(*next);
                *next += 1;
                by_id.insert(id, Arc::new(Endpoint { id, address: *address }));
            }
        }
        let mut members: Vec<_> = by_id.values().cloned().collect();
        members.sort_by_key(|endpoint| endpoint.id);
        members
    }

    pub(crate) fn set_ready(&self, ready: &[EndpointId]) {
        let now = self.now();
        let mut orders = Orders::default();
        self.with_core(&mut orders, |dispatch, orders| dispatch.set_ready(ready, now, orders));
    }

    pub(crate) fn set_scrape(&self, endpoint: EndpointId, scrape: Scrape) {
        self.core().dispatch.set_scrape(endpoint, scrape);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.core().dispatch.counts(self.now())
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
