use std::sync::Arc;

use apimachinery::Key;
use serde_json::{Value, json};

use super::decide::{Nominated, decide};
use super::preempt::preempt;
use super::snapshot::{PodInfo, Snapshot};

fn cluster(nodes: &[(&str, &str, Value)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, zone, spec) in nodes {
        let node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": zone}},
            "spec": spec,
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10", "nvidia.com/gpu": "1"}},
        });
        snapshot.nodes.entry((*name).to_owned()).or_default().set(&node);
    }
    snapshot
}

fn pod(name: &str, node: &str, spec: Value, priority: i64) -> PodInfo {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"requests": {"cpu": "1"}}}]},
    });
    crate::execute::merge(&mut pod["spec"], &spec);
    PodInfo::of(&pod, priority)
}

fn place(snapshot: &mut Snapshot, pod: PodInfo) {
    snapshot.place(Arc::new(pod));
}

fn to(snapshot: &Snapshot, pod: &PodInfo) -> Result<String, String> {
    decide(pod, snapshot, &Nominated::new(), 7).map_err(|unfit| unfit.message())
}

#[test]
fn reasons_are_counted_in_kubernetes_words() {
    let taint = json!({"taints": [{"key": "spot", "effect": "NoSchedule"}]});
    let nodes = [
        ("a", "x", json!({})),
        ("b", "x", taint.clone()),
        ("c", "y", taint),
        ("d", "y", json!({"unschedulable": true})),
    ];
    let mut snapshot = cluster(&nodes);
    place(
        &mut snapshot,
        pod(
            "taken",
            "a",
            json!({"containers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}]}),
            0,
        ),
    );
    let wants = json!({"containers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}]});
    assert_eq!(
        to(&snapshot, &pod("p", "", wants, 0)).unwrap_err(),
        "0/4 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s)."
    );
    assert_eq!(
        to(&cluster(&[]), &pod("p", "", json!({}), 0)).unwrap_err(),
        "no nodes available to schedule pods"
    );
}

#[test]
fn pods_that_shun_each_other_are_kept_apart_and_friends_together() {
    let mut snapshot = cluster(&[("a", "x", json!({})), ("b", "y", json!({}))]);
    place(&mut snapshot, pod("first", "a", json!({}), 0));
    let term = json!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let affinity = |which: &str| json!({"affinity": {which: {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    assert_eq!(to(&snapshot, &pod("p", "", affinity("podAntiAffinity"), 0)).as_deref(), Ok("b"));
    assert_eq!(to(&snapshot, &pod("p", "", affinity("podAffinity"), 0)).as_deref(), Ok("a"));
    place(&mut snapshot, pod("second", "b", affinity("podAntiAffinity"), 0));
    let refused = to(&snapshot, &pod("p", "", affinity("podAntiAffinity"), 0)).unwrap_err();
    assert!(refused.contains("2 node(s) didn't match pod anti-affinity rules"), "{refused}");
}

#[test]
fn a_hard_spread_keeps_the_skew() {
    let mut snapshot =
        cluster(&[("a", "x", json!({})), ("b", "x", json!({})), ("c", "y", json!({}))]);
    let spread = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]});
    let mut zones = [0_i32; 2];
    for i in 0..6 {
        let mut next = pod(&format!("p{i}"), "", spread.clone(), 0);
        next.node = to(&snapshot, &next).unwrap();
        zones[usize::from(next.node == "c")] += 1;
        assert!((zones[0] - zones[1]).abs() <= 1, "{zones:?}");
        place(&mut snapshot, next);
    }
}

#[test]
fn the_least_important_pods_make_room() {
    let mut snapshot = cluster(&[("a", "x", json!({})), ("b", "x", json!({}))]);
    let size = |cpu: &str| json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]});
    place(&mut snapshot, pod("dear", "a", size("3"), 50));
    place(&mut snapshot, pod("cheap", "b", size("2"), 10));
    place(&mut snapshot, pod("cheaper", "b", size("2"), 5));
    let vip = pod("vip", "", size("2"), 100);
    let unfit = decide(&vip, &snapshot, &Nominated::new(), 0).unwrap_err();
    let preemption = preempt(&vip, &snapshot, &unfit, &[]).unwrap();
    let victims: Vec<&Key> = preemption.victims.iter().map(|one| &one.key).collect();
    assert_eq!(
        (preemption.node.as_str(), victims),
        ("b", vec![&Key::namespaced("default", "cheaper")])
    );
    let meek = pod("meek", "", size("2"), 0);
    let why = preempt(&meek, &snapshot, &unfit, &[]).unwrap_err();
    assert_eq!(why, "0/2 nodes are available: 2 No preemption victims found for incoming pod.");
}

#[test]
fn equal_nodes_are_told_apart_by_the_dice_alone() {
    let snapshot = cluster(&[("a", "x", json!({})), ("b", "x", json!({})), ("c", "x", json!({}))]);
    let one = pod("p", "", json!({}), 0);
    let at = |dice: u64| decide(&one, &snapshot, &Nominated::new(), dice).unwrap();
    assert_eq!(at(3), at(3));
    let all: std::collections::BTreeSet<String> = (0..40).map(at).collect();
    assert_eq!(all.len(), 3);
}
