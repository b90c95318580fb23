//! Watches: what a client that follows a collection is told, and when it must start again.

use serde_json::{Value, json};

use crate::behaviour::group;
use crate::place::Place;
use crate::resource::{CONFIG_MAPS, SECRETS};
use crate::unmet::{Met, Unmet, ensure, mentions, same, text, version};
use crate::watch::Event;

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
/// What `kube` and client-go ask for to replace a list by a watch.
const STREAM: &str =
    "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
/// Writes after which a server with a short memory must have forgotten the first version.
const MANY_WRITES: usize = 1500;

group!("watches", "events in order, bookmarks, streaming lists, 410 Gone", {
    "a watch from a list tells each later change in order" => in_order,
    "a watch without a version starts with what is there" => from_nothing,
    "a watch from a version misses nothing in between" => replay,
    "an object that leaves a label selector is DELETED, and ADDED when it comes back" => selector,
    "a watch by name tells of that object alone" => by_name,
    "a DELETED event holds the last state and the version of the deletion" => deleted_state,
    "a watch ends by itself after timeoutSeconds" => timeout,
    "a watch with bookmarks gets one before it ends" => bookmark,
    "sendInitialEvents gives the objects, then a bookmark that says so, then changes" => streaming,
    "sendInitialEvents with an empty collection gives the bookmark alone" => streaming_none,
    "sendInitialEvents without resourceVersionMatch is refused with 422" => streaming_alone,
    "a watch at a version that is no number is refused" => bad_version,
    "a watch from a version long compacted is told 410 Expired" => expired,
    "a watch of metadata tells metadata" => metadata_only,
    "a watch as a table has its columns in the first event only" => table,
    "a watch over all namespaces tells of each" => all_namespaces,
    "kube's watcher follows a collection by list and watch" => kube_listwatch,
    "kube's watcher follows a collection by a streaming list" => kube_streaming,
});

async fn start(at: &Place) -> Met<String> {
    Ok(version(&at.list(SECRETS, "").await?)?.to_string())
}

async fn secret(at: &Place, name: &str) -> Met<Value> {
    at.create(SECRETS, json!({"metadata": {"name": name}})).await
}

async fn relabel(at: &Place, name: &str, value: &str) -> Met<Value> {
    at.merge(SECRETS, name, json!({"metadata": {"labels": {"of": value}}})).await
}

async fn in_order(at: &Place) -> Met {
    let mut watch = at.watch(SECRETS, &format!("&resourceVersion={}", start(at).await?)).await?;
    secret(at, "a").await?;
    relabel(at, "a", "1").await?;
    secret(at, "b").await?;
    at.delete(SECRETS, "a", json!({})).await?;
    let mut last = 0;
    for (kind, name) in [("ADDED", "a"), ("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")] {
        let object = watch.expect(kind, name).await?;
        same(&object, "/kind", "Secret")?;
        let now = version(&object)?;
        ensure(now > last, format!("a version above {last}"), now)?;
        last = now;
    }
    Ok(())
}

async fn from_nothing(at: &Place) -> Met {
    secret(at, "a").await?;
    secret(at, "b").await?;
    let mut watch = at.watch(SECRETS, "").await?;
    watch.expect("ADDED", "a").await?;
    watch.expect("ADDED", "b").await?;
    secret(at, "c").await?;
    watch.expect("ADDED", "c").await?;
    Ok(())
}

async fn replay(at: &Place) -> Met {
    let from = start(at).await?;
    for number in 0..20 {
        secret(at, &format!("n{number:02}")).await?;
    }
    let mut watch = at.watch(SECRETS, &format!("&resourceVersion={from}")).await?;
    for number in 0..20 {
        watch.expect("ADDED", &format!("n{number:02}")).await?;
    }
    Ok(())
}

async fn selector(at: &Place) -> Met {
    let from = start(at).await?;
    let query = format!("&labelSelector=of%3Dmine&resourceVersion={from}");
    let mut watch = at.watch(SECRETS, &query).await?;
    secret(at, "a").await?;
    relabel(at, "a", "mine").await?;
    watch.expect("ADDED", "a").await?;
    at.merge(SECRETS, "a", json!({"metadata": {"annotations": {"k": "v"}}})).await?;
    watch.expect("MODIFIED", "a").await?;
    relabel(at, "a", "yours").await?;
    watch.expect("DELETED", "a").await?;
    relabel(at, "a", "mine").await?;
    watch.expect("ADDED", "a").await?;
    Ok(())
}

async fn by_name(at: &Place) -> Met {
    let from = start(at).await?;
    let query = format!("&fieldSelector=metadata.name%3Db&resourceVersion={from}");
    let mut watch = at.watch(SECRETS, &query).await?;
    for name in ["a", "b", "c"] {
        secret(at, name).await?;
    }
    relabel(at, "a", "1").await?;
    relabel(at, "b", "1").await?;
    watch.expect("ADDED", "b").await?;
    watch.expect("MODIFIED", "b").await?;
    Ok(())
}

async fn deleted_state(at: &Place) -> Met {
    secret(at, "a").await?;
    let before = relabel(at, "a", "last").await?;
    let query = format!("&resourceVersion={}", version(&before)?);
    let mut watch = at.watch(SECRETS, &query).await?;
    at.delete(SECRETS, "a", json!({})).await?;
    let gone = watch.expect("DELETED", "a").await?;
    same(&gone, "/metadata/labels/of", "last")?;
    ensure(version(&gone)? > version(&before)?, "a later version", version(&gone)?)
}

async fn timeout(at: &Place) -> Met {
    let mut watch = at.watch(SECRETS, "&timeoutSeconds=1&resourceVersion=0").await?;
    while watch.try_next().await?.is_some() {}
    Ok(())
}

async fn bookmark(at: &Place) -> Met {
    let query =
        format!("&allowWatchBookmarks=true&timeoutSeconds=5&resourceVersion={}", start(at).await?);
    let mut watch = at.watch(SECRETS, &query).await?;
    let made = secret(at, "a").await?;
    watch.expect("ADDED", "a").await?;
    while let Some(event) = watch.try_next().await? {
        if event.kind == "BOOKMARK" {
            same(&event.object, "/kind", "Secret")?;
            let (seen, least) = (version(&event.object)?, version(&made)?);
            return ensure(seen >= least, format!("a bookmark of {least} or later"), seen);
        }
    }
    Err(Unmet::fail("a BOOKMARK before the end of the watch", "none"))
}

fn ends_initial_events(event: &Event) -> bool {
    event.kind == "BOOKMARK"
        && event.object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
}

async fn streaming(at: &Place) -> Met {
    secret(at, "a").await?;
    secret(at, "b").await?;
    let mut watch = at.watch(SECRETS, STREAM).await?;
    watch.expect("ADDED", "a").await?;
    watch.expect("ADDED", "b").await?;
    let end = watch.next().await?;
    ensure(ends_initial_events(&end), "a bookmark that ends the initial events", &end.object)?;
    version(&end.object)?;
    secret(at, "c").await?;
    watch.expect("ADDED", "c").await?;
    Ok(())
}

async fn streaming_none(at: &Place) -> Met {
    let mut watch = at.watch(SECRETS, STREAM).await?;
    let end = watch.next().await?;
    ensure(ends_initial_events(&end), "a bookmark that ends the initial events", &end.object)
}

async fn streaming_alone(at: &Place) -> Met {
    let target = format!(
        "{}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true",
        at.collection(SECRETS)
    );
    at.ask(target).await?.refused(422, "Invalid")?;
    Ok(())
}

async fn bad_version(at: &Place) -> Met {
    let target = format!("{}?watch=true&resourceVersion=abc", at.collection(SECRETS));
    let answer = at.ask(target).await?;
    // Kubernetes answers 500 to a watch, and 400 to a list: any refusal that gives the reason will do.
    ensure(answer.status >= 400, "a refusal", answer.seen())?;
    mentions(&answer.json, "/message", "Invalid value: \"abc\"")
}

/// A server may keep a long memory, so it gets writes to forget. If it still knows the first version, and tells
/// everything since, there is nothing to hold against it.
async fn expired(at: &Place) -> Met {
    at.config_map("a", json!({})).await?;
    for turn in 0..MANY_WRITES {
        if let Some(told) = told_expired(at).await? {
            same(&told, "/code", 410)?;
            same(&told, "/reason", "Expired")?;
            return text(&told, "/message").map(|_| ());
        }
        for part in 0..(MANY_WRITES / 3) {
            let data = json!({"data": {"turn": format!("{turn}.{part}")}});
            at.merge(CONFIG_MAPS, "a", data).await?;
        }
        if turn == 3 {
            break;
        }
    }
    Err(Unmet::Skip("this server still remembers its first version".into()))
}

/// What a watch from version 1 is told: a 410, as the answer or as an event, or none if events come.
async fn told_expired(at: &Place) -> Met<Option<Value>> {
    let target = format!("{}?watch=true&resourceVersion=1&timeoutSeconds=2", "/api/v1/configmaps");
    let response = at.call(http::Method::GET, target).open().await?;
    let status = response.status().as_u16();
    if status == 410 {
        let body = response.into_body().collect_bytes().await?;
        return Ok(serde_json::from_slice(&body).ok());
    }
    let mut watch = crate::watch::Watch::new(response.into_body());
    let event = watch.try_next().await?;
    Ok(event.filter(|event| event.kind == "ERROR").map(|event| event.object))
}

async fn metadata_only(at: &Place) -> Met {
    let query = format!("&resourceVersion={}", start(at).await?);
    let mut watch = at.watch_as(SECRETS, &query, METADATA).await?;
    let made =
        at.create(SECRETS, json!({"metadata": {"name": "a"}, "stringData": {"k": "v"}})).await?;
    let event = watch.expect("ADDED", "a").await?;
    same(&event, "/kind", "PartialObjectMetadata")?;
    same(&event, "/metadata/uid", made["metadata"]["uid"].clone())?;
    same(&event, "/data", Value::Null)
}

async fn table(at: &Place) -> Met {
    let query = format!("&resourceVersion={}", start(at).await?);
    let mut watch = at.watch_as(SECRETS, &query, TABLE).await?;
    secret(at, "a").await?;
    secret(at, "b").await?;
    let first = watch.next().await?;
    same(&first.object, "/kind", "Table")?;
    same(&first.object, "/columnDefinitions/0/name", "Name")?;
    same(&first.object, "/rows/0/cells/0", "a")?;
    let second = watch.next().await?;
    same(&second.object, "/columnDefinitions", Value::Null)?;
    same(&second.object, "/rows/0/object/metadata/name", "b")
}

async fn all_namespaces(at: &Place) -> Met {
    let from = start(at).await?;
    let target = format!(
        "/api/v1/secrets?watch=true&resourceVersion={from}&labelSelector=in%3D{}",
        at.namespace
    );
    let response = at.call(http::Method::GET, target).open().await?;
    let mut watch = crate::watch::Watch::new(response.into_body());
    at.create(SECRETS, json!({"metadata": {"name": "a", "labels": {"in": at.namespace}}})).await?;
    let event = watch.expect("ADDED", "a").await?;
    same(&event, "/metadata/namespace", at.namespace.clone())
}

async fn kube_listwatch(at: &Place) -> Met {
    follow(at, kube::runtime::watcher::Config::default()).await
}

async fn kube_streaming(at: &Place) -> Met {
    follow(at, kube::runtime::watcher::Config::default().streaming_lists()).await
}

/// Follows the secrets with `kube::runtime::watcher` and holds that the three stages of one are seen.
async fn follow(at: &Place, config: kube::runtime::watcher::Config) -> Met {
    use futures_util::TryStreamExt;
    use k8s_openapi::api::core::v1::Secret;
    use kube::runtime::{WatchStreamExt, watcher, watcher::Event};

    secret(at, "a").await?;
    let api = kube::Api::<Secret>::namespaced(at.wire.client(), &at.namespace);
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut seen = Vec::new();
    let within = tokio::time::timeout(crate::place::COMES_ABOUT_WITHIN, async {
        while let Some(event) =
            events.try_next().await.map_err(|error| Unmet::fail("events", error.to_string()))?
        {
            match event {
                Event::Init => seen.push("init"),
                Event::InitApply(_) => seen.push("old"),
                Event::InitDone => {
                    seen.push("done");
                    secret(at, "b").await?;
                    at.delete(SECRETS, "a", json!({})).await?;
                }
                Event::Apply(_) => seen.push("new"),
                Event::Delete(_) => {
                    seen.push("gone");
                    return Ok(());
                }
            }
        }
        Ok::<(), Unmet>(())
    });
    within.await.map_err(|_| Unmet::fail("a deletion seen by the watcher", "none"))??;
    let expected = ["init", "old", "done", "new", "gone"];
    ensure(seen == expected, format!("{expected:?}"), format!("{seen:?}"))
}
