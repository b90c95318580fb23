//! What a remembered version costs: `cargo run --release -p object-store --example history`. Linux.
//!
//! A pod changes some thousand times. First the store alone remembers that, then somebody also holds every version whole,
//! as the store did before it kept older ones as text.

use apimachinery::{Key, Status};
use object_store::{Part, Store, WriteOptions};
use serde_json::{Value, json};

/// Changes of the pod, all of which a store remembers.
const CHANGES: usize = 4_000;

fn main() -> Result<(), Status> {
    let text = size_of_one()?;
    println!("text of the pod          {text:>8} bytes");
    for (who, hold) in [("as the store keeps it", false), ("held whole", true)] {
        let before = resident_kib();
        let store = Store::default();
        let held = change(&store, hold)?;
        let grown = resident_kib().saturating_sub(before) * 1024;
        println!("{who:24} {:>8} bytes a change ({} held)", grown / CHANGES, held.len());
    }
    Ok(())
}

fn size_of_one() -> Result<usize, Status> {
    let store = Store::default();
    create(&store)?;
    Ok(store.get(&store.kind("", "pods"), &key())?.json().len())
}

fn key() -> Key {
    Key::namespaced("default", "engine")
}

fn create(store: &Store) -> Result<(), Status> {
    let namespace = json!({"metadata": {"name": "default"}});
    store.create(&store.kind("", "namespaces"), namespace, &WriteOptions::default())?;
    let pod = json!({
        "metadata": {"name": "engine", "namespace": "default", "labels": {"app": "engine"}},
        "spec": {"containers": [{
            "name": "engine",
            "image": "lab/engine:1",
            "args": ["--host", "$(POD_IP)", "--port", "8000"],
            "ports": [{"name": "http", "containerPort": 8000}],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
        }]},
    });
    let options = WriteOptions::by("replicaset-controller");
    store.create(&store.kind("", "pods"), pod, &options).map(drop)
}

/// Writes the status again and again; returns the versions, if they are to be held.
fn change(store: &Store, hold: bool) -> Result<Vec<object_store::ObjectRef>, Status> {
    create(store)?;
    let pods = store.kind("", "pods");
    let options = WriteOptions::by("kubelet").of(Part::Status);
    let mut held = Vec::new();
    for turn in 0..CHANGES {
        let version = store.update(&pods, &key(), &options, &mut |old| Ok(status(old, turn)))?;
        // The text is made for the disk and for watchers anyway.
        let _made = version.json();
        if hold {
            held.push(version);
        }
    }
    Ok(held)
}

fn status(old: &Value, turn: usize) -> Value {
    let mut new = old.clone();
    new["status"]["podIP"] = json!("127.16.0.1");
    new["status"]["message"] = json!(format!("turn {turn}"));
    new["status"]["conditions"] = json!([
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]);
    new
}

/// Memory of this process, in KiB; 0 where the system does not say.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
