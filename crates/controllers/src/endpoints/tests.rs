use std::collections::HashMap;

use serde_json::{Value, json};

use super::slices::plan;
use crate::action::Action;
use crate::fields::Fields;

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "s"},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    })
}

fn pod(i: usize, port: i64, ready: bool) -> Value {
    json!({
        "metadata": {"name": format!("p{i}"), "namespace": "default", "uid": format!("u{i:03}")},
        "spec": {"nodeName": "a", "containers": [{"ports": [{"name": "web", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": format!("127.1.0.{i}"), "conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" }},
        ]},
    })
}

fn created(pods: &[Value]) -> Vec<Value> {
    let pods: Vec<&Value> = pods.iter().collect();
    let actions = plan(&service(), &pods, &[], &HashMap::new());
    let made = |action: Action| match action {
        Action::Create { object, .. } => Some(object),
        _ => None,
    };
    actions.into_iter().filter_map(made).collect()
}

#[test]
fn a_slice_holds_a_hundred_endpoints_and_pods_with_other_ports_have_their_own() {
    let mut pods: Vec<Value> = (0..230).map(|i| pod(i, 8080, i % 2 == 0)).collect();
    pods.push(pod(999, 9090, true));
    let slices = created(&pods);
    let mut sizes: Vec<(i64, usize)> =
        slices.iter().map(|one| (one.count("ports/0/port"), one.list("endpoints").len())).collect();
    sizes
        .iter_mut()
        .zip(&slices)
        .for_each(|(size, slice)| size.0 = slice.list("ports")[0].count("port"));
    sizes.sort_unstable();
    assert_eq!(sizes, [(8080, 30), (8080, 100), (8080, 100), (9090, 1)]);
    let ready = |slice: &Value| {
        slice.list("endpoints").iter().filter(|one| one.flag("conditions/ready")).count()
    };
    assert_eq!(slices.iter().map(ready).sum::<usize>(), 116);
}

#[test]
fn whoever_has_a_place_keeps_it() {
    let pods: Vec<Value> = (0..150).map(|i| pod(i, 8080, true)).collect();
    let mut slices = created(&pods);
    for (i, slice) in slices.iter_mut().enumerate() {
        slice["metadata"]["name"] = json!(format!("web-{i}"));
    }
    let fewer: Vec<&Value> = pods[1..].iter().collect();
    let known: Vec<&Value> = slices.iter().collect();
    let actions = plan(&service(), &fewer, &known, &HashMap::new());
    assert!(
        matches!(&actions[..], [Action::Change { key, .. }] if key.name == "web-0"),
        "one slice changes: {}",
        actions.len()
    );
}
