//! CPU and memory of pods' processes, from `/proc`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apimachinery::Key;
use apimachinery::quantity::Quantity;
use jiff::Timestamp;
use process_tree::{Process, Tree};
use tokio::time::Instant;

use crate::agent::{NodeAgent, Shared};
use crate::pod::worker::Message;

/// What a container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// Billionths of a CPU, over the window.
    pub cpu_nano: u64,
    /// Resident bytes.
    pub memory_bytes: u64,
}

/// What a pod uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodUsage {
    /// The pod.
    pub pod: Key,
    /// Its node.
    pub node: String,
    /// When it was measured.
    pub time: Timestamp,
    /// Over which time.
    pub window: Duration,
    /// Its containers that run.
    pub containers: Vec<ContainerUsage>,
}

/// What the pods of a node use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUsage {
    /// The node.
    pub node: String,
    /// When it was measured.
    pub time: Timestamp,
    /// Over which time.
    pub window: Duration,
    /// Billionths of a CPU.
    pub cpu_nano: u64,
    /// Resident bytes.
    pub memory_bytes: u64,
}

/// The last measurement.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Ticks of each process at the last measurement, and when that was.
    before: HashMap<u32, u64>,
    at: Option<Instant>,
    usages: Vec<PodUsage>,
}

/// A container to be measured.
struct Target {
    pod: Key,
    node: String,
    container: String,
    supervisor: u32,
    main: u32,
}

/// Measures until the agent ends.
pub(crate) async fn measure(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.config.timing.metrics).await;
        for (pod, container) in sample(&shared) {
            let inbox = shared.find(&pod).map(|(_, inbox, _)| inbox);
            if let Ok(inbox) = inbox {
                let _has_ended = inbox.send(Message::OutOfMemory { container }).await;
            }
        }
    }
}

/// Measures once. Returns containers that use more memory than they may.
fn sample(shared: &Shared) -> Vec<(Key, String)> {
    let targets = targets(shared);
    let all = Tree::look();
    let now = Instant::now();
    let mut state = shared.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
    let window = state.at.map_or(Duration::ZERO, |at| now.duration_since(at));
    let (tick, page) = units();
    let mut ticks = HashMap::new();
    let mut pods: BTreeMap<Key, PodUsage> = BTreeMap::new();
    let mut over = Vec::new();
    let time = shared.store.now();
    for target in &targets {
        let own = of_container(&all, target, &targets);
        let mut used = 0;
        let mut pages = 0;
        for process in &own {
            let before = state.before.get(&process.id).copied().unwrap_or(0);
            used += process.ticks.saturating_sub(before);
            pages += process.pages;
            ticks.insert(process.id, process.ticks);
        }
        let seconds = window.as_secs_f64();
        let cpu_nano = if seconds > 0.0 { used as f64 / tick as f64 / seconds * 1e9 } else { 0.0 };
        let memory_bytes = pages * page;
        let usage = ContainerUsage {
            name: target.container.clone(),
            cpu_nano: cpu_nano as u64,
            memory_bytes,
        };
        if limit(shared, target)
            .is_some_and(|limit| i64::try_from(memory_bytes).is_ok_and(|used| used > limit))
        {
            over.push((target.pod.clone(), target.container.clone()));
        }
        let pod = pods.entry(target.pod.clone()).or_insert_with(|| PodUsage {
            pod: target.pod.clone(),
            node: target.node.clone(),
            time,
            window,
            containers: Vec::new(),
        });
        pod.containers.push(usage);
    }
    state.before = ticks;
    state.at = Some(now);
    // The first measurement knows no time span yet.
    state.usages = if window.is_zero() { Vec::new() } else { pods.into_values().collect() };
    over
}

fn targets(shared: &Shared) -> Vec<Target> {
    let handles = shared.handles();
    let mut all = Vec::new();
    for handle in handles.values() {
        let view = handle.view.borrow();
        let Some(sandbox) = &view.sandbox else { continue };
        for (name, container) in &view.containers {
            let Some(main) = container.pid else { continue };
            all.push(Target {
                pod: handle.key.clone(),
                node: handle.node.clone(),
                container: name.clone(),
                supervisor: sandbox.pid(),
                main,
            });
        }
    }
    all
}

/// Processes of a container: below its main process, or of its session; what else is in a pod of one container is that one's.
fn of_container(all: &Tree, target: &Target, targets: &[Target]) -> Vec<Process> {
    let alone = targets.iter().filter(|one| one.supervisor == target.supervisor).count() == 1;
    if alone {
        return all.alive_below(target.supervisor);
    }
    let mut own = all.alive_below(target.main);
    own.extend(all.get(target.main).filter(Process::is_alive));
    own
}

/// The container's memory limit, in bytes.
fn limit(shared: &Shared, target: &Target) -> Option<i64> {
    let object = shared.store.get(&shared.pods, &target.pod).ok()?;
    let spec = &object.value()["spec"];
    let lists = ["containers", "initContainers"].into_iter();
    let mut all = lists.flat_map(|list| spec[list].as_array().into_iter().flatten());
    let one = all.find(|one| one["name"] == target.container.as_str())?;
    Quantity::from_json(&one["resources"]["limits"]["memory"]).map(Quantity::value)
}

/// Clock ticks of a second, bytes of a page.
fn units() -> (u64, u64) {
    use nix::unistd::{SysconfVar, sysconf};
    let ask = |what, default| {
        let answer = sysconf(what).ok().flatten();
        answer
            .and_then(|value| u64::try_from(value).ok())
            .filter(|value| *value > 0)
            .unwrap_or(default)
    };
    (ask(SysconfVar::CLK_TCK, 100), ask(SysconfVar::PAGE_SIZE, 4096))
}

impl NodeAgent {
    /// What pods use, as of the last measurement; of one namespace, or of all.
    #[must_use]
    pub fn pod_metrics(&self, namespace: Option<&str>) -> Vec<PodUsage> {
        let state = self.shared.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |usage: &&PodUsage| namespace.is_none_or(|name| usage.pod.namespace == name);
        state.usages.iter().filter(wanted).cloned().collect()
    }

    /// What the pods of each node use, as of the last measurement.
    #[must_use]
    pub fn node_metrics(&self) -> Vec<NodeUsage> {
        let usages = self.pod_metrics(None);
        let window = usages.first().map_or(self.shared.config.timing.metrics, |one| one.window);
        let time = usages.first().map_or_else(|| self.shared.store.now(), |one| one.time);
        let alive =
            self.shared.nodes.names().into_iter().filter(|name| !self.shared.nodes.is_dead(name));
        let sums = alive.map(|node| {
            let own = || {
                let here = usages.iter().filter(|one| one.node == node);
                here.flat_map(|one| one.containers.iter())
            };
            let cpu_nano = own().map(|one| one.cpu_nano).sum();
            let memory_bytes = own().map(|one| one.memory_bytes).sum();
            NodeUsage { node, time, window, cpu_nano, memory_bytes }
        });
        sums.collect()
    }
}
