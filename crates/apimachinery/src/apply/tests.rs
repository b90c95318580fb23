//! Laws of apply.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{builtin, decode, schema};

fn writer<'a>(kind: &'a Kind, manager: &'a str) -> Writer<'a> {
    let schema = &schema::builtin().of_kind(&kind.api_version(), &kind.kind).unwrap().schema;
    Writer {
        kind,
        typed: Typed::new(schema),
        manager,
        subresource: "",
        now: "2026-01-01T00:00:00Z",
    }
}

fn empty(writer: &Writer<'_>) -> Value {
    let mut object = json!({"apiVersion": writer.kind.api_version(), "kind": writer.kind.kind});
    decode::settle(writer.typed, &mut object).unwrap();
    object
}

fn deployments() -> std::sync::Arc<Kind> {
    builtin::kinds().at("apps", "v1", "deployments").unwrap().clone()
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

/// Applies, and gives the result a uid so that the next one is no creation.
fn apply(
    kind: &Kind,
    manager: &str,
    live: &Value,
    config: &Value,
    force: bool,
) -> Result<Value, Status> {
    let writer = writer(kind, manager);
    let mut new = writer.apply(live, config, force)?;
    decode::settle(writer.typed, &mut new).unwrap();
    new["metadata"]["uid"] = json!("u");
    Ok(new)
}

#[test]
fn a_field_of_another_applier_is_a_conflict_until_forced() {
    let kind = &deployments();
    let one =
        apply(kind, "m", &empty(&writer(kind, "m")), &deployment(json!({"replicas": 1})), false)
            .unwrap();
    let error = apply(kind, "n", &one, &deployment(json!({"replicas": 2})), false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"m\": .spec.replicas");
    assert_eq!((error.code, error.details.unwrap().causes.len()), (409, 1));
    let two = apply(kind, "n", &one, &deployment(json!({"replicas": 2})), true).unwrap();
    assert_eq!(two["spec"]["replicas"], 2);
    let managers: Vec<&str> = two["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["manager"].as_str())
        .collect();
    assert_eq!(managers, ["n"]);
}

#[test]
fn a_dropped_field_goes_unless_somebody_else_owns_it() {
    let kind = &deployments();
    let both = deployment(json!({"replicas": 1, "paused": true}));
    let one = apply(kind, "m", &empty(&writer(kind, "m")), &both, false).unwrap();
    let shared = apply(kind, "n", &one, &deployment(json!({"replicas": 1})), false).unwrap();
    let dropped =
        apply(kind, "m", &shared, &deployment(json!({"minReadySeconds": 5})), false).unwrap();
    assert_eq!(dropped["spec"]["replicas"], 1);
    assert!(dropped["spec"].get("paused").is_none());
    let gone = apply(kind, "n", &dropped, &deployment(json!({})), false).unwrap();
    assert!(gone["spec"].get("replicas").is_none());
}

#[test]
fn an_update_takes_the_fields_it_changes() {
    let kind = &deployments();
    let config = deployment(json!({"replicas": 1, "paused": true}));
    let one = apply(kind, "m", &empty(&writer(kind, "m")), &config, false).unwrap();
    let mut two = one.clone();
    two["spec"]["replicas"] = json!(3);
    writer(kind, "scaler").track(&one, &mut two);
    let error = apply(kind, "m", &two, &config, false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas"
    );
    let mut same = two.clone();
    writer(kind, "other").track(&two, &mut same);
    assert_eq!(same, two);
}

#[test]
fn managed_fields_are_reset_by_an_empty_entry() {
    let kind = &deployments();
    let one =
        apply(kind, "m", &empty(&writer(kind, "m")), &deployment(json!({"replicas": 1})), false)
            .unwrap();
    let mut two = one.clone();
    two["metadata"]["managedFields"] = json!([{}]);
    writer(kind, "x").track(&one, &mut two);
    assert!(two["metadata"].get("managedFields").is_none());
}

#[test]
fn the_oldest_updaters_are_merged() {
    let kind = &deployments();
    let mut live = empty(&writer(kind, "x"));
    for number in 0..14 {
        let mut new = live.clone();
        new["metadata"]["labels"][format!("l{number}")] = json!("x");
        let manager = format!("m{number:02}");
        writer(kind, &manager).track(&live, &mut new);
        live = new;
        live["metadata"]["uid"] = json!("u");
    }
    let managers = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(managers.len(), 10);
    assert_eq!(managers.iter().filter(|one| one["manager"] == "ancient-changes").count(), 1);
}

fn any_config() -> impl Strategy<Value = Value> {
    let container =
        ("[a-c]", prop::option::of("[x-z]"), prop::collection::btree_set(1..4_u16, 1..3)).prop_map(
            |(name, image, ports)| {
                let ports: Vec<Value> =
                    ports.into_iter().map(|port| json!({"containerPort": port})).collect();
                json!({"name": name, "image": image, "ports": ports})
            },
        );
    let containers = prop::collection::vec(container, 1..3).prop_map(|mut list| {
        list.dedup_by_key(|one| one["name"].clone());
        list.sort_by_key(|one| one["name"].to_string());
        list.dedup_by_key(|one| one["name"].clone());
        list
    });
    let labels = prop::collection::btree_map("[a-c]", "[x-z]", 0..3);
    (prop::option::of(0..3_i32), containers, labels).prop_map(|(replicas, containers, labels)| {
        let mut config = deployment(json!({"template": {"spec": {"containers": containers}}}));
        if let Some(replicas) = replicas {
            config["spec"]["replicas"] = json!(replicas);
        }
        config["metadata"]["labels"] = json!(labels);
        config
    })
}

proptest! {
    #[test]
    fn apply_is_idempotent(first in any_config(), second in any_config()) {
        let kind = &deployments();
        let live = apply(kind, "m", &empty(&writer(kind, "m")), &first, false).unwrap();
        let once = apply(kind, "m", &live, &second, false).unwrap();
        let twice = apply(kind, "m", &once, &second, false).unwrap();
        prop_assert_eq!(&once, &twice);
    }

    #[test]
    fn one_applier_gets_what_it_says_last(first in any_config(), second in any_config()) {
        let kind = &deployments();
        let start = empty(&writer(kind, "m"));
        let live = apply(kind, "m", &start, &first, false).unwrap();
        let changed = apply(kind, "m", &live, &second, false).unwrap();
        let direct = apply(kind, "m", &start, &second, false).unwrap();
        prop_assert_eq!(&changed["spec"]["replicas"], &direct["spec"]["replicas"]);
        prop_assert_eq!(&changed["metadata"]["managedFields"][0]["fieldsV1"], &direct["metadata"]["managedFields"][0]["fieldsV1"]);
    }

    #[test]
    fn appliers_of_disjoint_fields_never_conflict(labels in prop::collection::btree_map("[a-c]", "[x-z]", 1..3), config in any_config()) {
        let kind = &deployments();
        let mut config = config;
        config["metadata"].as_object_mut().unwrap().remove("labels");
        let annotated = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": labels}});
        let one = apply(kind, "m", &empty(&writer(kind, "m")), &config, false).unwrap();
        let two = apply(kind, "n", &one, &annotated, false).unwrap();
        let three = apply(kind, "m", &two, &config, false).unwrap();
        prop_assert_eq!(&three["metadata"]["labels"], &json!(labels));
        prop_assert_eq!(&three["spec"], &one["spec"]);
    }
}
