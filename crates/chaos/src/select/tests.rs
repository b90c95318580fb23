use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::{Chaos, NetworkChaos, PodChaos};

fn pod(namespace: &str, name: &str, node: &str, labels: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": { "nodeName": node, "containers": [{ "name": "engine" }, { "name": "sidecar" }] },
        "status": { "phase": "Running", "podIP": "10.0.0.7" },
    }))
    .expect("a pod")
}

fn pods() -> Vec<Pod> {
    vec![
        pod("serving", "b", "n2", json!({ "app": "engine", "tier": "spot" })),
        pod("serving", "a", "n1", json!({ "app": "engine" })),
        pod("serving", "r", "n1", json!({ "app": "router" })),
        pod("other", "a", "n1", json!({ "app": "engine" })),
    ]
}

fn nodes() -> Vec<Node> {
    let node = |name: &str, zone: &str| {
        let labels = json!({ "name": name, "labels": { "zone": zone } });
        serde_json::from_value(json!({ "metadata": labels })).expect("a node")
    };
    vec![node("n1", "east"), node("n2", "west")]
}

fn found(selector: Value) -> Vec<String> {
    let spec: PodSelectorSpec = serde_json::from_value(selector).expect("a selector");
    let pods = pods();
    let all = candidates(&spec, "serving", &pods, &nodes()).expect("a known field");
    all.into_iter().map(pod_id).collect()
}

#[test]
fn an_empty_selector_means_the_experiments_own_namespace() {
    assert_eq!(found(json!({})), ["serving/a", "serving/b", "serving/r"]);
}

#[test]
fn every_condition_narrows() {
    assert_eq!(found(json!({ "labelSelectors": { "app": "engine" } })), ["serving/a", "serving/b"]);
    assert_eq!(found(json!({ "namespaces": ["other"] })), ["other/a"]);
    assert_eq!(found(json!({ "nodes": ["n2"] })), ["serving/b"]);
    assert_eq!(found(json!({ "nodeSelectors": { "zone": "west" } })), ["serving/b"]);
    assert_eq!(
        found(json!({ "nodes": ["n1"], "nodeSelectors": { "zone": "west" } })),
        ["serving/a", "serving/b", "serving/r"]
    );
    assert_eq!(found(json!({ "fieldSelectors": { "metadata.name": "r" } })), ["serving/r"]);
    assert_eq!(found(json!({ "podPhaseSelectors": ["Pending"] })), [""; 0]);
    assert_eq!(found(json!({ "annotationSelectors": { "x": "y" } })), [""; 0]);
}

#[test]
fn expressions_are_those_of_kubernetes() {
    let with = |operator: &str, key: &str, values: Value| {
        let requirement = json!({ "key": key, "operator": operator, "values": values });
        found(json!({ "expressionSelectors": [requirement] }))
    };
    assert_eq!(with("In", "app", json!(["router"])), ["serving/r"]);
    assert_eq!(with("NotIn", "tier", json!(["spot"])), ["serving/a", "serving/r"]);
    assert_eq!(with("Exists", "tier", json!([])), ["serving/b"]);
    assert_eq!(with("DoesNotExist", "tier", json!([])), ["serving/a", "serving/r"]);
}

#[test]
fn named_pods_are_taken_whatever_else_is_said() {
    let selector =
        json!({ "pods": { "other": ["a", "gone"] }, "labelSelectors": { "app": "router" } });
    assert_eq!(found(selector), ["other/a"]);
}

#[test]
fn a_field_that_pods_have_no_selector_for_is_named() {
    let spec: PodSelectorSpec =
        serde_json::from_value(json!({ "fieldSelectors": { "spec.color": "red" } }))
            .expect("a spec");
    let error = candidates(&spec, "serving", &[], &[]).expect_err("unknown");
    assert_eq!(error.to_string(), "pods cannot be selected by the field \"spec.color\"");
}

fn kill(containers: Value) -> PodChaos {
    serde_json::from_value(json!({
        "apiVersion": "chaos-mesh.org/v1alpha1", "kind": "PodChaos", "metadata": { "name": "x" },
        "spec": {
            "action": "container-kill", "mode": "all", "containerNames": containers,
            "selector": { "labelSelectors": { "app": "engine" } },
        },
    }))
    .expect("a resource")
}

#[test]
fn a_container_left_out_is_the_first_one() {
    let of = |chaos: &PodChaos| {
        records(&chaos.targets(), "serving", &pods(), &[], 7)
            .map(|all| all.into_iter().map(|record| record.id).collect::<Vec<_>>())
    };
    assert_eq!(
        of(&kill(json!([]))),
        Ok(vec!["serving/a/engine".into(), "serving/b/engine".into()])
    );
    assert_eq!(
        of(&kill(json!(["sidecar"]))),
        Ok(vec!["serving/a/sidecar".into(), "serving/b/sidecar".into()])
    );
    assert!(matches!(of(&kill(json!(["proxy"]))), Err(SelectError::Container { .. })));
}

#[test]
fn both_ends_of_a_link_have_records() {
    let chaos: NetworkChaos = serde_json::from_value(json!({
        "metadata": { "name": "x" },
        "spec": {
            "action": "partition", "mode": "all", "selector": { "labelSelectors": { "app": "router" } },
            "target": { "mode": "all", "selector": { "labelSelectors": { "app": "engine" } } },
        },
    }))
    .expect("a resource");
    let all = records(&chaos.targets(), "serving", &pods(), &[], 7).expect("pods");
    let keys: Vec<_> =
        all.iter().map(|each| (each.selector_key.as_str(), each.id.as_str())).collect();
    assert_eq!(keys, [(".", "serving/r"), (".Target", "serving/a"), (".Target", "serving/b")]);
}

#[test]
fn a_mode_says_which_value_it_needs() {
    let mut chance = StdRng::seed_from_u64(1);
    for (mode, value) in [
        (SelectorMode::Fixed, "0"),
        (SelectorMode::Fixed, ""),
        (SelectorMode::FixedPercent, "101"),
        (SelectorMode::RandomMaxPercent, "few"),
    ] {
        assert!(matches!(choose(10, mode, value, &mut chance), Err(SelectError::Value { .. })));
    }
}

proptest! {
    #[test]
    fn what_is_chosen_is_there_once_and_as_many_as_asked(
        count in 1usize..200, percent in 1usize..=100, seed: u64,
    ) {
        let run = |mode, value: &str| {
            choose(count, mode, value, &mut StdRng::seed_from_u64(seed)).expect("a good value")
        };
        let value = percent.to_string();
        prop_assert_eq!(run(SelectorMode::One, "").len(), 1);
        prop_assert_eq!(run(SelectorMode::All, ""), (0..count).collect::<Vec<_>>());
        prop_assert_eq!(run(SelectorMode::Fixed, &value).len(), percent.min(count));
        prop_assert_eq!(run(SelectorMode::FixedPercent, &value).len(), count * percent / 100);
        prop_assert!(run(SelectorMode::RandomMaxPercent, &value).len() <= count * percent / 100);
        for mode in [SelectorMode::Fixed, SelectorMode::RandomMaxPercent] {
            let chosen = run(mode, &value);
            prop_assert!(chosen.is_sorted_by(|a, b| a < b) && chosen.iter().all(|at| *at < count));
            prop_assert_eq!(run(mode, &value), chosen);
        }
    }

    #[test]
    fn the_order_of_the_pods_does_not_matter(seed: u64, turn in 0usize..4) {
        let chaos = kill(json!([]));
        let mut turned = pods();
        turned.rotate_left(turn);
        let straight = records(&chaos.targets(), "serving", &pods(), &nodes(), seed);
        prop_assert_eq!(straight, records(&chaos.targets(), "serving", &turned, &nodes(), seed));
    }
}
