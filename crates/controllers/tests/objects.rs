//! Namespaces, owners, services, claims and nodes: what the smaller controllers do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use controllers::Config;
use object_store::{DeleteOptions, Propagation};
use serde_json::{Value, json};
use support::Cluster;

fn delete(propagation: Propagation) -> DeleteOptions {
    DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_with_everything_in_it() {
    let cluster = Cluster::start(&["a"]);
    cluster.create("", "namespaces", json!({"metadata": {"name": "team"}}));
    cluster.merge("", "namespaces", "team", json!({"spec": {"finalizers": ["kubernetes"]}}));
    let mut web = support::deployment("web", 2, "v1");
    web["metadata"]["namespace"] = json!("team");
    cluster.create("apps", "deployments", web);
    let settings = json!({"metadata": {"name": "settings", "namespace": "team"}});
    cluster.create("", "configmaps", settings);
    cluster.until("pods run", |cluster| cluster.list("", "pods").len() == 2).await;
    cluster.delete("", "namespaces", "team", &DeleteOptions::default());
    cluster.until("it is gone", |cluster| cluster.find("", "namespaces", "team").is_none()).await;
    let left = |plural: &str, all: Vec<serde_json::Value>| {
        let theirs = all.iter().filter(|one| one["metadata"]["namespace"] == "team");
        assert_eq!(theirs.count(), 0, "{plural} are left");
    };
    for (group, plural) in
        [("", "pods"), ("", "configmaps"), ("apps", "replicasets"), ("", "events")]
    {
        left(plural, cluster.list(group, plural));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_deleted_owner_leaves_behind_is_collected() {
    let cluster = Cluster::start(&["a"]);
    cluster.create("apps", "deployments", support::deployment("web", 2, "v1"));
    cluster.until("pods run", |cluster| cluster.list("", "pods").len() == 2).await;
    cluster.delete("apps", "deployments", "web", &DeleteOptions::default());
    cluster
        .until("all is gone", |cluster| {
            cluster.list("apps", "replicasets").is_empty() && cluster.list("", "pods").is_empty()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn in_the_foreground_the_owner_goes_last() {
    let cluster = Cluster::start(&["a"]);
    cluster.create("apps", "deployments", support::deployment("web", 2, "v1"));
    cluster.until("pods run", |cluster| cluster.list("", "pods").len() == 2).await;
    cluster.delete("apps", "deployments", "web", &delete(Propagation::Foreground));
    cluster
        .until("it is gone", |cluster| {
            let gone = cluster.find("apps", "deployments", "web").is_none();
            let left = cluster.list("apps", "replicasets").len() + cluster.list("", "pods").len();
            assert!(!gone || left == 0, "the owner went first");
            gone
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn orphans_stay_without_an_owner() {
    let cluster = Cluster::start(&["a"]);
    cluster.create("apps", "deployments", support::deployment("web", 2, "v1"));
    cluster.until("pods run", |cluster| cluster.list("", "pods").len() == 2).await;
    cluster.delete("apps", "deployments", "web", &delete(Propagation::Orphan));
    cluster
        .until("it is gone", |cluster| cluster.find("apps", "deployments", "web").is_none())
        .await;
    cluster.pass(60).await;
    let sets = cluster.list("apps", "replicasets");
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0]["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len), 0);
    assert_eq!(cluster.list("", "pods").len(), 2);
    // A new deployment of the same selector takes them over.
    cluster.create("apps", "deployments", support::deployment("web", 2, "v1"));
    cluster
        .until("it is adopted", |cluster| {
            let sets = cluster.list("apps", "replicasets");
            sets.len() == 1 && sets[0]["metadata"]["ownerReferences"][0]["name"] == "web"
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_sends_to_its_ready_pods() {
    let cluster = Cluster::start(&["a"]);
    cluster.create("apps", "deployments", support::deployment("web", 2, "v1"));
    cluster.create("", "services", json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }));
    let slice = |cluster: &Cluster| {
        cluster.list("discovery.k8s.io", "endpointslices").first().cloned().unwrap_or_default()
    };
    let ready = |cluster: &Cluster| {
        let all = slice(cluster)["endpoints"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|one| one["conditions"]["ready"] == true).count()
    };
    cluster.until("both are ready", |cluster| ready(cluster) == 2).await;
    let found = slice(&cluster);
    assert_eq!(found["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(found["endpoints"][0]["zone"], "zone-a");
    let endpoints = cluster.get("", "endpoints", "web");
    assert_eq!(endpoints["subsets"][0]["addresses"].as_array().unwrap().len(), 2);
    assert!(
        cluster.get("", "services", "web")["spec"]["clusterIP"]
            .as_str()
            .unwrap()
            .starts_with("127.96.")
    );
    cluster.merge("apps", "deployments", "web", json!({"spec": {"replicas": 0}}));
    cluster
        .until("none is left", |cluster| {
            slice(cluster)["endpoints"].as_array().is_none_or(Vec::is_empty)
        })
        .await;
    cluster.delete("", "services", "web", &DeleteOptions::default());
    cluster
        .until("both objects go", |cluster| {
            cluster.list("discovery.k8s.io", "endpointslices").is_empty()
                && cluster.list("", "endpoints").is_empty()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn every_namespace_has_an_account_and_the_authority() {
    let config = Config { root_ca: Some("PEM".to_owned()), ..Config::default() };
    let cluster = Cluster::start_with(&[], config);
    cluster
        .until("both are there", |cluster| {
            cluster.find("", "serviceaccounts", "default").is_some()
                && cluster.find("", "configmaps", "kube-root-ca.crt").is_some()
        })
        .await;
    cluster.merge("", "configmaps", "kube-root-ca.crt", json!({"data": {"ca.crt": "forged"}}));
    cluster
        .until("it is mended", |cluster| {
            cluster.get("", "configmaps", "kube-root-ca.crt")["data"]["ca.crt"] == "PEM"
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_bound_to_a_volume_of_its_own() {
    let cluster = Cluster::start(&[]);
    cluster.create("", "persistentvolumeclaims", json!({
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }));
    cluster
        .until("it is bound", |cluster| {
            cluster.get("", "persistentvolumeclaims", "data")["status"]["phase"] == "Bound"
        })
        .await;
    let claim = cluster.get("", "persistentvolumeclaims", "data");
    let volume = claim["spec"]["volumeName"].as_str().unwrap();
    cluster
        .until("so is the volume", |cluster| {
            cluster.get("", "persistentvolumes", volume)["status"]["phase"] == "Bound"
        })
        .await;
    cluster.delete("", "persistentvolumeclaims", "data", &DeleteOptions::default());
    cluster.until("both go", |cluster| cluster.list("", "persistentvolumes").is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn pods_leave_a_node_that_fell_silent() {
    let cluster = Cluster::start(&["a", "b"]);
    cluster.create("apps", "deployments", support::deployment("web", 2, "v1"));
    let ready = |cluster: &Cluster| {
        cluster.get("apps", "deployments", "web")["status"]["readyReplicas"] == json!(2)
    };
    cluster.until("both run", ready).await;
    cluster.merge("", "nodes", "a", json!({"metadata": {"labels": {"dead": "yes"}}}));
    cluster
        .until("it is unreachable", |cluster| {
            support::condition(&cluster.get("", "nodes", "a"), "Ready")["status"] == "Unknown"
        })
        .await;
    let taints = |cluster: &Cluster| -> Vec<(Value, Value)> {
        let node = cluster.get("", "nodes", "a");
        node["spec"]["taints"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|taint| (taint["key"].clone(), taint["effect"].clone()))
            .collect()
    };
    cluster.until("it is tainted", |cluster| taints(cluster).len() == 2).await;
    assert!(!ready(&cluster), "a pod of a silent node serves nobody");
    let start = cluster.store.now();
    cluster
        .until("two run on b", |cluster| {
            let pods = cluster.list("", "pods");
            pods.iter()
                .filter(|pod| {
                    pod["spec"]["nodeName"] == "b" && pod["metadata"]["deletionTimestamp"].is_null()
                })
                .count()
                == 2
        })
        .await;
    let waited = cluster.store.now().duration_since(start).as_secs();
    assert!((250..=310).contains(&waited), "pods are given five minutes, not {waited} s");
    // Nobody ends the pod on the dead node until the node's object goes.
    assert_eq!(cluster.list("", "pods").len(), 3);
    cluster.delete("", "nodes", "a", &DeleteOptions::default());
    cluster.until("its pods go", |cluster| cluster.list("", "pods").len() == 2).await;
}
