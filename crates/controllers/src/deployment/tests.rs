use apimachinery::Meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::plan::plan;
use crate::action::{Action, Plan};
use crate::fields::Fields;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1, "resourceVersion": "5"},
        "spec": {
            "replicas": replicas, "progressDeadlineSeconds": 60, "revisionHistoryLimit": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}},
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "v2"}]}},
        },
    })
}

fn set(name: &str, image: &str, replicas: i64, revision: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}, "resourceVersion": "5",
            "creationTimestamp": format!("2026-01-01T00:00:{revision:02}Z"),
            "annotations": {
                "deployment.kubernetes.io/revision": revision.to_string(),
                "deployment.kubernetes.io/desired-replicas": "10", "deployment.kubernetes.io/max-replicas": "13",
            },
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "d", "controller": true}],
        },
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image}]}},
        },
        "status": {"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas},
    })
}

fn sizes(plan: &Plan) -> Vec<(String, i64)> {
    let size = |action: &Action| match action {
        Action::Change { key, patch, .. } => Some((key.name.clone(), patch.int("spec/replicas")?)),
        _ => None,
    };
    plan.actions.iter().filter_map(size).collect()
}

fn look(deployment: &Value, sets: &[Value]) -> Plan {
    plan(deployment, &sets.iter().collect::<Vec<_>>(), &[], now())
}

#[test]
fn growing_amid_a_rollout_gives_each_set_its_share() {
    let plan = look(&deployment(15), &[set("old", "v1", 8, 1), set("new", "v2", 5, 2)]);
    assert_eq!(sizes(&plan), [("old".to_owned(), 11), ("new".to_owned(), 7)], "18 at most, 8 to 5");
}

#[test]
fn a_step_goes_as_far_as_surge_and_availability_let_it() {
    let start = look(&deployment(10), &[set("old", "v1", 10, 1)]);
    let created = start.actions.iter().find_map(|action| match action {
        Action::Create { object, .. } => Some(object),
        _ => None,
    });
    assert_eq!(created.unwrap().int("spec/replicas"), Some(3));
    assert_eq!(sizes(&start), [("old".to_owned(), 8)]);
    let next = look(&deployment(10), &[set("old", "v1", 8, 1), set("new", "v2", 3, 2)]);
    assert_eq!(sizes(&next), [("new".to_owned(), 5)]);
}

#[test]
fn pods_that_an_old_set_has_yet_to_end_do_not_pay_for_others() {
    let mut deployment = deployment(4);
    deployment["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 1, "maxUnavailable": 0});
    let mut sets = [set("old", "v1", 2, 1), set("new", "v2", 3, 2)];
    for (name, pods) in [("desired-replicas", "4"), ("max-replicas", "5")] {
        for set in &mut sets {
            set["metadata"]["annotations"][format!("deployment.kubernetes.io/{name}")] =
                json!(pods);
        }
    }
    sets[0]["status"] = json!({"replicas": 3, "readyReplicas": 3, "availableReplicas": 3});
    let plan = look(&deployment, &sets);
    assert_eq!(sizes(&plan), [("old".to_owned(), 1)], "five are to stay, and four must");
}

#[test]
fn old_sets_beyond_the_limit_are_deleted_once_all_is_done() {
    let mut done = deployment(10);
    done["status"] = json!({"observedGeneration": 1, "replicas": 10, "updatedReplicas": 10, "availableReplicas": 10});
    let plan = look(&done, &[set("a", "v0", 0, 1), set("b", "v1", 0, 2), set("c", "v2", 10, 3)]);
    let deleted: Vec<&str> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Delete { key, .. } => Some(key.name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(deleted, ["a"]);
}

#[test]
fn a_deadline_that_has_passed_unjudged_is_not_asked_about_without_end() {
    let mut paused = deployment(10);
    paused["spec"]["paused"] = json!(true);
    paused["status"] = json!({"conditions": [
        {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": "2026-01-01T00:00:00Z"},
    ]});
    let sets = [set("old", "v1", 10, 1)];
    assert_eq!(look(&paused, &sets).again, None);
    paused["spec"]["paused"] = json!(false);
    assert!(look(&paused, &sets).again.is_none_or(|wait| wait.as_secs() >= 1));
    assert_eq!(paused.name(), "web");
}
