//! Objects over a real connection, by a client that others wrote.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::json;
use support::Running;

fn config_map(name: &str, value: &str) -> ConfigMap {
    let object =
        json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"key": value}});
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let server = Running::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let created = maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    assert!(created.metadata.uid.is_some());
    let again = maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap_err();
    assert!(
        matches!(again, kube::Error::Api(status) if status.code == 409 && status.is_already_exists())
    );
    let patch = Patch::Merge(json!({"data": {"key": "2"}}));
    maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    let stale = maps.replace("a", &PostParams::default(), &created).await.unwrap_err();
    assert!(matches!(stale, kube::Error::Api(status) if status.is_conflict()));
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["key"], "2");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_watch_goes_on_from_a_list() {
    let server = Running::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let list = maps.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    maps.create(&PostParams::default(), &config_map("b", "1")).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let added = events.try_next().await.unwrap().unwrap();
    assert!(matches!(added, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("b")));
    let deleted = events.try_next().await.unwrap().unwrap();
    assert!(
        matches!(deleted, WatchEvent::Deleted(map) if map.metadata.name.as_deref() == Some("a"))
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_refused_as_kubernetes_does() {
    let server = Running::start().await;
    let (code, body) = server.call("GET", "/api/v1/foos", "").await;
    assert_eq!(
        (code, body.contains("the server could not find the requested resource")),
        (404, true)
    );
    let (code, _) = server.call("PUT", "/api/v1/namespaces/default/configmaps", "{}").await;
    assert_eq!(code, 405);
    let (code, body) = server.call("GET", "/nothing", "").await;
    assert_eq!((code, body.as_str()), (404, "404 page not found\n"));
    let (code, _) =
        server.call_as("POST", "/api/v1/namespaces/default/configmaps", "a: b", "text/plain").await;
    assert_eq!(code, 415);
    let long = format!("{{\"data\": {{\"a\": \"{}\"}}}}", "x".repeat(3 * 1024 * 1024));
    let (code, _) = server.call("POST", "/api/v1/namespaces/default/configmaps", &long).await;
    assert_eq!(code, 413);
    server.stop().await;
}
