//! A store with all controllers, under tokio's paused clock, and an agent that runs what it is given.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Key, Kind, Meta};
use controllers::Config;
use jiff::{SignedDuration, Timestamp};
use object_store::{ChangeType, Clock, DeleteOptions, Part, Selection, Store, WriteOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Virtual time that a test waits for at most.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Virtual time that a pod takes to start, and to end.
const START: Duration = Duration::from_millis(300);

/// Timestamps that follow tokio's clock.
struct Virtual {
    start: Instant,
    epoch: Timestamp,
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        self.epoch.checked_add(SignedDuration::try_from(self.start.elapsed()).unwrap()).unwrap()
    }
}

pub(crate) struct Cluster {
    pub(crate) store: Store,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Cluster {
    /// A cluster with these nodes, its controllers and an agent.
    pub(crate) fn start(nodes: &[&str]) -> Self {
        Self::start_with(nodes, Config::default())
    }

    pub(crate) fn start_with(nodes: &[&str], config: Config) -> Self {
        let mut cluster = Self::without_agent(nodes, config);
        cluster.tasks.push(tokio::spawn(agent(cluster.store.clone())));
        cluster
    }

    /// The same, where nobody runs pods.
    pub(crate) fn without_agent(nodes: &[&str], config: Config) -> Self {
        let epoch = "2026-01-01T00:00:00Z".parse().unwrap();
        let store = Store::new(Virtual { start: Instant::now(), epoch });
        let run = controllers::run(store.clone(), config, std::future::pending());
        let cluster = Self { tasks: vec![tokio::spawn(run)], store };
        cluster.create("", "namespaces", json!({"metadata": {"name": "default"}}));
        nodes.iter().for_each(|name| cluster.node(name, "8"));
        cluster
    }

    fn kind(&self, group: &str, plural: &str) -> Arc<Kind> {
        self.store.kind(group, plural)
    }

    fn key(kind: &Kind, name: &str) -> Key {
        let namespace = if kind.is_namespaced() { "default" } else { "" };
        Key::namespaced(namespace, name)
    }

    /// Stores an object, in namespace `default` unless it says otherwise.
    pub(crate) fn create(&self, group: &str, plural: &str, mut object: Value) -> Value {
        let kind = self.kind(group, plural);
        if kind.is_namespaced() && object.namespace().is_empty() {
            object["metadata"]["namespace"] = json!("default");
        }
        self.store.create(&kind, object, &WriteOptions::default()).unwrap().value().clone()
    }

    /// A node with so many cores.
    pub(crate) fn node(&self, name: &str, cores: &str) {
        let node = json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{name}"),
            }},
        });
        self.create("", "nodes", node);
        let room = json!({"cpu": cores, "memory": "64Gi", "pods": "110"});
        let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]);
        let status = json!({"allocatable": room, "capacity": room, "conditions": ready});
        self.status("", "nodes", name, status);
    }

    pub(crate) fn find(&self, group: &str, plural: &str, name: &str) -> Option<Value> {
        let kind = self.kind(group, plural);
        let found = self.store.get(&kind, &Self::key(&kind, name)).ok()?;
        Some(found.value().clone())
    }

    pub(crate) fn get(&self, group: &str, plural: &str, name: &str) -> Value {
        self.find(group, plural, name).unwrap()
    }

    pub(crate) fn list(&self, group: &str, plural: &str) -> Vec<Value> {
        let all = self.store.select(&self.kind(group, plural), &Selection::default());
        all.iter().map(|object| object.value().clone()).collect()
    }

    /// Merges into everything but the status.
    pub(crate) fn merge(&self, group: &str, plural: &str, name: &str, patch: Value) {
        let kind = self.kind(group, plural);
        let merged = &mut |old: &Value| {
            let mut new = old.clone();
            json_patch::merge(&mut new, &patch);
            Ok(new)
        };
        self.store
            .update(&kind, &Self::key(&kind, name), &WriteOptions::default(), merged)
            .unwrap();
    }

    /// Merges into the status.
    pub(crate) fn status(&self, group: &str, plural: &str, name: &str, patch: Value) {
        let kind = self.kind(group, plural);
        let merged = &mut |old: &Value| {
            let mut new = old.clone();
            json_patch::merge(&mut new["status"], &patch);
            Ok(new)
        };
        let options = WriteOptions::default().of(Part::Status);
        self.store.update(&kind, &Self::key(&kind, name), &options, merged).unwrap();
    }

    pub(crate) fn delete(&self, group: &str, plural: &str, name: &str, options: &DeleteOptions) {
        let kind = self.kind(group, plural);
        self.store.delete(&kind, &Self::key(&kind, name), options).unwrap();
    }

    /// The messages of all events with a reason.
    pub(crate) fn events(&self, reason: &str) -> Vec<String> {
        let all = self.list("", "events");
        let of = |event: &&Value| event["reason"] == reason;
        all.iter().filter(of).map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until something holds; looks after every change, and as time passes.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            if start.elapsed() > LONGEST_WAIT {
                for (group, plural) in
                    [("apps", "deployments"), ("apps", "replicasets"), ("", "pods")]
                {
                    for object in self.list(group, plural) {
                        println!("{plural} {}: {:#}", object.name(), object["status"]);
                    }
                }
                panic!("never: {what}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets virtual time pass.
    pub(crate) async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// Nodes say that they are alive, unless they are labelled `dead`.
async fn heartbeats(store: Store) {
    let nodes = store.kind("", "nodes");
    loop {
        for node in store.select(&nodes, &Selection::default()) {
            if node.value().label("dead").is_some() {
                continue;
            }
            let now = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let alive = &mut |old: &Value| {
                let mut new = old.clone();
                new["status"]["conditions"] = json!([
                    {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now},
                ]);
                Ok(new)
            };
            let options = WriteOptions::default().of(Part::Status);
            let _ = store.update(&nodes, &node.key(), &options, alive);
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

/// Runs pods that have a node: ready soon after they come, gone soon after they are asked to go. A pod whose image is `broken`
/// never gets ready, one whose image is `done` ends well, one whose image is `fails` ends badly.
async fn agent(store: Store) {
    tokio::spawn(heartbeats(store.clone()));
    let pods = store.kind("", "pods");
    let mut watch = store.watch(&pods, Selection::default(), Some(0)).unwrap();
    loop {
        let change = watch.next().await.unwrap();
        let pod = change.object.value();
        if change.change == ChangeType::Deleted || pod["spec"]["nodeName"].is_null() {
            continue;
        }
        let node = Key::cluster(pod["spec"]["nodeName"].as_str().unwrap());
        let node = store.get(&store.kind("", "nodes"), &node);
        if node.is_err() || node.is_ok_and(|node| node.value().label("dead").is_some()) {
            continue;
        }
        let (store, kind, key) = (store.clone(), Arc::clone(&pods), change.object.key());
        if pod.is_terminating() {
            tokio::spawn(async move {
                tokio::time::sleep(START).await;
                let now =
                    DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
                let _ = store.delete(&kind, &key, &now);
            });
        } else if pod["status"]["phase"].is_null() || pod["status"]["phase"] == "Pending" {
            if pod["status"]["podIP"].is_string() {
                continue;
            }
            let started = &mut |old: &Value| {
                let mut new = old.clone();
                new["status"]["podIP"] = json!("127.1.0.1");
                new["status"]["phase"] = json!("Pending");
                Ok(new)
            };
            let options = WriteOptions::default().of(Part::Status);
            let _ = store.update(&kind, &key, &options, started);
            tokio::spawn(async move {
                tokio::time::sleep(START).await;
                let now = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let running = &mut |old: &Value| {
                    let mut new = old.clone();
                    let image = old["spec"]["containers"][0]["image"].as_str().unwrap_or("");
                    let (phase, ready) = match image {
                        "done" => ("Succeeded", "False"),
                        "fails" => ("Failed", "False"),
                        "broken" => ("Running", "False"),
                        _ => ("Running", "True"),
                    };
                    new["status"]["phase"] = json!(phase);
                    let ready =
                        json!({"type": "Ready", "status": ready, "lastTransitionTime": now});
                    let mut conditions =
                        old["status"]["conditions"].as_array().cloned().unwrap_or_default();
                    conditions.retain(|one| one["type"] != "Ready");
                    conditions.push(ready);
                    new["status"]["conditions"] = json!(conditions);
                    new["status"]["startTime"] = json!(now);
                    Ok(new)
                };
                let _ = store.update(&kind, &key, &options, running);
            });
        }
    }
}

pub(crate) fn pod(name: &str, requests: Value) -> Value {
    let container = json!({"name": "main", "image": "v1", "resources": {"requests": requests}});
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [container]}})
}

pub(crate) fn template(app: &str, image: &str) -> Value {
    let container = json!({"name": "main", "image": image});
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [container]}})
}

pub(crate) fn deployment(name: &str, replicas: i64, image: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, image),
        },
    })
}

pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["type"] == kind).unwrap_or(Value::Null)
}
