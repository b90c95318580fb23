//! Nodes: their objects, their heartbeats, and how they die.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apimachinery::{Key, Kind, Status};
use object_store::{ObjectRef, Part, Store, WriteOptions};
use serde_json::{Value, json};

use crate::agent::{NodeAgent, Shared};
use crate::config::{Config, NodeConfig, Timing};
use crate::error::AgentError;
use crate::events::{About, Level, seconds};
use crate::net::AddressPlan;
use crate::pod::worker::Message;

/// Where nodes' leases are.
const LEASES: &str = "kube-node-lease";
/// Label and taint of a node that may be taken away.
pub(crate) const SPOT: &str = "llm-lab/spot";
/// Taint of a node that will be taken away soon.
const SPOT_NOTICE: &str = "llm-lab/spot-interruption";

/// All nodes.
pub(crate) struct Nodes {
    store: Store,
    kind: Arc<Kind>,
    leases: Arc<Kind>,
    timing: Timing,
    all: Vec<(NodeConfig, Ipv4Addr)>,
    dead: Mutex<BTreeSet<String>>,
}

impl Nodes {
    pub(crate) fn new(store: Store, config: &Config, plan: &AddressPlan) -> Self {
        let addresses = (0_u32..).map(|index| plan.node(index));
        Self {
            kind: store.kind("", "nodes"),
            leases: store.kind("coordination.k8s.io", "leases"),
            store,
            timing: config.timing,
            all: config.nodes.iter().cloned().zip(addresses).collect(),
            dead: Mutex::default(),
        }
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.all.iter().map(|(node, _)| node.name.clone()).collect()
    }

    pub(crate) fn address(&self, name: &str) -> String {
        let found = self.all.iter().find(|(node, _)| node.name == name);
        found.map(|(_, address)| address.to_string()).unwrap_or_default()
    }

    pub(crate) fn is_dead(&self, name: &str) -> bool {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn bury(&self, name: &str, dead: bool) {
        let mut all = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if dead {
            all.insert(name.to_owned());
        } else {
            all.remove(name);
        }
    }

    /// Creates or completes every node's object and lease.
    pub(crate) fn register(&self) -> Result<(), AgentError> {
        let namespaces = self.store.kind("", "namespaces");
        let options = WriteOptions::by("kubelet");
        let namespace = json!({"metadata": {"name": LEASES}});
        let _is_there = self.store.create(&namespaces, namespace, &options);
        for (node, address) in &self.all {
            self.register_one(node, *address)?;
        }
        Ok(())
    }

    fn register_one(&self, node: &NodeConfig, address: Ipv4Addr) -> Result<ObjectRef, AgentError> {
        let key = Key::cluster(node.name.clone());
        let options = WriteOptions::by("kubelet");
        let wanted = object(node);
        match self.store.create(&self.kind, wanted.clone(), &options) {
            Ok(_) => {}
            Err(refused) if refused.code == 409 => {
                // It was there before; whether it is cordoned is not for us to change.
                let patch = &mut |old: &Value| {
                    let mut new = old.clone();
                    for (key, value) in
                        wanted["metadata"]["labels"].as_object().into_iter().flatten()
                    {
                        new["metadata"]["labels"][key] = value.clone();
                    }
                    Ok(new)
                };
                self.store.update(&self.kind, &key, &options, patch)?;
            }
            Err(refused) => return Err(refused.into()),
        }
        let status = self.write_status(node, address, true)?;
        self.renew(node)?;
        Ok(status)
    }

    fn write_status(
        &self,
        node: &NodeConfig,
        address: Ipv4Addr,
        whole: bool,
    ) -> Result<ObjectRef, Status> {
        let now = seconds(self.store.now());
        let patch = &mut |old: &Value| {
            let mut new = old.clone();
            if whole {
                let capacity = capacity(node);
                new["status"]["capacity"] = capacity.clone();
                new["status"]["allocatable"] = capacity;
                new["status"]["addresses"] = json!([
                    {"type": "InternalIP", "address": address.to_string()},
                    {"type": "Hostname", "address": node.name},
                ]);
                new["status"]["nodeInfo"] = info();
                new["status"]["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": 10250}});
            }
            new["status"]["conditions"] = conditions(&old["status"]["conditions"], &now);
            Ok(new)
        };
        let key = Key::cluster(node.name.clone());
        let options = WriteOptions::by("kubelet").of(Part::Status);
        self.store.update(&self.kind, &key, &options, patch)
    }

    /// Renews a node's lease.
    fn renew(&self, node: &NodeConfig) -> Result<(), Status> {
        let key = Key::namespaced(LEASES, node.name.clone());
        let now = self.store.now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let options = WriteOptions::by("kubelet");
        let patch = &mut |old: &Value| {
            let mut new = old.clone();
            new["spec"]["renewTime"] = json!(now);
            Ok(new)
        };
        match self.store.update(&self.leases, &key, &options, patch) {
            Err(refused) if refused.code == 404 => {}
            other => return other.map(drop),
        }
        let uid = self.store.get(&self.kind, &Key::cluster(node.name.clone()))?;
        let lease = json!({
            "metadata": {
                "name": node.name,
                "namespace": LEASES,
                "ownerReferences": [{
                    "apiVersion": "v1",
                    "kind": "Node",
                    "name": node.name,
                    "uid": apimachinery::Meta::uid(uid.value()),
                }],
            },
            "spec": {
                "holderIdentity": node.name,
                "leaseDurationSeconds": 40,
                "renewTime": now,
            },
        });
        self.store.create(&self.leases, lease, &options).map(drop)
    }

    fn about(&self, name: &str) -> Option<About> {
        let object = self.store.get(&self.kind, &Key::cluster(name)).ok()?;
        Some(About::object(object.value(), name))
    }

    fn taint(&self, name: &str, key: &str, effect: &str, add: bool) -> Result<(), Status> {
        let now = seconds(self.store.now());
        let patch = &mut |old: &Value| {
            let mut new = old.clone();
            let mut taints = old["spec"]["taints"].as_array().cloned().unwrap_or_default();
            taints.retain(|one| one["key"] != key || one["effect"] != effect);
            if add {
                taints.push(json!({"key": key, "effect": effect, "timeAdded": now}));
            }
            new["spec"]["taints"] = json!(taints);
            Ok(new)
        };
        let options = WriteOptions::by("kubelet");
        self.store.update(&self.kind, &Key::cluster(name), &options, patch).map(drop)
    }
}

/// Keeps the nodes that live looking alive.
pub(crate) async fn heartbeats(shared: Arc<Shared>) {
    let nodes = &shared.nodes;
    // The kubelet renews its lease every 10 s and its status every 5 min, which is 30 times as rare.
    for beat in 1_u64.. {
        tokio::time::sleep(nodes.timing.heartbeat).await;
        for (node, address) in &nodes.all {
            if nodes.is_dead(&node.name) {
                continue;
            }
            let mut beaten = nodes.renew(node);
            if beat % 30 == 0 && beaten.is_ok() {
                beaten = nodes.write_status(node, *address, false).map(drop);
            }
            if let Err(refused) = beaten {
                // Deleted nodes register anew, as when a kubelet restarts.
                tracing::debug!(node = %node.name, %refused, "a heartbeat was refused");
                let _tried_again_next_time = nodes.register_one(node, *address);
            }
        }
    }
}

impl NodeAgent {
    fn known(&self, name: &str) -> Result<&NodeConfig, AgentError> {
        let found = self.shared.nodes.all.iter().find(|(node, _)| node.name == name);
        found.map(|(node, _)| node).ok_or_else(|| AgentError::NoNode(name.to_owned()))
    }

    /// A node loses power: its processes are killed and it is heard of no more.
    ///
    /// # Errors
    /// [`AgentError::NoNode`].
    pub async fn node_die(&self, name: &str) -> Result<(), AgentError> {
        self.known(name)?;
        self.shared.nodes.bury(name, true);
        let inboxes: Vec<_> = {
            let mut handles = self.shared.handles();
            let theirs: Vec<String> = handles
                .iter()
                .filter(|(_, handle)| handle.node == name)
                .map(|(uid, _)| uid.clone())
                .collect();
            theirs.iter().filter_map(|uid| handles.remove(uid)).map(|handle| handle.inbox).collect()
        };
        for inbox in inboxes {
            let _has_ended = inbox.send(Message::NodeDied).await;
        }
        Ok(())
    }

    /// A node that had died comes back, empty.
    ///
    /// # Errors
    /// [`AgentError::NoNode`], and what the store refuses.
    pub fn node_revive(&self, name: &str) -> Result<(), AgentError> {
        self.known(name)?;
        let nodes = &self.shared.nodes;
        nodes.bury(name, false);
        for (node, address) in nodes.all.iter().filter(|(node, _)| node.name == name) {
            nodes.register_one(node, *address)?;
        }
        nodes.taint(name, SPOT_NOTICE, "NoSchedule", false)?;
        if let Some(about) = nodes.about(name) {
            let message = format!("Node {name} has been rebooted");
            self.shared.events.say(&about, "", Level::Warning, "Rebooted", &message);
        }
        Ok(())
    }

    /// A spot node is told that it will be taken away: a taint and an event at once, death after the notice (none: the
    /// configured one). Returns when the node is dead.
    ///
    /// # Errors
    /// [`AgentError::NoNode`], [`AgentError::Invalid`] for a node that is not a spot node, and what the store refuses.
    pub async fn spot_notice(
        &self,
        name: &str,
        notice: Option<Duration>,
    ) -> Result<(), AgentError> {
        if !self.known(name)?.spot {
            return Err(AgentError::Invalid(format!("node {name:?} is not a spot node")));
        }
        let nodes = &self.shared.nodes;
        let notice = notice.unwrap_or(nodes.timing.spot_notice);
        nodes.taint(name, SPOT_NOTICE, "NoSchedule", true)?;
        if let Some(about) = nodes.about(name) {
            let message = format!("Node {name} will be taken away in {notice:?}");
            self.shared.events.say(&about, "", Level::Warning, "SpotInterruption", &message);
        }
        tokio::time::sleep(notice).await;
        self.node_die(name).await
    }
}

/// A node's object without its status.
fn object(node: &NodeConfig) -> Value {
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), node.name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), arch().to_owned()),
    ]);
    let mut label = |key: &str, value: Option<String>| {
        labels.extend(value.map(|value| (key.to_owned(), value)));
    };
    label("topology.kubernetes.io/region", node.region.clone());
    label("topology.kubernetes.io/zone", node.zone.clone());
    label(SPOT, node.spot.then(|| "true".to_owned()));
    if let Some(gpu) = &node.gpu {
        label("nvidia.com/gpu.present", Some("true".to_owned()));
        label("nvidia.com/gpu.product", Some(gpu.product.clone()));
        label("nvidia.com/gpu.count", Some(gpu.count.to_string()));
        label("nvidia.com/gpu.memory", gpu.memory_mib.map(|mib| mib.to_string()));
    }
    labels.extend(node.labels.clone());
    let mut taints: Vec<Value> = node
        .taints
        .iter()
        .map(|taint| json!({"key": taint.key, "value": taint.value, "effect": taint.effect}))
        .collect();
    if node.spot {
        taints.push(json!({"key": SPOT, "value": "true", "effect": "NoSchedule"}));
    }
    let mut spec = json!({"providerID": format!("embedded://{}", node.name)});
    if !taints.is_empty() {
        spec["taints"] = json!(taints);
    }
    json!({"metadata": {"name": node.name, "labels": labels}, "spec": spec})
}

fn capacity(node: &NodeConfig) -> Value {
    let mut all = json!({
        "cpu": node.cpu,
        "memory": node.memory,
        "pods": node.pods.to_string(),
        "ephemeral-storage": "100Gi",
    });
    if let Some(gpu) = &node.gpu {
        all["nvidia.com/gpu"] = json!(gpu.count.to_string());
    }
    all
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn info() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    json!({
        "architecture": arch(),
        "bootID": read("/proc/sys/kernel/random/boot_id"),
        "containerRuntimeVersion": "embedded://processes",
        "kernelVersion": read("/proc/sys/kernel/osrelease"),
        "kubeProxyVersion": "",
        "kubeletVersion": "v1.34.0+embedded",
        "machineID": "",
        "operatingSystem": std::env::consts::OS,
        "osImage": "embedded cluster",
        "systemUUID": "",
    })
}

/// A node's conditions, all well; the time of the last change stays.
fn conditions(old: &Value, now: &str) -> Value {
    let all = [
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let before =
        |kind: &str| old.as_array().into_iter().flatten().find(|one| one["type"] == kind).cloned();
    let new = all.iter().map(|(kind, status, reason, message)| {
        let same = before(kind).filter(|one| one["status"] == *status);
        let since = same.map_or_else(|| json!(now), |one| one["lastTransitionTime"].clone());
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": since,
        })
    });
    let mut new: Vec<Value> = new.collect();
    let others = old.as_array().into_iter().flatten();
    let known = |kind: &Value| all.iter().any(|(one, ..)| kind == *one);
    new.extend(others.filter(|one| !known(&one["type"])).cloned());
    json!(new)
}
