//! A route and its backends, before the course's own API server: whether they are there, and what they say now.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::Server;
use discovery::{Known, watch_route, watch_service};
use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Longer than any pause of the watch.
const LIMIT: Duration = Duration::from_secs(60);

fn objects(server: &Server, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, version, kind);
    Api::namespaced_with(server.client(), "default", &ApiResource::from_gvk(&kind))
}

/// Makes HTTPRoutes known, by the definition of this repository.
async fn routes(server: &Server) -> Api<DynamicObject> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../clusters/schemas/gateway-api.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api: Api<DynamicObject> = Api::all_with(server.client(), &ApiResource::from_gvk(&kind));
    for document in text.split("\n---\n").filter(|document| document.contains("\nkind:")) {
        let definition: DynamicObject = serde_saphyr::from_str(document).unwrap();
        api.create(&PostParams::default(), &definition).await.unwrap();
    }
    let routes = objects(server, "gateway.networking.k8s.io", "v1", "HTTPRoute");
    let served = async {
        while routes.list(&ListParams::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, served).await.unwrap();
    routes
}

async fn create(api: &Api<DynamicObject>, object: Value) {
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// Waits until what is known is as it should be.
async fn until<T>(told: &mut watch::Receiver<Known<T>>, is_so: impl FnMut(&Known<T>) -> bool) {
    let _seen = tokio::time::timeout(LIMIT, told.wait_for(is_so)).await.unwrap().unwrap();
}

fn weights(known: &Known<discovery::ReadRoute>) -> Option<Vec<u32>> {
    let Known::Present(Ok(route)) = known else { return None };
    Some(route.spec.rules[0].backend_refs.iter().map(|backend| backend.weight).collect())
}

#[tokio::test]
async fn a_route_is_told_as_it_is_now_and_one_that_is_not_read_as_that() {
    let mut server = Server::start().await;
    let routes = routes(&server).await;
    let mut told = watch_route(&server.client(), "default", "engine");
    until(&mut told, |known| *known == Known::Absent).await;
    let rule = |weights: [u32; 2]| {
        json!([{"backendRefs": [
            {"name": "stable", "port": 8000, "weight": weights[0]},
            {"name": "canary", "port": 8000, "weight": weights[1]},
        ]}])
    };
    for name in ["other", "engine"] {
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
            "spec": {"rules": rule([95, 5])},
        });
        create(&routes, object).await;
    }
    until(&mut told, |known| weights(known) == Some(vec![95, 5])).await;
    let merge = |rules: Value| Patch::Merge(json!({"spec": {"rules": rules}}));
    routes.patch("engine", &PatchParams::default(), &merge(rule([50, 50]))).await.unwrap();
    until(&mut told, |known| weights(known) == Some(vec![50, 50])).await;
    let filtered = json!([{
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}}],
        "backendRefs": [{"name": "stable", "port": 8000}],
    }]);
    routes.patch("engine", &PatchParams::default(), &merge(filtered)).await.unwrap();
    let refused = Known::Present(Err(vec!["spec.rules[0].filters".to_owned()]));
    until(&mut told, |known| *known == refused).await;
    routes.delete("engine", &DeleteParams::default()).await.unwrap();
    until(&mut told, |known| *known == Known::Absent).await;
    server.stop().await;
}

#[tokio::test]
async fn a_service_is_there_or_not_and_its_ports_have_names() {
    let mut server = Server::start().await;
    let services = objects(&server, "", "v1", "Service");
    let mut told = watch_service(&server.client(), "default", "engine");
    until(&mut told, |known| *known == Known::Absent).await;
    let object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "engine"},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8000}, {"name": "grpc", "port": 81}]},
    });
    create(&services, object).await;
    let ports = [(80, "http".to_owned()), (81, "grpc".to_owned())].into_iter().collect();
    until(&mut told, |known| *known == Known::Present(std::collections::BTreeMap::clone(&ports)))
        .await;
    server.stop().await;
    // What cannot be asked is not gone.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(*told.borrow(), Known::Present(ports));
    server.again().await;
    services.delete("engine", &DeleteParams::default()).await.unwrap();
    until(&mut told, |known| *known == Known::Absent).await;
    server.stop().await;
}
