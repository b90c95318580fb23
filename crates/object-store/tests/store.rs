//! What everybody who writes through the store may rely on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use apimachinery::{Key, Kind, Reason};
use object_store::{
    ChangeType, DeleteOptions, ListOptions, Part, Propagation, Selection, Store, WriteOptions,
};
use serde_json::{Value, json};

fn cluster() -> (Store, Arc<Kind>) {
    let store = Store::default();
    let namespaces = store.kind("", "namespaces");
    let namespace = json!({"metadata": {"name": "default"}});
    store.create(&namespaces, namespace, &WriteOptions::default()).unwrap();
    let pods = store.kind("", "pods");
    (store, pods)
}

fn pod(name: &str, app: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    })
}

fn create(store: &Store, kind: &Arc<Kind>, object: Value) -> object_store::ObjectRef {
    store.create(kind, object, &WriteOptions::default()).unwrap()
}

#[tokio::test]
async fn a_watch_with_a_selection_sees_objects_come_into_view_and_leave() {
    let (store, pods) = cluster();
    let selection = Selection::in_namespace("default")
        .matching(|pod| pod["metadata"]["labels"]["app"] == "router");
    let mut watch = store.watch(&pods, selection, None).unwrap();
    create(&store, &pods, pod("a", "engine"));
    create(&store, &pods, pod("b", "router"));
    let relabel = |name: &str, app: &'static str| {
        let key = Key::namespaced("default", name);
        let options = WriteOptions::default();
        let patch = &mut |old: &Value| {
            let mut new = old.clone();
            new["metadata"]["labels"]["app"] = json!(app);
            Ok(new)
        };
        store.update(&pods, &key, &options, patch).unwrap()
    };
    relabel("a", "router");
    relabel("b", "engine");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let change = watch.next().await.unwrap();
        seen.push((change.change, change.object.key().name));
    }
    let expected = [
        (ChangeType::Added, "b".to_owned()),
        (ChangeType::Added, "a".to_owned()),
        (ChangeType::Deleted, "b".to_owned()),
    ];
    assert_eq!(seen, expected);
    assert!(watch.try_next().unwrap().is_none());
}

#[test]
fn pages_of_a_list_are_all_of_one_revision() {
    let (store, pods) = cluster();
    for name in ["a", "b", "c"] {
        create(&store, &pods, pod(name, "x"));
    }
    let options = ListOptions { limit: 2, ..ListOptions::default() };
    let all = Selection::default();
    let first = store.list(&pods, &all, &options).unwrap();
    assert_eq!(first.remaining, Some(1));
    store.delete(&pods, &Key::namespaced("default", "c"), &DeleteOptions::default()).unwrap();
    create(&store, &pods, pod("d", "x"));
    let options = ListOptions {
        after: first.next.map(|key| (first.revision, key)),
        ..ListOptions::default()
    };
    let second = store.list(&pods, &all, &options).unwrap();
    let names: Vec<String> = second.items.iter().map(|item| item.key().name).collect();
    assert_eq!(names, ["c"], "the list goes on as of the first page's revision");
    store.compact(store.revision());
    assert_eq!(store.list(&pods, &all, &options).unwrap_err().reason, Reason::Expired);
}

#[test]
fn a_write_from_an_older_version_is_refused() {
    let (store, pods) = cluster();
    let first = create(&store, &pods, pod("a", "x"));
    let mut changed = first.value().clone();
    changed["metadata"]["labels"]["app"] = json!("y");
    let second = store.replace(&pods, &changed, &WriteOptions::default()).unwrap();
    assert!(second.revision() > first.revision());
    let refused = store.replace(&pods, &changed, &WriteOptions::default()).unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, Reason::Conflict));
}

#[test]
fn status_and_the_rest_are_written_apart() {
    let (store, pods) = cluster();
    create(&store, &pods, pod("a", "x"));
    let key = Key::namespaced("default", "a");
    let write = |part: Part| {
        let options = WriteOptions::by("test").of(part);
        let patch = &mut |old: &Value| {
            let mut new = old.clone();
            new["status"]["phase"] = json!("Running");
            new["metadata"]["labels"]["app"] = json!("y");
            Ok(new)
        };
        store.update(&pods, &key, &options, patch).unwrap()
    };
    let main = write(Part::Main);
    assert_eq!(main.value()["status"]["phase"], "Pending");
    assert_eq!(main.value()["metadata"]["labels"]["app"], "y");
    let status = write(Part::Status);
    assert_eq!(status.value()["status"]["phase"], "Running");
    let revision = status.revision();
    assert_eq!(write(Part::Status).revision(), revision, "a write of nothing new is no change");
}

#[test]
fn an_object_with_a_finalizer_goes_when_the_finalizer_does() {
    let (store, pods) = cluster();
    create(&store, &pods, pod("a", "x"));
    let key = Key::namespaced("default", "a");
    let options =
        DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    let (marked, gone) = store.delete(&pods, &key, &options).unwrap();
    assert!(!gone && marked.value()["metadata"]["deletionTimestamp"].is_string());
    let patch = &mut |old: &Value| {
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!([]);
        Ok(new)
    };
    store.update(&pods, &key, &WriteOptions::default(), patch).unwrap();
    assert_eq!(store.get(&pods, &key).unwrap_err().reason, Reason::NotFound);
}

#[test]
fn events_give_way_when_they_are_old_or_too_many() {
    let (store, _) = cluster();
    let events = store.kind("", "events");
    let event = |name: &str, time: &str| {
        json!({
            "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "a", "namespace": "default"},
            "lastTimestamp": time, "reason": "R", "message": "m", "type": "Normal",
        })
    };
    create(&store, &events, event("old", "2020-01-01T00:00:00Z"));
    let now = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    create(&store, &events, event("new", &now));
    store.expire_events();
    let left = store.select(&events, &Selection::default());
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].key().name, "new");
}
