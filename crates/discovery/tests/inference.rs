//! Pools and objectives by their objects, before the course's own API server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::Server;
use discovery::{Event, Priorities, Slice, Source, watch, watch_objectives};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Longer than any pause of the watch.
const LIMIT: Duration = Duration::from_secs(60);
/// A definition that was just made is not served at once.
const POLL: Duration = Duration::from_millis(50);

fn objects(client: Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, version, kind);
    Api::namespaced_with(client, "default", &ApiResource::from_gvk(&kind))
}

fn pools(server: &Server) -> Api<DynamicObject> {
    objects(server.client(), "inference.networking.k8s.io", "v1", "InferencePool")
}

fn objectives(server: &Server) -> Api<DynamicObject> {
    objects(server.client(), "inference.networking.x-k8s.io", "v1alpha2", "InferenceObjective")
}

/// Makes both kinds known, by the definitions of this repository.
async fn define(server: &Server) {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../clusters/schemas/inference-extension.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api: Api<DynamicObject> = Api::all_with(server.client(), &ApiResource::from_gvk(&kind));
    for document in text.split("\n---\n").filter(|document| document.contains("\nkind:")) {
        let definition: DynamicObject = serde_saphyr::from_str(document).unwrap();
        api.create(&PostParams::default(), &definition).await.unwrap();
    }
    let served = async {
        while pools(server).list(&kube::api::ListParams::default()).await.is_err()
            || objectives(server).list(&kube::api::ListParams::default()).await.is_err()
        {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(LIMIT, served).await.unwrap();
}

async fn create(api: &Api<DynamicObject>, name: &str, kind: (&str, &str), spec: Value) {
    let object = json!({
        "apiVersion": kind.0, "kind": kind.1, "metadata": {"name": name}, "spec": spec,
    });
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

const POOL: (&str, &str) = ("inference.networking.k8s.io/v1", "InferencePool");
const OBJECTIVE: (&str, &str) = ("inference.networking.x-k8s.io/v1alpha2", "InferenceObjective");

fn pool(app: &str, ports: &[u16]) -> Value {
    let ports: Vec<Value> = ports.iter().map(|number| json!({"number": number})).collect();
    json!({
        "selector": {"matchLabels": {"app": app}}, "targetPorts": ports,
        "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
    })
}

async fn pod(server: &Server, name: &str, app: &str) {
    let pods: Api<Pod> = Api::namespaced(server.client(), "default");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": "main"}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
}

/// Waits until the events add up to this: the names that count, and the ports of each.
async fn settles(
    events: &mut mpsc::Receiver<Event>,
    known: &mut BTreeMap<String, Slice>,
    expected: &[(&str, &[u16])],
) {
    let expected: BTreeMap<String, Vec<u16>> =
        expected.iter().map(|(name, ports)| ((*name).to_owned(), ports.to_vec())).collect();
    let mut listing = None;
    let settled = async {
        loop {
            match events.recv().await.unwrap() {
                Event::ListBegins => listing = Some(BTreeMap::new()),
                Event::Listed(slice) => {
                    listing.get_or_insert_default().insert(slice.name.clone(), slice);
                }
                Event::ListEnds => *known = listing.take().unwrap_or_default(),
                Event::Applied(slice) => {
                    known.insert(slice.name.clone(), slice);
                }
                Event::Deleted(name) => {
                    known.remove(&name);
                }
                Event::Lost => continue,
            }
            let ports = |slice: &Slice| slice.ports.iter().filter_map(|port| port.number).collect();
            let now: BTreeMap<String, Vec<u16>> =
                known.iter().map(|(name, slice)| (name.clone(), ports(slice))).collect();
            if listing.is_none() && now == expected {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap();
}

#[tokio::test]
async fn a_pool_is_followed_through_its_changes_and_its_end() {
    let mut server = Server::start().await;
    let source =
        Source::InferencePool { namespace: "default".to_owned(), name: "engine".to_owned() };
    let mut events = watch(server.client(), source);
    let mut known = BTreeMap::new();
    let first = tokio::time::timeout(LIMIT, events.recv()).await.unwrap().unwrap();
    assert_eq!(first, Event::Lost, "without the definition there is no list, not an empty one");

    define(&server).await;
    for (name, app) in [("one", "blue"), ("two", "green")] {
        pod(&server, name, app).await;
    }
    create(&pools(&server), "elsewhere", POOL, pool("green", &[1])).await;
    create(&pools(&server), "engine", POOL, pool("blue", &[8000])).await;
    settles(&mut events, &mut known, &[("one", &[8000])]).await;

    let merge = |spec: Value| Patch::Merge(json!({"spec": spec}));
    let patch = PatchParams::default();
    let ports = json!({"targetPorts": [{"number": 8000}, {"number": 8001}]});
    pools(&server).patch("engine", &patch, &merge(ports)).await.unwrap();
    settles(&mut events, &mut known, &[("one", &[8000, 8001])]).await;

    let selector = json!({"selector": {"matchLabels": {"app": "green"}}});
    pools(&server).patch("engine", &patch, &merge(selector)).await.unwrap();
    settles(&mut events, &mut known, &[("two", &[8000, 8001])]).await;
    pod(&server, "three", "green").await;
    settles(&mut events, &mut known, &[("three", &[8000, 8001]), ("two", &[8000, 8001])]).await;

    pools(&server).delete("engine", &DeleteParams::default()).await.unwrap();
    settles(&mut events, &mut known, &[]).await;
    create(&pools(&server), "engine", POOL, pool("blue", &[9000])).await;
    settles(&mut events, &mut known, &[("one", &[9000])]).await;
    server.stop().await;
}

#[tokio::test]
async fn objectives_count_for_the_pool_that_they_name() {
    let mut server = Server::start().await;
    let mut told = watch_objectives(&server.client(), "default", "engine".to_owned());
    assert!(told.borrow().is_empty(), "nothing is known before the kinds are");
    define(&server).await;
    let spec = |pool: &str, priority: Option<i32>| {
        let mut spec = json!({"poolRef": {"name": pool}});
        priority.into_iter().for_each(|priority| spec["priority"] = json!(priority));
        spec
    };
    let all = objectives(&server);
    create(&all, "batch", OBJECTIVE, spec("engine", Some(-1))).await;
    create(&all, "plain", OBJECTIVE, spec("engine", None)).await;
    create(&all, "foreign", OBJECTIVE, spec("other", Some(9))).await;
    let worth = |all: &[(&str, i32)]| -> Priorities {
        all.iter().map(|(name, priority)| ((*name).to_owned(), *priority)).collect()
    };
    let mut becomes = async |expected: Priorities| {
        let seen = told.wait_for(|now| *now == expected);
        tokio::time::timeout(LIMIT, seen).await.unwrap().unwrap();
    };
    becomes(worth(&[("batch", -1), ("plain", 0)])).await;

    let patch = PatchParams::default();
    let change = Patch::Merge(json!({"spec": {"priority": 5}}));
    all.patch("batch", &patch, &change).await.unwrap();
    becomes(worth(&[("batch", 5), ("plain", 0)])).await;
    let moves = Patch::Merge(json!({"spec": {"poolRef": {"name": "other"}}}));
    all.patch("batch", &patch, &moves).await.unwrap();
    becomes(worth(&[("plain", 0)])).await;
    all.delete("plain", &DeleteParams::default()).await.unwrap();
    becomes(worth(&[])).await;
    server.stop().await;
}
