//! All nodes of a cluster: which pods are theirs, and what is asked of them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apimachinery::quantity::Quantity;
use apimachinery::{Key, Kind, Meta};
use k8s_openapi::api::core::v1::Pod;
use object_store::{ChangeType, ObjectRef, Selection, Store};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::config::{Config, NodeConfig};
use crate::error::AgentError;
use crate::events::Recorder;
use crate::metrics::Meter;
use crate::net::Net;
use crate::node::Nodes;
use crate::pod::fields::Place;
use crate::pod::worker::{self, Message, View};
use crate::supervisor::view;

/// Variables of the agent that programs get too, unless their image or container sets them.
const INHERITED: [&str; 4] = ["PATH", "LANG", "TZ", "TMPDIR"];

/// What every part of the agent uses.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) pods: Arc<Kind>,
    pub(crate) events: Recorder,
    pub(crate) net: Net,
    pub(crate) nodes: Nodes,
    pub(crate) meter: Meter,
    /// Whether programs get views of files of their own.
    pub(crate) views: bool,
    pub(crate) base_env: BTreeMap<String, String>,
    /// Pods on our nodes, by uid.
    handles: Mutex<HashMap<String, Handle>>,
}

/// A pod's task.
pub(crate) struct Handle {
    pub(crate) key: Key,
    pub(crate) node: String,
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) view: watch::Receiver<View>,
    task: JoinHandle<()>,
}

impl Shared {
    pub(crate) fn handles(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a pod on a node can know of it.
    pub(crate) fn place(&self, node: &str) -> Place {
        let config = self.config.nodes.iter().find(|one| one.name == node);
        let amount = |of: fn(&NodeConfig) -> &String| -> Option<Quantity> {
            config.and_then(|one| of(one).parse().ok())
        };
        Place {
            bind: String::new(),
            host_ip: self.nodes.address(node),
            cpu_milli: amount(|one| &one.cpu).map_or(0, Quantity::milli),
            memory: amount(|one| &one.memory).map_or(0, Quantity::value),
        }
    }

    /// Where the logs of a pod are.
    pub(crate) fn log_dir(&self, key: &Key, uid: &str) -> PathBuf {
        let name = format!("{}_{}_{uid}", key.namespace, key.name);
        self.config.state_dir.join("logs").join(name)
    }

    /// A pod by its key: its uid, messages to it, and how it stands.
    pub(crate) fn find(
        &self,
        key: &Key,
    ) -> Result<(String, mpsc::Sender<Message>, watch::Receiver<View>), AgentError> {
        let handles = self.handles();
        // The newest, while one of the same name is still ending.
        let uid = self.store.get(&self.pods, key).map(|object| object.value().uid().to_owned());
        let found = uid.ok().and_then(|uid| handles.get_key_value(&uid));
        let (uid, handle) = found.ok_or_else(|| AgentError::NoPod(key.name.clone()))?;
        Ok((uid.clone(), handle.inbox.clone(), handle.view.clone()))
    }
}

/// All nodes of a cluster in this process. Cloning gives another handle.
#[derive(Clone)]
pub struct NodeAgent {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for NodeAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeAgent")
            .field("pods", &self.shared.handles().len())
            .finish_non_exhaustive()
    }
}

impl NodeAgent {
    /// Prepares directories and addresses. Nothing runs before [`run`](Self::run).
    ///
    /// # Errors
    /// [`AgentError::Io`] when the state directory cannot be made or no block of addresses is free.
    pub fn new(store: Store, mut config: Config) -> Result<Self, AgentError> {
        let made = std::fs::create_dir_all(&config.state_dir)
            .and_then(|()| std::fs::canonicalize(&config.state_dir));
        let what = format!("state directory {}", config.state_dir.display());
        config.state_dir = made.map_err(AgentError::io(what))?;
        // Processes of an earlier life are gone, and what was theirs alone with them.
        let _first_life = std::fs::remove_dir_all(config.state_dir.join("pods"));
        let net = Net::new(&config).map_err(AgentError::io("loopback addresses"))?;
        let nodes = Nodes::new(store.clone(), &config, net.plan());
        // Who gets the connections says where services are.
        store.set_service_network(net.plan().service_network());
        let inherited = INHERITED
            .iter()
            .filter_map(|name| std::env::var(name).ok().map(|value| ((*name).to_owned(), value)));
        let shared = Shared {
            pods: store.kind("", "pods"),
            events: Recorder::new(store.clone()),
            views: config.private_views && view::is_possible(),
            base_env: inherited.collect(),
            handles: Mutex::default(),
            meter: Meter::default(),
            net,
            nodes,
            store,
            config,
        };
        let shared = Arc::new(shared);
        shared.net.know(&shared);
        Ok(Self { shared })
    }

    /// Runs until `shutdown` is done; then every process of every pod is gone.
    ///
    /// # Errors
    /// [`AgentError::Refused`] when the nodes cannot be registered.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let shared = &self.shared;
        shared.nodes.register()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(crate::node::heartbeats(Arc::clone(shared)));
        tasks.spawn(crate::metrics::measure(Arc::clone(shared)));
        tasks.spawn(crate::net::serve(Arc::clone(shared)));
        tasks.spawn(follow_configuration(Arc::clone(shared), "configmaps"));
        tasks.spawn(follow_configuration(Arc::clone(shared), "secrets"));
        tasks.spawn(follow_pods(Arc::clone(shared)));
        tokio::select! {
            () = shutdown => {}
            // None of them ends by itself; if one does, it has panicked, and the cluster should not pretend to live.
            Some(ended) = tasks.join_next() => {
                tracing::error!(?ended, "a part of the node agent ended");
            }
        }
        tasks.shutdown().await;
        self.end_all().await;
        Ok(())
    }

    /// Ends every pod's processes, without a word about it.
    async fn end_all(&self) {
        let handles: Vec<Handle> =
            self.shared.handles().drain().map(|(_, handle)| handle).collect();
        for handle in &handles {
            let _ended_already = handle.inbox.send(Message::NodeDied).await;
        }
        for handle in handles {
            let _ended = handle.task.await;
        }
    }

    /// Sends a pod a message that asks for an answer.
    pub(crate) async fn ask<T>(
        &self,
        pod: &Key,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, AgentError> {
        let (_, inbox, _) = self.shared.find(pod)?;
        let (sender, receiver) = oneshot::channel();
        let gone = || AgentError::NoPod(pod.name.clone());
        inbox.send(message(sender)).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())
    }

    /// Kills one container of a pod, or all; the pod's restart policy decides what follows. Says how many ran.
    ///
    /// # Errors
    /// [`AgentError::NoPod`].
    pub async fn kill(&self, pod: &Key, container: Option<&str>) -> Result<usize, AgentError> {
        let container = container.map(str::to_owned);
        self.ask(pod, |done| Message::Kill { container, done }).await
    }

    /// Stops every process of a pod (SIGSTOP): hung, but there.
    ///
    /// # Errors
    /// [`AgentError::NoPod`].
    pub async fn pause(&self, pod: &Key) -> Result<(), AgentError> {
        self.ask(pod, |done| Message::Freeze { frozen: true, done }).await
    }

    /// Lets the processes of a pod go on.
    ///
    /// # Errors
    /// [`AgentError::NoPod`].
    pub async fn resume(&self, pod: &Key) -> Result<(), AgentError> {
        self.ask(pod, |done| Message::Freeze { frozen: false, done }).await
    }

    /// Faults of links between pods, changeable at any time.
    #[must_use]
    pub fn faults(&self) -> &crate::net::faults::Faults {
        self.shared.net.faults()
    }

    /// Which loopback addresses are whose.
    #[must_use]
    pub fn addresses(&self) -> &crate::net::AddressPlan {
        self.shared.net.plan()
    }

    /// Pods on our nodes.
    #[must_use]
    pub fn pods(&self) -> Vec<Key> {
        self.shared.handles().values().map(|handle| handle.key.clone()).collect()
    }
}

/// Tells every pod's task of its object's changes.
async fn follow_pods(shared: Arc<Shared>) {
    let ours = {
        let nodes = shared.nodes.names();
        move |pod: &Value| pod["spec"]["nodeName"].as_str().is_some_and(|name| nodes.contains(name))
    };
    let selection = Selection { matches: Some(Arc::new(ours)), ..Selection::default() };
    loop {
        // From the beginning, and again whenever changes were missed.
        let revision = shared.store.revision();
        let all = shared.store.select(&shared.pods, &selection);
        forget_missing(&shared, &all).await;
        for object in all {
            take_in(&shared, object).await;
        }
        let Ok(mut changes) = shared.store.watch(&shared.pods, selection.clone(), Some(revision))
        else {
            continue;
        };
        while let Ok(change) = changes.next().await {
            match change.change {
                ChangeType::Added | ChangeType::Modified => take_in(&shared, change.object).await,
                ChangeType::Deleted => drop_pod(&shared, change.object.value().uid()).await,
            }
        }
    }
}

async fn take_in(shared: &Arc<Shared>, object: ObjectRef) {
    let uid = object.value().uid().to_owned();
    let inbox = shared.handles().get(&uid).map(|handle| handle.inbox.clone());
    if let Some(inbox) = inbox {
        let _has_ended = inbox.send(Message::Changed(object)).await;
        return;
    }
    let node = object.value()["spec"]["nodeName"].as_str().unwrap_or("").to_owned();
    if shared.nodes.is_dead(&node) {
        return;
    }
    let pod = match object.typed::<Pod>() {
        Ok(pod) => pod,
        Err(refused) => {
            tracing::error!(%refused, "a pod cannot be read");
            return;
        }
    };
    let key = object.key();
    let (inbox, view, task) = worker::start(Arc::clone(shared), object, pod);
    shared.handles().insert(uid, Handle { key, node, inbox, view, task });
}

async fn drop_pod(shared: &Shared, uid: &str) {
    let handle = shared.handles().remove(uid);
    if let Some(handle) = handle {
        let _has_ended = handle.inbox.send(Message::Gone).await;
    }
}

async fn forget_missing(shared: &Shared, all: &[ObjectRef]) {
    let missing: Vec<String> = {
        let handles = shared.handles();
        let is_there = |uid: &String| all.iter().any(|object| object.value().uid() == uid);
        handles.keys().filter(|uid| !is_there(uid)).cloned().collect()
    };
    for uid in missing {
        drop_pod(shared, &uid).await;
    }
}

/// Tells pods when ConfigMaps or Secrets of their namespace change.
async fn follow_configuration(shared: Arc<Shared>, plural: &'static str) {
    let kind = shared.store.kind("", plural);
    loop {
        let Ok(mut changes) = shared.store.watch(&kind, Selection::default(), None) else {
            continue;
        };
        while let Ok(change) = changes.next().await {
            let namespace = change.object.value().namespace();
            let inboxes: Vec<_> = {
                let handles = shared.handles();
                let there = handles.values().filter(|handle| handle.key.namespace == namespace);
                there.map(|handle| handle.inbox.clone()).collect()
            };
            for inbox in inboxes {
                let _has_ended = inbox.send(Message::Refresh).await;
            }
        }
    }
}
