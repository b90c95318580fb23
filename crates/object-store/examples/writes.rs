//! How long writes and reads take, on one core: `cargo run --release -p object-store --example writes`.

use std::time::{Duration, Instant};

use apimachinery::{Key, Status};
use object_store::{ListOptions, Part, Selection, Store, WriteOptions};
use serde_json::{Value, json};

/// Objects of each round.
const OBJECTS: usize = 2_000;

fn main() -> Result<(), Status> {
    let store = Store::default();
    let namespace = json!({"metadata": {"name": "default"}});
    store.create(&store.kind("", "namespaces"), namespace, &WriteOptions::default())?;
    let pods = store.kind("", "pods");
    let deployments = store.kind("apps", "deployments");
    let key = |i: usize| Key::namespaced("default", format!("o{i}"));

    let create = timed(|i| {
        let options = WriteOptions::by("replicaset-controller");
        store.create(&pods, pod(i), &options).map(drop)
    })?;
    let status = timed(|i| {
        let options = WriteOptions::by("kubelet").of(Part::Status);
        store.update(&pods, &key(i), &options, &mut |old| Ok(running(old))).map(drop)
    })?;
    let apply = timed(|i| {
        let options = WriteOptions::by("applier");
        store.apply(&deployments, &key(i), &deployment(i, 1), false, &options).map(drop)
    })?;
    let again = timed(|i| {
        let options = WriteOptions::by("applier");
        store.apply(&deployments, &key(i), &deployment(i, 2), false, &options).map(drop)
    })?;
    let read = timed(|i| store.get(&pods, &key(i)).map(|pod| drop(pod.json().clone())))?;
    let begin = Instant::now();
    let list = store.list(&pods, &Selection::in_namespace("default"), &ListOptions::default())?;
    let listed = begin.elapsed();
    for (what, each) in [
        ("create a pod", create),
        ("update its status", status),
        ("apply a deployment, new", apply),
        ("apply a deployment, changed", again),
        ("read a pod as text, first time", read),
    ] {
        println!("{what:32} {:7.1} us", each.as_secs_f64() * 1e6);
    }
    println!(
        "{:32} {:7.1} us",
        format!("list {} pods", list.items.len()),
        listed.as_secs_f64() * 1e6
    );
    Ok(())
}

/// The mean time of one call.
fn timed(mut call: impl FnMut(usize) -> Result<(), Status>) -> Result<Duration, Status> {
    let begin = Instant::now();
    for i in 0..OBJECTS {
        call(i)?;
    }
    Ok(begin.elapsed() / u32::try_from(OBJECTS).unwrap_or(u32::MAX))
}

fn template() -> Value {
    json!({
        "containers": [{
            "name": "engine",
            "image": "lab/engine:1",
            "args": ["--host", "$(POD_IP)", "--port", "8000"],
            "ports": [{"name": "http", "containerPort": 8000}],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"nvidia.com/gpu": "1"}},
            "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
            "livenessProbe": {"httpGet": {"path": "/health", "port": "http"}},
            "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        }],
        "volumes": [{"name": "models", "emptyDir": {}}],
    })
}

fn pod(i: usize) -> Value {
    json!({
        "metadata": {"name": format!("o{i}"), "namespace": "default", "labels": {"app": "engine"}},
        "spec": template(),
    })
}

fn running(old: &Value) -> Value {
    let mut new = old.clone();
    new["status"]["phase"] = json!("Running");
    new["status"]["podIP"] = json!("127.16.0.1");
    new["status"]["conditions"] = json!([
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]);
    new
}

fn deployment(i: usize, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": format!("o{i}"), "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "engine"}},
            "template": {"metadata": {"labels": {"app": "engine"}}, "spec": template()},
        },
    })
}
