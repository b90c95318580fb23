//! The watch, before the course's own API server: what is written there arrives, and what is not said is not made up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::Server;
use discovery::{Conditions, Event, Family, Slice, Source, watch};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

/// Longer than any pause of the watch.
const LIMIT: Duration = Duration::from_secs(60);

/// The slices of a server.
fn slices_of(server: &Server) -> Api<EndpointSlice> {
    Api::namespaced(server.client(), "default")
}

fn object(name: &str, service: &str, address: &str, ready: bool) -> EndpointSlice {
    serde_json::from_value(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        "endpoints": [{
            "addresses": [address], "zone": "a", "hints": {"forZones": [{"name": "a"}]},
            "conditions": {"ready": ready, "serving": ready, "terminating": false},
            "targetRef": {"kind": "Pod", "name": name, "uid": format!("uid of {name}")},
        }],
    }))
    .unwrap()
}

fn of_service() -> Source {
    Source::Service { namespace: "default".to_owned(), name: "engine".to_owned() }
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(LIMIT, events.recv()).await.unwrap().unwrap()
}

/// Events up to the end of a list, without those that say that nothing can be heard.
async fn listed(events: &mut mpsc::Receiver<Event>) -> BTreeMap<String, Slice> {
    let mut all = BTreeMap::new();
    loop {
        match next(events).await {
            Event::ListBegins => all.clear(),
            Event::Listed(slice) => {
                all.insert(slice.name.clone(), slice);
            }
            Event::ListEnds => return all,
            Event::Lost => {}
            other => panic!("{other:?} within a list"),
        }
    }
}

#[tokio::test]
async fn slices_are_listed_then_followed() {
    let mut server = Server::start().await;
    let slices = slices_of(&server);
    let post = PostParams::default();
    slices.create(&post, &object("a", "engine", "10.0.0.1", true)).await.unwrap();
    slices.create(&post, &object("other", "elsewhere", "10.0.0.9", true)).await.unwrap();

    let mut events = watch(server.client(), of_service());
    assert_eq!(next(&mut events).await, Event::ListBegins);
    let Event::Listed(first) = next(&mut events).await else { panic!("no slice is listed") };
    assert_eq!((&*first.name, first.family), ("a", Family::Ipv4));
    assert_eq!((&*first.ports[0].name, first.ports[0].number), ("http", Some(8000)));
    let endpoint = &first.endpoints[0];
    assert_eq!(endpoint.addresses, ["10.0.0.1"]);
    assert_eq!(endpoint.pod.as_deref(), Some("uid of a"));
    assert_eq!(
        (endpoint.zone.as_deref(), &*endpoint.for_zones),
        (Some("a"), &["a".to_owned()][..])
    );
    assert_eq!(next(&mut events).await, Event::ListEnds, "the other Service's slice is not ours");

    slices.create(&post, &object("b", "engine", "10.0.0.2", false)).await.unwrap();
    let Event::Applied(second) = next(&mut events).await else { panic!("no new slice") };
    assert_eq!(second.endpoints[0].conditions.ready, Some(false));

    let ready = json!({"endpoints": [{
        "addresses": ["10.0.0.2"], "conditions": {"ready": null, "serving": true},
    }]});
    slices.patch("b", &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    let Event::Applied(patched) = next(&mut events).await else { panic!("no patched slice") };
    assert_eq!(
        patched.endpoints[0].conditions,
        Conditions { ready: None, serving: Some(true), terminating: None }
    );
    assert_eq!(patched.endpoints[0].pod, None);

    slices.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(next(&mut events).await, Event::Deleted("a".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_comes_back_is_listed_again_and_what_went_meanwhile_is_missing() {
    let mut server = Server::start().await;
    let post = PostParams::default();
    for (name, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        slices_of(&server).create(&post, &object(name, "engine", address, true)).await.unwrap();
    }
    let mut events = watch(server.client(), of_service());
    assert_eq!(listed(&mut events).await.len(), 2);

    server.stop().await;
    assert_eq!(next(&mut events).await, Event::Lost, "an error is no empty list");
    let kind = server.store.kind("discovery.k8s.io", "endpointslices");
    let options = object_store::DeleteOptions::default();
    server.store.delete(&kind, &apimachinery::Key::namespaced("default", "a"), &options).unwrap();
    server.again().await;
    // A watch may go on where it was, or begin again: in both cases what is gone is told.
    loop {
        match next(&mut events).await {
            Event::Deleted(name) => {
                assert_eq!(name, "a");
                break;
            }
            Event::ListBegins => {
                let names: Vec<String> = listed(&mut events).await.into_keys().collect();
                assert_eq!(names, ["b"]);
                break;
            }
            Event::Lost => {}
            other => panic!("{other:?} after the server came back"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn pods_of_a_pool_are_slices_of_their_own() {
    let mut server = Server::start().await;
    let pods: Api<Pod> = Api::namespaced(server.client(), "default");
    let pod = |name: &str, app: &str| -> Pod {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": {"containers": [{"name": "main", "image": "main"}]},
        }))
        .unwrap()
    };
    for (name, app) in [("one", "engine"), ("two", "other")] {
        pods.create(&PostParams::default(), &pod(name, app)).await.unwrap();
    }
    let source = Source::Pool {
        namespace: "default".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "engine".to_owned())]),
        ports: vec![8000, 8001],
    };
    let mut events = watch(server.client(), source);
    let all = listed(&mut events).await;
    assert_eq!(all.keys().collect::<Vec<_>>(), ["one"]);
    assert!(all["one"].endpoints.is_empty(), "a pod without an address is no endpoint yet");

    let status = json!({"status": {
        "phase": "Running", "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    pods.patch_status("one", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let Event::Applied(slice) = next(&mut events).await else { panic!("no change") };
    let ports: Vec<Option<u16>> = slice.ports.iter().map(|port| port.number).collect();
    assert_eq!(ports, [Some(8000), Some(8001)]);
    let endpoint = &slice.endpoints[0];
    assert_eq!(endpoint.addresses, ["10.0.0.1"]);
    assert_eq!(
        endpoint.conditions,
        Conditions { ready: Some(true), serving: Some(true), terminating: Some(false) }
    );
    assert!(endpoint.pod.is_some());
    server.stop().await;
}
