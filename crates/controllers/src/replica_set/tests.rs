use super::*;

fn set(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default", "uid": "set", "generation": 1, "resourceVersion": "5"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
        },
    })
}

fn pod(name: &str, with: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {"app": "web"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true}],
        },
        "spec": {"nodeName": "a"},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"},
        ]},
    });
    crate::execute::merge(&mut pod, &with);
    pod
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn deleted(plan: &Plan) -> Vec<&str> {
    let name = |action: &'_ Action| match action {
        Action::Delete { key, .. } => Some(key.name.clone()),
        _ => None,
    };
    plan.actions.iter().filter_map(name).map(|name| &*name.leak()).collect()
}

#[test]
fn lacking_pods_are_created_from_the_template() {
    let plan = plan(&set(3), &[&pod("a", json!({}))], &[], now());
    let made: Vec<_> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Create { object, .. } => Some(object),
            _ => None,
        })
        .collect();
    assert_eq!(made.len(), 2);
    assert_eq!(made[0]["metadata"]["labels"]["app"], "web");
    assert!(owner::is_controlled_by(made[0], "set"));
}

#[test]
fn the_least_useful_pods_go_first() {
    let ready = pod("ready", json!({}));
    let younger = pod(
        "younger",
        json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:00Z"},
        ]}}),
    );
    let dear = pod(
        "dear",
        json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "9"}}}),
    );
    let unready = pod("unready", json!({"status": {"conditions": []}}));
    let pending = pod("pending", json!({"status": {"phase": "Pending", "conditions": []}}));
    let unbound = pod(
        "unbound",
        json!({"spec": {"nodeName": null}, "status": {"phase": "Pending", "conditions": []}}),
    );
    let crowded = pod("crowded", json!({"spec": {"nodeName": "b"}}));
    let other = pod(
        "other",
        json!({
            "spec": {"nodeName": "b"},
            "metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "w", "uid": "sibling", "controller": true}]},
        }),
    );
    let crowd = pod(
        "crowd",
        json!({
            "spec": {"nodeName": "b"},
            "metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "w", "uid": "sibling", "controller": true}]},
        }),
    );
    let more = pod(
        "more",
        json!({
            "spec": {"nodeName": "b"},
            "metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "w", "uid": "sibling", "controller": true}]},
        }),
    );
    let more2 = pod(
        "more2",
        json!({
            "spec": {"nodeName": "b"},
            "metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "w", "uid": "sibling", "controller": true}]},
        }),
    );
    let more3 = pod(
        "more3",
        json!({
            "spec": {"nodeName": "b"},
            "metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "w", "uid": "sibling", "controller": true}]},
        }),
    );
    let pods = [
        &ready, &younger, &dear, &unready, &pending, &unbound, &crowded, &other, &crowd, &more,
        &more2, &more3,
    ];
    let plan = plan(&set(0), &pods, &["sibling".to_owned()], now());
    let expected = ["unbound", "pending", "unready", "crowded", "younger", "ready", "dear"];
    assert_eq!(deleted(&plan), expected);
}

#[test]
fn an_orphan_that_fits_is_adopted_and_one_that_no_longer_fits_is_released() {
    let orphan = pod("orphan", json!({"metadata": {"ownerReferences": null}}));
    let moved = pod("moved", json!({"metadata": {"labels": {"app": "debug"}}}));
    let plan = plan(&set(1), &[&orphan, &moved], &[], now());
    let references: Vec<_> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Change { key, patch, .. } => Some((
                key.name.as_str(),
                patch["metadata"]["ownerReferences"].as_array().unwrap().len(),
            )),
            _ => None,
        })
        .collect();
    assert_eq!(references, [("orphan", 1), ("moved", 0)]);
    assert!(deleted(&plan).is_empty());
}

#[test]
fn a_pod_is_available_once_it_was_ready_for_long_enough() {
    let mut set = set(1);
    set["spec"]["minReadySeconds"] = json!(30);
    let fresh = pod(
        "fresh",
        json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:50Z"},
        ]}}),
    );
    let plan = plan(&set, &[&fresh], &[], now());
    assert_eq!(plan.again, Some(std::time::Duration::from_secs(20)));
    let Action::Status { status, .. } = &plan.actions[0] else { panic!("a status comes first") };
    assert_eq!(
        (status["readyReplicas"].clone(), status.get("availableReplicas")),
        (json!(1), None)
    );
}
