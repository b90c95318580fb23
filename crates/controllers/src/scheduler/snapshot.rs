//! Nodes and the pods on them, read once from objects into what filters and scores need.

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::{Key, Meta};
use serde_json::{Map, Value};

use super::resources::{self, Resources};
use crate::fields::Fields;
use crate::{owner, pod};

/// A port of the host: address, protocol, number.
pub(crate) type HostPort = (String, String, i64);

/// A pod as the scheduler sees it.
#[derive(Clone, Debug)]
pub(crate) struct PodInfo {
    pub(crate) key: Key,
    /// The node that it is bound to; empty: none.
    pub(crate) node: String,
    /// The node that was cleared for it; empty: none.
    pub(crate) nominated: String,
    pub(crate) labels: Map<String, Value>,
    pub(crate) priority: i64,
    pub(crate) requests: Resources,
    pub(crate) scored: Resources,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) spec: Value,
    pub(crate) terminating: bool,
    /// When it started to run, as text: it sorts.
    pub(crate) started: String,
    /// The selector of whoever owns it, by which its kin are spread when it asks for nothing else.
    pub(crate) kin: Option<Value>,
}

impl PodInfo {
    /// Reads a pod. `priority`: resolved by whoever knows the classes.
    pub(crate) fn of(pod: &Value, priority: i64) -> Self {
        Self {
            key: Key::of(pod),
            node: pod::node(pod).to_owned(),
            nominated: pod.text("status/nominatedNodeName").to_owned(),
            labels: pod.map("metadata/labels").clone(),
            priority,
            requests: resources::requests(pod),
            scored: resources::scored_requests(pod),
            ports: host_ports(pod),
            spec: slim(pod),
            terminating: pod.is_terminating(),
            started: pod.text("status/startTime").to_owned(),
            kin: kin(pod),
        }
    }
}

/// The parts of a spec that say where a pod may go.
fn slim(pod: &Value) -> Value {
    let fields = [
        "affinity",
        "nodeSelector",
        "tolerations",
        "topologySpreadConstraints",
        "preemptionPolicy",
    ];
    let taken = fields
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), pod["spec"].get(*field)?.clone())));
    Value::Object(taken.collect())
}

fn host_ports(pod: &Value) -> Vec<HostPort> {
    let containers = pod.list("spec/containers").iter().chain(pod.list("spec/initContainers"));
    let ports = containers.flat_map(|container| container.list("ports"));
    let host = |port: &Value| {
        let number = port.int("hostPort").filter(|number| *number > 0)?;
        let or = |text: &str, default: &str| {
            if text.is_empty() { default.to_owned() } else { text.to_owned() }
        };
        Some((or(port.text("hostIP"), "0.0.0.0"), or(port.text("protocol"), "TCP"), number))
    };
    ports.filter_map(host).collect()
}

/// Pods of one template are kin; owners say so by the labels that they add.
fn kin(pod: &Value) -> Option<Value> {
    owner::controller(pod)?;
    let own =
        ["pod-template-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"];
    let labels =
        pod.map("metadata/labels").iter().filter(|(name, _)| !own[1..].contains(&name.as_str()));
    let labels: Map<String, Value> =
        labels.map(|(name, value)| (name.clone(), value.clone())).collect();
    (!labels.is_empty()).then(|| serde_json::json!({"matchLabels": labels}))
}

/// A node with its pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeInfo {
    pub(crate) name: String,
    pub(crate) labels: Map<String, Value>,
    pub(crate) taints: Vec<Value>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Resources,
    /// Whether there is a node object: pods may name a node that is gone.
    pub(crate) exists: bool,
    pub(crate) pods: BTreeMap<Key, Arc<PodInfo>>,
    pub(crate) used: Resources,
    pub(crate) used_scored: Resources,
}

impl NodeInfo {
    /// Takes over what a node object says. Whether that changed.
    pub(crate) fn set(&mut self, node: &Value) -> bool {
        let mut allocatable = Resources::of(node.map("status/allocatable"));
        if allocatable.is_empty() {
            allocatable = Resources::of(node.map("status/capacity"));
        }
        let new = Self {
            name: node.name().to_owned(),
            labels: node.map("metadata/labels").clone(),
            taints: node.list("spec/taints").to_vec(),
            unschedulable: node.flag("spec/unschedulable"),
            allocatable,
            exists: true,
            pods: std::mem::take(&mut self.pods),
            used: std::mem::take(&mut self.used),
            used_scored: std::mem::take(&mut self.used_scored),
        };
        let changed =
            (&self.labels, &self.taints, self.unschedulable, &self.allocatable, self.exists)
                != (&new.labels, &new.taints, new.unschedulable, &new.allocatable, true);
        *self = new;
        changed
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(&pod.key.clone());
        self.used.add(&pod.requests);
        self.used_scored.add(&pod.scored);
        self.pods.insert(pod.key.clone(), pod);
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        if let Some(pod) = self.pods.remove(key) {
            self.used.subtract(&pod.requests);
            self.used_scored.subtract(&pod.scored);
        }
    }
}

/// All nodes with their pods, and what namespaces are labelled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) nodes: BTreeMap<String, NodeInfo>,
    pub(crate) namespaces: BTreeMap<String, Map<String, Value>>,
}

impl Snapshot {
    /// The nodes that exist.
    pub(crate) fn existing(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|node| node.exists)
    }

    pub(crate) fn place(&mut self, pod: Arc<PodInfo>) {
        let node = self.nodes.entry(pod.node.clone()).or_default();
        node.add(pod);
    }

    pub(crate) fn take(&mut self, node: &str, key: &Key) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.remove(key);
            if !known.exists && known.pods.is_empty() {
                self.nodes.remove(node);
            }
        }
    }

    /// The node's object is gone; its pods may still be there.
    pub(crate) fn forget_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.exists = false;
            if node.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }
}
