//! The controllers on a store under a paused clock, with a stand-in for the nodes' agent that runs pods at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::json;
use support::Cluster;

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_ready_pods_on_nodes() {
    let cluster = Cluster::start(&["a", "b"]);
    cluster.create("apps", "deployments", support::deployment("web", 3, "v1"));
    cluster
        .until("three pods are ready", |cluster| {
            cluster.get("apps", "deployments", "web")["status"]["readyReplicas"] == json!(3)
        })
        .await;
    let deployment = cluster.get("apps", "deployments", "web");
    let condition = |kind: &str| support::condition(&deployment, kind);
    assert_eq!(condition("Available")["reason"], "MinimumReplicasAvailable");
    assert_eq!(condition("Progressing")["reason"], "NewReplicaSetAvailable");
    assert_eq!(deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    let nodes: Vec<_> =
        cluster.list("", "pods").iter().map(|pod| pod["spec"]["nodeName"].clone()).collect();
    assert!(nodes.contains(&json!("a")) && nodes.contains(&json!("b")), "spread: {nodes:?}");
    let told = cluster.events("ScalingReplicaSet");
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("Scaled up replica set web-") && told[0].ends_with(" from 0 to 3"),
        "{told:?}"
    );
    assert_eq!(cluster.events("SuccessfulCreate").len(), 3);
    assert_eq!(cluster.events("Scheduled").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_new_template_replaces_the_old_pods_and_an_undo_brings_them_back() {
    let cluster = Cluster::start(&["a", "b"]);
    cluster.create("apps", "deployments", support::deployment("web", 4, "v1"));
    let settled = |cluster: &Cluster, image: &str| {
        let pods = cluster.list("", "pods");
        let deployment = cluster.get("apps", "deployments", "web");
        pods.len() == 4
            && pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == image)
            && support::condition(&deployment, "Progressing")["reason"] == "NewReplicaSetAvailable"
            && deployment["status"]["updatedReplicas"] == json!(4)
    };
    cluster.until("v1 runs", |cluster| settled(cluster, "v1")).await;
    for (image, revision) in [("v2", "2"), ("v1", "3")] {
        cluster.merge("apps", "deployments", "web", json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}));
        cluster.until(image, |cluster| settled(cluster, image)).await;
        let deployment = cluster.get("apps", "deployments", "web");
        assert_eq!(
            deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
            revision
        );
    }
    let sets = cluster.list("apps", "replicasets");
    assert_eq!(sets.len(), 2, "the first set is taken up again");
    let back = sets.iter().find(|set| set["spec"]["replicas"] == json!(4)).unwrap();
    assert_eq!(back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_says_why_and_runs_once_there_is_room() {
    let cluster = Cluster::start(&["a"]);
    let mut pod = support::pod("big", json!({"cpu": "64"}));
    pod["metadata"]["namespace"] = json!("default");
    cluster.create("", "pods", pod);
    let reason = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    cluster
        .until("it is refused", |cluster| {
            support::condition(&cluster.get("", "pods", "big"), "PodScheduled")["message"] == reason
        })
        .await;
    cluster.node("b", "128");
    cluster
        .until("it runs", |cluster| cluster.get("", "pods", "big")["spec"]["nodeName"] == "b")
        .await;
    assert_eq!(cluster.events("FailedScheduling"), [reason]);
}
