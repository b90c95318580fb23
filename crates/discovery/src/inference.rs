//! The watch of an inference pool: the InferencePool says which pods, the pods say where, and the InferenceObjectives what a request is
//! worth. Knows no gateway.
//!
//! Both kinds are custom. Where their definitions are missing the API server answers 404, and the watch asks again with growing pauses:
//! definitions that are installed later are found.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::object::api;
use crate::watch::{pass, pod_slice, pods_with};
use crate::{Event, ObjectiveSpec, PoolSpec};

/// The group of pools.
const POOLS: &str = "inference.networking.k8s.io";
/// The group of objectives.
const OBJECTIVES: &str = "inference.networking.x-k8s.io";
/// Objectives of one pool that are remembered; a namespace with more keeps those whose names come first.
const REMEMBERED: usize = 4096;

/// Priority by name of the InferenceObjective.
pub type Priorities = BTreeMap<String, i32>;

/// Follows a pool. Each change of its selector or its ports begins a new list of pods. A pool that is gone has no pods; one that was
/// never there says nothing, not even that a list has ended.
pub(crate) async fn follow_pool(
    client: Client,
    namespace: String,
    name: String,
    events: mpsc::Sender<Event>,
) {
    let api = api(&client, &namespace, POOLS, "v1", "InferencePool", "inferencepools");
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut pools = pin!(watcher(api, config).default_backoff());
    let mut following: Option<(PoolSpec, Pods)> = None;
    // Whether the list that is under way has named the pool.
    let mut listed = false;
    loop {
        let next = tokio::select! {
            next = pools.next() => next,
            () = events.closed() => return,
        };
        let gone = match next {
            None => return,
            Some(Ok(watcher::Event::Init)) => {
                listed = false;
                false
            }
            Some(Ok(watcher::Event::InitApply(pool) | watcher::Event::Apply(pool))) => {
                listed = true;
                if let Some(spec) = read::<PoolSpec>(&pool)
                    && following.as_ref().is_none_or(|(known, _)| !known.same_pods(&spec))
                {
                    // The old one first: its events must not come after the new list.
                    if let Some((_, pods)) = following.take() {
                        pods.end().await;
                    }
                    let pods = Pods::of(&client, &namespace, &spec, events.clone());
                    following = Some((spec, pods));
                }
                false
            }
            Some(Ok(watcher::Event::InitDone)) => !listed,
            Some(Ok(watcher::Event::Delete(_))) => true,
            Some(Err(error)) => {
                tracing::warn!(%error, %namespace, %name, "the pool cannot be watched");
                if events.send(Event::Lost).await.is_err() {
                    return;
                }
                false
            }
        };
        if gone && let Some((_, pods)) = following.take() {
            tracing::warn!(%namespace, %name, "the pool is gone");
            pods.end().await;
            let empty = [Event::ListBegins, Event::ListEnds];
            for event in empty {
                if events.send(event).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The watch of a pool's pods.
struct Pods(JoinHandle<()>);

// === impl Pods ===

impl Pods {
    fn of(client: &Client, namespace: &str, spec: &PoolSpec, events: mpsc::Sender<Event>) -> Self {
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let config = pods_with(&spec.selector.match_labels);
        let ports: Vec<u16> = spec.target_ports.iter().map(|port| port.number).collect();
        Self(tokio::spawn(async move {
            pass(watcher(api, config), |pod| pod_slice(pod, &ports), &events).await;
        }))
    }

    /// Ends it; afterwards it says no more.
    async fn end(mut self) {
        self.0.abort();
        let _cancelled = (&mut self.0).await;
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches the objectives of a pool: what each of its names is worth, always the last state. Ends when nobody looks any more.
///
/// Objectives are of a pool when their `poolRef` names it. One without a priority has 0. Needs a runtime, and the right to list and watch.
#[must_use]
pub fn watch_objectives(
    client: &Client,
    namespace: &str,
    pool: String,
) -> watch::Receiver<Priorities> {
    let (told, receiver) = watch::channel(Priorities::new());
    let kind = ("InferenceObjective", "inferenceobjectives");
    let api = api(client, namespace, OBJECTIVES, "v1alpha2", kind.0, kind.1);
    tokio::spawn(async move {
        let mut objects = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let (mut known, mut listing) = (Priorities::new(), Priorities::new());
        loop {
            let next = tokio::select! {
                next = objects.next() => next,
                () = told.closed() => return,
            };
            match next {
                None => return,
                Some(Ok(watcher::Event::Init)) => listing = Priorities::new(),
                Some(Ok(watcher::Event::InitApply(object))) => note(&mut listing, &object, &pool),
                Some(Ok(watcher::Event::InitDone)) => known = std::mem::take(&mut listing),
                Some(Ok(watcher::Event::Apply(object))) => note(&mut known, &object, &pool),
                Some(Ok(watcher::Event::Delete(object))) => {
                    known.remove(&object.name_any());
                }
                Some(Err(error)) => tracing::warn!(%error, "objectives cannot be watched"),
            }
            told.send_if_modified(|last| {
                let changed = *last != known;
                if changed {
                    last.clone_from(&known);
                }
                changed
            });
        }
    });
    receiver
}

/// Takes note of an objective; one that went over to another pool is forgotten.
fn note(known: &mut Priorities, object: &DynamicObject, pool: &str) {
    let name = object.name_any();
    match read::<ObjectiveSpec>(object).filter(|spec| spec.pool_ref.is(pool)) {
        Some(spec) => {
            known.insert(name, spec.priority);
            if known.len() > REMEMBERED {
                known.pop_last();
            }
        }
        None => {
            known.remove(&name);
        }
    }
}

/// An object's spec; an object that cannot be read counts as not there.
fn read<T: DeserializeOwned>(object: &DynamicObject) -> Option<T> {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    match serde_json::from_value(spec) {
        Ok(spec) => Some(spec),
        Err(error) => {
            tracing::warn!(%error, name = object.name_any(), "an object cannot be read");
            None
        }
    }
}
