//! Services and the endpoints behind them.

use serde_json::{Value, json};

use crate::behaviour::group;
use crate::fixture::service;
use crate::place::Place;
use crate::resource::{ENDPOINT_SLICES, PODS, SERVICES};
use crate::stage::{FATE, Stage, pod};
use crate::unmet::{Met, ensure, items, same};

group!("services", "endpoints follow pods and their readiness", {
    "a Service has a slice of its ready pods" => slice,
    "a pod that is not ready is in the slice and not ready" => unready,
    "an endpoint's readiness follows its pod" => follows,
    "a pod that ends leaves the slice" => leaves,
    "a pod in termination is serving and terminating, and not ready" => terminating,
    "publishNotReadyAddresses makes every endpoint ready" => publish,
    "a named target port is looked up in the pod" => named_port,
    "a headless Service has endpoints, one without a selector has none" => headless,
    "a changed selector changes the endpoints" => selector,
    "a deleted Service takes its slices along" => deleted,
});

async fn endpoints(
    at: &Place,
    sentence: &str,
    holds: impl Fn(&[Value]) -> bool,
) -> Met<Vec<Value>> {
    let query = "?labelSelector=kubernetes.io%2Fservice-name%3Da";
    at.until_list(ENDPOINT_SLICES, query, sentence, |slices| {
        slices.len() == 1 && holds(items(&slices[0], "/endpoints"))
    })
    .await
}

fn ready(endpoints: &[Value], ready: bool) -> bool {
    !endpoints.is_empty() && endpoints.iter().all(|e| e["conditions"]["ready"] == ready)
}

async fn one_pod(at: &Place, fate: &str) -> Met<Stage> {
    let stage = Stage::set(at, 1).await?;
    let mut object = pod(at, "a", json!({}));
    object["metadata"]["annotations"] = json!({FATE: fate});
    object["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    at.create(PODS, object).await?;
    Ok(stage)
}

async fn fate(at: &Place, fate: &str) -> Met {
    at.merge(PODS, "a", json!({"metadata": {"annotations": {FATE: fate}}})).await.map(|_| ())
}

async fn slice(at: &Place) -> Met {
    let _stage = one_pod(at, "ready").await?;
    let made = at.create(SERVICES, service("a")).await?;
    let slices = endpoints(at, "a ready endpoint", |found| ready(found, true)).await?;
    let slice = &slices[0];
    let pod = at.get(PODS, "a").await?;
    same(slice, "/addressType", "IPv4")?;
    same(slice, "/metadata/ownerReferences/0/uid", made["metadata"]["uid"].clone())?;
    same(slice, "/endpoints/0/addresses/0", pod["status"]["podIP"].clone())?;
    same(slice, "/endpoints/0/nodeName", pod["spec"]["nodeName"].clone())?;
    same(slice, "/endpoints/0/targetRef/name", "a")?;
    same(
        slice,
        "/endpoints/0/conditions",
        json!({"ready": true, "serving": true, "terminating": false}),
    )?;
    same(slice, "/ports/0/port", 8080)?;
    same(slice, "/ports/0/protocol", "TCP")
}

async fn unready(at: &Place) -> Met {
    let _stage = one_pod(at, "unready").await?;
    at.create(SERVICES, service("a")).await?;
    endpoints(at, "an endpoint that is not ready", |found| ready(found, false)).await.map(|_| ())
}

async fn follows(at: &Place) -> Met {
    let _stage = one_pod(at, "ready").await?;
    at.create(SERVICES, service("a")).await?;
    endpoints(at, "a ready endpoint", |found| ready(found, true)).await?;
    fate(at, "unready").await?;
    endpoints(at, "an endpoint that is not ready", |found| ready(found, false)).await?;
    fate(at, "ready").await?;
    endpoints(at, "a ready endpoint again", |found| ready(found, true)).await.map(|_| ())
}

async fn leaves(at: &Place) -> Met {
    let _stage = one_pod(at, "ready").await?;
    at.create(SERVICES, service("a")).await?;
    endpoints(at, "a ready endpoint", |found| ready(found, true)).await?;
    at.delete(PODS, "a", json!({})).await?;
    endpoints(at, "no endpoint", <[Value]>::is_empty).await.map(|_| ())
}

async fn terminating(at: &Place) -> Met {
    let _stage = one_pod(at, "linger").await?;
    at.create(SERVICES, service("a")).await?;
    endpoints(at, "a ready endpoint", |found| ready(found, true)).await?;
    at.delete(PODS, "a", json!({})).await?;
    endpoints(at, "serving and terminating", |found| {
        found.len() == 1
            && found[0]["conditions"]
                == json!({"ready": false, "serving": true, "terminating": true})
    })
    .await
    .map(|_| ())
}

async fn publish(at: &Place) -> Met {
    let _stage = one_pod(at, "unready").await?;
    let mut all = service("a");
    all["spec"]["publishNotReadyAddresses"] = true.into();
    at.create(SERVICES, all).await?;
    endpoints(at, "a ready endpoint", |found| ready(found, true)).await.map(|_| ())
}

async fn named_port(at: &Place) -> Met {
    let _stage = one_pod(at, "ready").await?;
    let mut named = service("a");
    named["spec"]["ports"] = json!([{"name": "web", "port": 80, "targetPort": "http"}]);
    at.create(SERVICES, named).await?;
    let slices = endpoints(at, "a ready endpoint", |found| ready(found, true)).await?;
    same(&slices[0], "/ports/0/port", 8080)?;
    same(&slices[0], "/ports/0/name", "web")
}

async fn headless(at: &Place) -> Met {
    let _stage = one_pod(at, "ready").await?;
    let mut open = service("b");
    open["spec"] = json!({"ports": [{"port": 80}]});
    at.create(SERVICES, open).await?;
    let mut headless = service("a");
    headless["spec"]["clusterIP"] = "None".into();
    at.create(SERVICES, headless).await?;
    let slices = endpoints(at, "a ready endpoint", |found| ready(found, true)).await?;
    same(&slices[0], "/metadata/labels/service.kubernetes.io~1headless", "")?;
    let none = at.list(ENDPOINT_SLICES, "?labelSelector=kubernetes.io%2Fservice-name%3Db").await?;
    ensure(items(&none, "/items").is_empty(), "no slice without a selector", none)
}

async fn selector(at: &Place) -> Met {
    let _stage = one_pod(at, "ready").await?;
    at.create(SERVICES, service("a")).await?;
    endpoints(at, "a ready endpoint", |found| ready(found, true)).await?;
    at.merge(SERVICES, "a", json!({"spec": {"selector": {"app": "other"}}})).await?;
    endpoints(at, "no endpoint", <[Value]>::is_empty).await.map(|_| ())
}

async fn deleted(at: &Place) -> Met {
    at.create(SERVICES, service("a")).await?;
    endpoints(at, "an empty slice", <[Value]>::is_empty).await?;
    at.delete(SERVICES, "a", json!({})).await?;
    at.until_list(ENDPOINT_SLICES, "", "no slice", <[Value]>::is_empty).await.map(|_| ())
}
