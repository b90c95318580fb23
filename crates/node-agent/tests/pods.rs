//! Pods become processes, and their objects say what the processes do.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Cluster, condition, key, main_status, processes_with};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_becomes_a_ready_process_and_ends_with_its_object() {
    let cluster = Cluster::new().await;
    cluster.server("a", |pod| {
        pod["spec"]["containers"][0]["args"] =
            json!(["--health", "204", "--listen", "$(POD_IP):8080"])
    });
    let pod = cluster.ready("a").await;
    assert_eq!(pod["status"]["phase"], "Running");
    for kind in ["PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady"] {
        assert_eq!(condition(&pod, kind), "True", "{kind}");
    }
    assert!(main_status(&pod)["state"]["running"]["startedAt"].is_string());
    assert_eq!(cluster.http("a", "/env/HOSTNAME").await.unwrap(), (200, "a".into()));
    let reasons: Vec<String> = cluster.events("a").into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, ["Pulled", "Created", "Started"]);
    let bind = cluster.http("a", "/env/POD_IP").await.unwrap().1;
    assert_ne!(bind, pod["status"]["podIP"].as_str().unwrap());
    assert_eq!(processes_with(&bind).len(), 1);
    cluster.delete("a", None);
    cluster.gone("a").await;
    assert!(cluster.said("a", "Killing").is_some());
    assert_eq!(processes_with(&bind).len(), 0);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pod_detaches_ends_with_it() {
    let cluster = Cluster::new().await;
    let mark = format!("{}", 100_000 + std::process::id());
    cluster.pod("a", &[], |pod| {
        let script = format!("setsid -f sleep {mark}; setsid -f sleep {mark}; exec sleep {mark}");
        pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", script]);
    });
    cluster.ready("a").await;
    while processes_with(&mark).len() < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    cluster.delete("a", Some(0));
    cluster.gone("a").await;
    // By force the object goes first.
    while !processes_with(&mark).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_nobody_knows_is_backed_off() {
    let cluster = Cluster::new().await;
    cluster.pod("a", &[], |pod| pod["spec"]["containers"][0]["image"] = json!("vllm/vllm:1"));
    let pod = cluster
        .until("a", "backing off", |pod| {
            main_status(pod)["state"]["waiting"]["reason"] == "ImagePullBackOff"
        })
        .await;
    assert_eq!(pod["status"]["phase"], "Pending");
    let all = cluster.events("a");
    assert!(all.contains(&("Failed".into(), "Error: ErrImagePull".into())), "{all:?}");
    cluster.delete("a", None);
    cluster.gone("a").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_fails_again_and_again_is_backed_off() {
    let cluster = Cluster::new().await;
    cluster.pod("a", &["--print", "bye", "--exit", "3"], |_| {});
    let pod = cluster
        .until("a", "backing off", |pod| {
            let status = main_status(pod);
            status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                && status["restartCount"] == 1
        })
        .await;
    let last = &main_status(&pod)["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(3), &json!("Error")));
    assert_eq!(pod["status"]["phase"], "Running");
    cluster
        .until("a", "restarted", |pod| main_status(pod)["restartCount"].as_i64() >= Some(2))
        .await;
    assert!(
        cluster.said("a", "BackOff").unwrap().contains("Back-off restarting failed container main")
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_succeed_and_fail_by_their_policy() {
    let cluster = Cluster::new().await;
    let policy = |name: &str, policy: &str, code: &str| {
        let policy = json!(policy);
        cluster.pod(name, &["--exit", code], |pod| pod["spec"]["restartPolicy"] = policy);
    };
    policy("fails", "Never", "7");
    policy("succeeds", "OnFailure", "0");
    let failed = cluster.phase("fails", "Failed").await;
    assert_eq!(main_status(&failed)["state"]["terminated"]["exitCode"], 7);
    let done = cluster.phase("succeeds", "Succeeded").await;
    assert_eq!(main_status(&done)["state"]["terminated"]["reason"], "Completed");
    cluster.delete("fails", None);
    cluster.gone("fails").await;
    assert!(cluster.agent.pods().contains(&key("succeeds")));
    cluster.end().await;
}
