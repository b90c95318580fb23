//! A policy of tests, which takes the first endpoint and remembers what it is told.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use routing::{EndpointId, EndpointView, KvEvent, Policy, RouteRequest};

/// What it was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The endpoints of its last choice.
    pub(crate) shown: Vec<EndpointView>,
    /// Whom it was told to forget.
    pub(crate) forgotten: Vec<EndpointId>,
    /// What endpoints told of their caches.
    pub(crate) heard: Vec<(EndpointId, KvEvent)>,
}

/// The policy; a clone looks into the same memory.
#[derive(Default, Clone)]
pub(crate) struct Remembers(Arc<Mutex<Told>>);

impl Remembers {
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }
}

impl Policy for Remembers {
    fn choose(
        &mut self,
        _request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        _now: Duration,
    ) -> Option<usize> {
        self.told().shown = endpoints.to_vec();
        (!endpoints.is_empty()).then_some(0)
    }

    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        self.told().heard.push((endpoint, event.clone()));
    }

    fn forget(&mut self, endpoint: EndpointId) {
        self.told().forgotten.push(endpoint);
    }
}
