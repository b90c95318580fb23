//! Stateful sets, daemon sets and jobs on a store under a paused clock.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use object_store::DeleteOptions;
use serde_json::{Value, json};
use support::Cluster;

fn names(cluster: &Cluster) -> Vec<String> {
    cluster
        .list("", "pods")
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

fn stateful(replicas: i64) -> Value {
    json!({
        "metadata": {"name": "db"},
        "spec": {
            "replicas": replicas, "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": support::template("db", "v1"),
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        },
    })
}

fn ready(cluster: &Cluster, count: i64) -> bool {
    cluster.get("apps", "statefulsets", "db")["status"]["readyReplicas"] == json!(count)
}

#[tokio::test(start_paused = true)]
async fn a_stateful_sets_pods_come_in_order_with_storage_of_their_own() {
    let cluster = Cluster::start(&["a"]);
    cluster.create("apps", "statefulsets", stateful(3));
    let mut most = 0;
    cluster.until("three are ready", |cluster| ready(cluster, 3)).await;
    assert_eq!(names(&cluster), ["db-0", "db-1", "db-2"]);
    let created = |name: &str| {
        cluster.get("", "pods", name)["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    for name in ["db-0", "db-1", "db-2"] {
        assert!(created(name) > most, "in order");
        most = created(name);
    }
    let pod = cluster.get("", "pods", "db-1");
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "1");
    assert_eq!(
        (&pod["spec"]["hostname"], &pod["spec"]["subdomain"]),
        (&json!("db-1"), &json!("db"))
    );
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-db-1");
    let events = cluster.events("SuccessfulCreate");
    assert!(
        events.contains(&"create Pod db-0 in StatefulSet db successful".to_owned()),
        "{events:?}"
    );
    assert!(
        events.contains(&"create Claim data-db-0 Pod db-0 in StatefulSet db success".to_owned())
    );
    cluster.merge("apps", "statefulsets", "db", json!({"spec": {"replicas": 1}}));
    cluster
        .until("one is left, with its claim", |cluster| {
            names(cluster) == ["db-0"] && cluster.list("", "persistentvolumeclaims").len() == 1
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_rolls_down_to_its_partition() {
    let cluster = Cluster::start(&["a"]);
    cluster.create("apps", "statefulsets", stateful(3));
    cluster.until("three are ready", |cluster| ready(cluster, 3)).await;
    let first = cluster.get("apps", "statefulsets", "db")["status"]["currentRevision"].clone();
    let change = |partition: i64| {
        json!({"spec": {
            "template": {"spec": {"containers": [{"name": "main", "image": "v2"}]}},
            "updateStrategy": {"rollingUpdate": {"partition": partition}},
        }})
    };
    let images = |cluster: &Cluster| -> Vec<Value> {
        cluster
            .list("", "pods")
            .iter()
            .map(|pod| pod["spec"]["containers"][0]["image"].clone())
            .collect()
    };
    cluster.merge("apps", "statefulsets", "db", change(2));
    cluster
        .until("db-2 is new", |cluster| images(cluster) == ["v1", "v1", "v2"] && ready(cluster, 3))
        .await;
    cluster.pass(60).await;
    assert_eq!(images(&cluster), ["v1", "v1", "v2"], "the partition holds");
    let status = cluster.get("apps", "statefulsets", "db")["status"].clone();
    assert_eq!(
        (&status["currentRevision"], &status["currentReplicas"], &status["updatedReplicas"]),
        (&first, &json!(2), &json!(1))
    );
    // A pod below the partition comes back as it was.
    cluster.delete("", "pods", "db-0", &DeleteOptions::default());
    cluster.pass(30).await;
    assert_eq!(images(&cluster), ["v1", "v1", "v2"]);
    cluster.merge("apps", "statefulsets", "db", change(0));
    cluster
        .until("all are new", |cluster| images(cluster) == ["v2", "v2", "v2"] && ready(cluster, 3))
        .await;
    let status = cluster.get("apps", "statefulsets", "db")["status"].clone();
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    assert_eq!(cluster.list("apps", "controllerrevisions").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_has_one_pod_on_each_node_that_fits() {
    let cluster = Cluster::start(&["a", "b"]);
    cluster.create(
        "apps",
        "daemonsets",
        json!({
            "metadata": {"name": "agent"},
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "template": support::template("agent", "v1"),
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            },
        }),
    );
    let status = |cluster: &Cluster| cluster.get("apps", "daemonsets", "agent")["status"].clone();
    cluster.until("two are ready", |cluster| status(cluster)["numberReady"] == json!(2)).await;
    cluster.merge(
        "",
        "nodes",
        "b",
        json!({"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}),
    );
    cluster.node("c", "8");
    cluster
        .until("c has one, b keeps its own", |cluster| {
            let mut nodes: Vec<Value> = cluster
                .list("", "pods")
                .iter()
                .map(|pod| pod["spec"]["nodeName"].clone())
                .collect();
            nodes.sort_by_key(ToString::to_string);
            nodes == ["a", "b", "c"]
        })
        .await;
    assert_eq!(status(&cluster)["numberMisscheduled"], json!(1));
    cluster.merge("", "nodes", "b", json!({"spec": {"taints": null}}));
    cluster.merge(
        "apps",
        "daemonsets",
        "agent",
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "v2"}]}}}}),
    );
    cluster
        .until("all are new", |cluster| {
            let missing = status(cluster)["numberUnavailable"].as_i64().unwrap_or(0);
            assert!(missing <= 1, "{missing} at once");
            status(cluster)["updatedNumberScheduled"] == json!(3)
                && status(cluster)["numberReady"] == json!(3)
        })
        .await;
}

fn job(image: &str, spec: Value) -> Value {
    let mut job = json!({"metadata": {"name": "work"}, "spec": {"template": support::template("work", image)}});
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    json_patch::merge(&mut job["spec"], &spec);
    job
}

fn over(cluster: &Cluster, kind: &str) -> Value {
    cluster
        .find("batch", "jobs", "work")
        .map_or(Value::Null, |job| support::condition(&job, kind)["reason"].clone())
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_to_its_completions_a_few_at_a_time_and_is_forgotten() {
    let cluster = Cluster::start(&["a"]);
    cluster.create(
        "batch",
        "jobs",
        job("done", json!({"completions": 5, "parallelism": 2, "ttlSecondsAfterFinished": 60})),
    );
    cluster
        .until("it is complete", |cluster| {
            let active =
                cluster.get("batch", "jobs", "work")["status"]["active"].as_i64().unwrap_or(0);
            assert!(active <= 2, "{active} at once");
            over(cluster, "Complete") == "CompletionsReached"
        })
        .await;
    let status = cluster.get("batch", "jobs", "work")["status"].clone();
    assert_eq!((&status["succeeded"], &status["uncountedTerminatedPods"]), (&json!(5), &json!({})));
    assert_eq!(cluster.list("", "pods").len(), 5);
    cluster
        .until("it is forgotten", |cluster| cluster.find("batch", "jobs", "work").is_none())
        .await;
    cluster.until("with its pods", |cluster| cluster.list("", "pods").is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_gives_up_after_its_back_off_limit_with_growing_waits() {
    let cluster = Cluster::start(&["a"]);
    let start = cluster.store.now();
    cluster.create("batch", "jobs", job("fails", json!({"backoffLimit": 2})));
    cluster.until("it failed", |cluster| over(cluster, "Failed") == "BackoffLimitExceeded").await;
    let took = cluster.store.now().duration_since(start).as_secs();
    assert!((29..60).contains(&took), "10 s, then 20 s; not {took} s");
    assert_eq!(cluster.get("batch", "jobs", "work")["status"]["failed"], json!(3));
    assert_eq!(
        cluster.events("BackoffLimitExceeded"),
        ["Job has reached the specified backoff limit"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_indexed_job_does_each_index_once() {
    let cluster = Cluster::start(&["a"]);
    cluster.create(
        "batch",
        "jobs",
        job("done", json!({"completions": 4, "parallelism": 3, "completionMode": "Indexed"})),
    );
    cluster
        .until("it is complete", |cluster| over(cluster, "Complete") == "CompletionsReached")
        .await;
    assert_eq!(cluster.get("batch", "jobs", "work")["status"]["completedIndexes"], "0-3");
    let pods = cluster.list("", "pods");
    assert_eq!(pods.len(), 4);
    assert!(pods[0]["metadata"]["name"].as_str().unwrap().starts_with("work-0-"));
    assert_eq!(pods[0]["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
}

#[tokio::test(start_paused = true)]
async fn a_job_can_be_suspended_and_has_a_deadline_for_its_work() {
    let cluster = Cluster::start(&["a"]);
    cluster.create(
        "batch",
        "jobs",
        job("v1", json!({"parallelism": 2, "suspend": true, "activeDeadlineSeconds": 100})),
    );
    cluster.until("it is suspended", |cluster| over(cluster, "Suspended") == "JobSuspended").await;
    cluster.pass(300).await;
    assert!(cluster.list("", "pods").is_empty());
    cluster.merge("batch", "jobs", "work", json!({"spec": {"suspend": false}}));
    cluster
        .until("it runs", |cluster| {
            cluster.get("batch", "jobs", "work")["status"]["ready"] == json!(2)
        })
        .await;
    cluster
        .until("it took too long", |cluster| over(cluster, "Failed") == "DeadlineExceeded")
        .await;
    assert!(
        cluster.get("batch", "jobs", "work")["status"].get("failed").is_none(),
        "nobody failed"
    );
    cluster.until("its pods are gone", |cluster| cluster.list("", "pods").is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_says_how_many_may_go() {
    let cluster = Cluster::start(&["a"]);
    cluster.create("apps", "deployments", support::deployment("web", 4, "v1"));
    cluster.create(
        "policy",
        "poddisruptionbudgets",
        json!({
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": "25%"},
        }),
    );
    let allowed = |cluster: &Cluster| {
        cluster.get("policy", "poddisruptionbudgets", "web")["status"]["disruptionsAllowed"].clone()
    };
    cluster.until("one may go", |cluster| allowed(cluster) == json!(1)).await;
    let name = names(&cluster)[0].clone();
    cluster.delete("", "pods", &name, &DeleteOptions::default());
    cluster.until("none may go", |cluster| allowed(cluster) == json!(0)).await;
    cluster.until("one may go again", |cluster| allowed(cluster) == json!(1)).await;
}
