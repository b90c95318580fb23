//! What outlives the process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use apimachinery::Key;
use object_store::{
    DeleteOptions, ListOptions, OpenError, Selection, Store, System, WriteOptions, bootstrap,
};
use serde_json::json;

fn config_map(name: &str, value: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "data": {"key": value}})
}

fn widgets() -> serde_json::Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
            }],
        },
    })
}

#[tokio::test]
async fn objects_versions_and_custom_kinds_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects.redb");
    let store = Store::open(&path, System).unwrap();
    bootstrap(&store, std::net::Ipv4Addr::LOCALHOST, 443).unwrap();
    let maps = store.kind("", "configmaps");
    let options = WriteOptions::default();
    for name in ["a", "b"] {
        store.create(&maps, config_map(name, "1"), &options).unwrap();
    }
    store.replace(&maps, &config_map("a", "2"), &options).unwrap();
    store.delete(&maps, &Key::namespaced("default", "b"), &DeleteOptions::default()).unwrap();
    let definitions = store.kind("apiextensions.k8s.io", "customresourcedefinitions");
    store.create(&definitions, widgets(), &options).unwrap();
    let kind = store.kinds().at("example.com", "v1", "widgets").cloned().unwrap();
    let widget = json!({"metadata": {"name": "w", "namespace": "default"}, "spec": {}});
    store.create(&kind, widget, &options).unwrap();
    let revision = store.revision();
    store.written(revision).await.unwrap();
    drop(store);

    let store = Store::open(&path, System).unwrap();
    assert_eq!(store.revision(), revision);
    let all = store.list(&maps, &Selection::default(), &ListOptions::default()).unwrap();
    assert_eq!(all.items.len(), 1);
    assert_eq!(all.items[0].value()["data"]["key"], "2");
    let kind = store.kinds().at("example.com", "v1", "widgets").cloned().unwrap();
    store.get(&kind, &Key::namespaced("default", "w")).unwrap();
    let old = store.watch(&maps, Selection::default(), Some(revision - 1)).unwrap_err();
    assert_eq!(old.code, 410);
    store.watch(&maps, Selection::default(), Some(revision)).unwrap();
}

#[test]
fn a_file_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects.redb");
    let database = redb::Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    let numbers = redb::TableDefinition::<&str, u64>::new("numbers");
    write.open_table(numbers).unwrap().insert("format", 99).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = Store::open(&path, System).unwrap_err();
    assert!(matches!(error, OpenError::Format { found: 99 }), "{error}");
}

#[test]
fn a_file_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects.redb");
    std::fs::write(&path, "nothing of the kind").unwrap();
    assert!(matches!(Store::open(&path, System).unwrap_err(), OpenError::Database(_)));
}

#[test]
fn a_definition_that_goes_takes_its_objects_along() {
    let store = Store::default();
    bootstrap(&store, std::net::Ipv4Addr::LOCALHOST, 443).unwrap();
    let definitions = store.kind("apiextensions.k8s.io", "customresourcedefinitions");
    let options = WriteOptions::default();
    let made = store.create(&definitions, widgets(), &options).unwrap();
    let conditions = made.value()["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|one| one["status"] == "True"), "{conditions:?}");
    let kind = store.kinds().at("example.com", "v1", "widgets").cloned().unwrap();
    let mut widget = json!({"metadata": {"name": "w", "namespace": "default"}});
    store.create(&kind, widget.clone(), &options).unwrap();
    widget["metadata"] = json!({"name": "held", "namespace": "default", "finalizers": ["a/b"]});
    store.create(&kind, widget, &options).unwrap();
    let key = Key::cluster("widgets.example.com");
    let (_, gone) = store.delete(&definitions, &key, &DeleteOptions::default()).unwrap();
    assert!(!gone, "an object of it is still held");
    let held = Key::namespaced("default", "held");
    assert_eq!(store.select(&kind, &Selection::default()).len(), 1);
    store
        .update(&kind, &held, &options, &mut |old| {
            let mut new = old.clone();
            new["metadata"]["finalizers"] = json!([]);
            Ok(new)
        })
        .unwrap();
    assert_eq!(store.get(&definitions, &key).unwrap_err().code, 404);
    assert!(store.kinds().at("example.com", "v1", "widgets").is_none());
}

#[test]
fn a_definition_whose_names_are_taken_is_not_served() {
    let store = Store::default();
    let definitions = store.kind("apiextensions.k8s.io", "customresourcedefinitions");
    let options = WriteOptions::default();
    store.create(&definitions, widgets(), &options).unwrap();
    let mut second = widgets();
    second["metadata"]["name"] = json!("gadgets.example.com");
    second["spec"]["names"]["plural"] = json!("gadgets");
    let made = store.create(&definitions, second, &options).unwrap();
    let conditions = made.value()["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|one| one["status"] == "False"), "{conditions:?}");
    assert!(store.kinds().at("example.com", "v1", "gadgets").is_none());
}
