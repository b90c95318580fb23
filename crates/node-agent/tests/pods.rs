//! Pods become processes, and their objects say what the processes do.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Cluster, condition, key, main_status, processes_with};
use serde_json::json;
use std::os::unix::process::CommandExt;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_containers_run_in_order_and_sidecars_end_last() {
    let cluster = Cluster::new().await;
    cluster.pod("a", &["--sleep", "100", "--print", "main", "--exit", "0"], |pod| {
        let one = |name: &str, args: serde_json::Value| json!({"name": name, "image": "stub", "args": args});
        let mut sidecar = one("sidecar", json!(["--sleep", "60000"]));
        sidecar["restartPolicy"] = json!("Always");
        pod["spec"]["initContainers"] = json!([
            one("first", json!(["--exit", "0"])),
            sidecar,
            one("second", json!(["--exit", "0"])),
        ]);
        pod["spec"]["restartPolicy"] = json!("Never");
    });
    let pod = cluster.phase("a", "Succeeded").await;
    let finished = |status: &serde_json::Value| {
        status["state"]["terminated"]["finishedAt"].as_str().unwrap_or("").to_owned()
    };
    let init = &pod["status"]["initContainerStatuses"];
    assert!(finished(&init[0]) <= finished(&init[2]));
    assert!(finished(&init[1]) >= finished(main_status(&pod)), "the sidecar outlived the rest");
    let started: Vec<String> = cluster
        .events("a")
        .into_iter()
        .filter(|(reason, _)| reason == "Started")
        .map(|(_, message)| message)
        .collect();
    let expected =
        ["first", "sidecar", "second", "main"].map(|name| format!("Started container {name}"));
    assert_eq!(started, expected);
    cluster.end().await;
}

/// A claim that is bound to a directory.
fn claim(cluster: &Cluster, directory: &std::path::Path) {
    cluster.create(
        "",
        "persistentvolumes",
        json!({
            "metadata": {"name": "v"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": directory, "type": "DirectoryOrCreate"},
            },
        }),
    );
    cluster.create(
        "",
        "persistentvolumeclaims",
        json!({
            "metadata": json!({"name": "claim", "namespace": "default"}),
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "volumeName": "v",
            },
        }),
    );
}

/// Where admission mounts the files of a pod's service account.
const ACCOUNT_FILES: &str = "var/run/secrets/kubernetes.io/serviceaccount";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_has_the_files_of_its_account_where_clients_look_for_them() {
    let cluster = Cluster::new().await;
    cluster.server("a", |_| {});
    cluster.server("b", |pod| {
        // What a pod asks for in so many words is worth a warning where it cannot be had.
        pod["spec"]["automountServiceAccountToken"] = json!(true);
    });
    cluster.ready("a").await;
    cluster.ready("b").await;
    if cluster.said("b", "VolumesElsewhere").is_some() {
        cluster.end().await;
        return;
    }
    let file = async |name: &str| {
        cluster.http("a", &format!("/file/{ACCOUNT_FILES}/{name}")).await.unwrap()
    };
    assert_eq!(file("token").await, (200, common::TOKEN.into()));
    assert_eq!(file("ca.crt").await, (200, "PEM".into()));
    assert_eq!(file("namespace").await, (200, "default".into()));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_views_the_files_of_an_account_are_below_the_working_directory() {
    let cluster = Cluster::with(|config| config.private_views = false).await;
    cluster.server("a", |_| {});
    cluster.server("b", |pod| pod["spec"]["automountServiceAccountToken"] = json!(true));
    cluster.server("c", |pod| pod["spec"]["automountServiceAccountToken"] = json!(false));
    for (name, there, said) in [("a", true, false), ("b", true, true), ("c", false, false)] {
        let pod = cluster.ready(name).await;
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let root = cluster.dir.path().join("pods").join(uid).join("root");
        let token = std::fs::read_to_string(root.join(ACCOUNT_FILES).join("token")).ok();
        assert_eq!(token.as_deref(), there.then_some(common::TOKEN), "{name}");
        assert_eq!(cluster.said(name, "VolumesElsewhere").is_some(), said, "{name}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_are_at_their_mount_paths_and_follow_their_objects() {
    let cluster = Cluster::new().await;
    let metadata = |name: &str| json!({"name": name, "namespace": "default"});
    cluster.create("", "configmaps", json!({"metadata": metadata("c"), "data": {"key": "one"}}));
    let claimed = cluster.dir.path().join("claimed");
    claim(&cluster, &claimed);
    cluster.server("a", |pod| {
        pod["spec"]["volumes"] = json!([
            {"name": "config", "configMap": {"name": "c"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "claim"}},
            {"name": "me", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "scratch", "emptyDir": {}},
        ]);
        let container = &mut pod["spec"]["containers"][0];
        container["volumeMounts"] = json!([
            {"name": "config", "mountPath": "/etc/llm-lab-test/config", "readOnly": true},
            {"name": "data", "mountPath": "/llm-lab-data"},
            {"name": "me", "mountPath": "/llm-lab-data/me"},
            {"name": "scratch", "mountPath": "/llm-lab-scratch"},
        ]);
        container["args"] =
            json!(["--write", "/llm-lab-data/kept", "yes", "--listen", "$(POD_IP):8080"]);
    });
    cluster.ready("a").await;
    if cluster.said("a", "VolumesElsewhere").is_some() {
        // This machine gives no views; the event says so.
        cluster.end().await;
        return;
    }
    let read = async |path: &str| cluster.http("a", &format!("/file/{path}")).await.unwrap();
    assert_eq!(read("etc/llm-lab-test/config/key").await, (200, "one".into()));
    assert_eq!(read("llm-lab-data/me/labels").await, (200, "app=\"a\"".into()));
    assert_eq!(std::fs::read_to_string(claimed.join("kept")).unwrap(), "yes");
    for path in ["/etc/llm-lab-test", "/llm-lab-data", "/llm-lab-scratch"] {
        assert!(!std::path::Path::new(path).exists(), "{path} was made on the host");
    }
    let kind = cluster.store.kind("", "configmaps");
    let patch = &mut |old: &serde_json::Value| {
        let mut new = old.clone();
        new["data"]["key"] = json!("two");
        Ok(new)
    };
    cluster.store.update(&kind, &key("c"), &object_store::WriteOptions::default(), patch).unwrap();
    while read("etc/llm-lab-test/config/key").await.1 != "two" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    cluster.delete("a", None);
    cluster.gone("a").await;
    assert!(claimed.join("kept").exists(), "a claim outlives its pod");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_said_and_awaited() {
    let cluster = Cluster::new().await;
    cluster.pod("env", &["--sleep", "60000"], |pod| {
        pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "late"}}]);
    });
    cluster.pod("volume", &["--sleep", "60000"], |pod| {
        pod["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "late"}}]);
    });
    let pod = cluster
        .until("env", "waiting", |pod| {
            main_status(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
        .await;
    assert_eq!(main_status(&pod)["state"]["waiting"]["message"], "configmap \"late\" not found");
    cluster.until("volume", "waiting", |_| cluster.said("volume", "FailedMount").is_some()).await;
    cluster.create(
        "",
        "configmaps",
        json!({"metadata": {"name": "late", "namespace": "default"}, "data": {"A": "1"}}),
    );
    cluster.ready("env").await;
    cluster.ready("volume").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_hold_back_and_restart() {
    let cluster = Cluster::new().await;
    cluster.server("unready", |pod| {
        let container = &mut pod["spec"]["containers"][0];
        container["args"] = json!(["--health", "503", "--listen", "$(POD_IP):8080"]);
        container["startupProbe"] = json!({"tcpSocket": {"port": 8080}});
    });
    cluster.server("sick", |pod| {
        let container = &mut pod["spec"]["containers"][0];
        container["livenessProbe"] = json!({
            "exec": {"command": ["sh", "-c", "echo no; exit 1"]},
            "periodSeconds": 1,
            "timeoutSeconds": 30,
            "failureThreshold": 2,
        });
    });
    cluster
        .until("sick", "restarted", |pod| main_status(pod)["restartCount"].as_i64() >= Some(1))
        .await;
    assert_eq!(cluster.said("sick", "Unhealthy").unwrap(), "Liveness probe failed: no\n");
    let killing = cluster.said("sick", "Killing").unwrap();
    assert_eq!(killing, "Container main failed liveness probe, will be restarted");
    let pod = cluster
        .until("unready", "unhealthy", |_| cluster.said("unready", "Unhealthy").is_some())
        .await;
    let message = cluster.said("unready", "Unhealthy").unwrap();
    assert_eq!(message, "Readiness probe failed: HTTP probe failed with statuscode: 503");
    assert_eq!(
        (condition(&pod, "Ready").as_str(), &main_status(&pod)["started"]),
        ("False", &json!(true))
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_ends_by_its_hook_then_by_request_then_by_force() {
    let cluster = Cluster::new().await;
    let file = cluster.dir.path().join("hook");
    let write = |text: &str| json!({"exec": {"command": ["sh", "-c", format!("echo {text} >> {}", file.display())]}});
    cluster.pod("a", &["--ignore-term", "--sleep", "600000"], |pod| {
        pod["spec"]["containers"][0]["lifecycle"] =
            json!({"postStart": write("begin"), "preStop": write("end")});
    });
    cluster.until("a", "started", |pod| main_status(pod)["started"] == true).await;
    cluster.delete("a", Some(1));
    let pod = cluster
        .until("a", "ended", |pod| main_status(pod)["state"]["terminated"].is_object())
        .await;
    assert_eq!(main_status(&pod)["state"]["terminated"]["exitCode"], 137);
    cluster.gone("a").await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "begin\nend\n");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_cannot_start_says_why() {
    let cluster = Cluster::new().await;
    cluster.pod("a", &[], |pod| {
        pod["spec"]["containers"][0]["command"] = json!(["no-such-program"]);
        pod["spec"]["restartPolicy"] = json!("Never");
    });
    let pod = cluster.phase("a", "Failed").await;
    let ended = &main_status(&pod)["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("StartError"), &json!(128)));
    assert!(ended["message"].as_str().unwrap().contains("executable file not found in $PATH"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_takes_too_long_fails() {
    let cluster = Cluster::new().await;
    cluster.pod("a", &["--sleep", "600000"], |pod| {
        pod["spec"]["activeDeadlineSeconds"] = json!(1);
    });
    let pod = cluster.phase("a", "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_read_followed_and_kept_for_the_run_before() {
    use futures_util::{StreamExt, pin_mut};
    use node_agent::LogOptions;

    let cluster = Cluster::new().await;
    cluster.server("a", |_| {});
    cluster.ready("a").await;
    for number in 0..3 {
        cluster.http("a", &format!("/log/line-{number}")).await.unwrap();
    }
    let read = async |options: LogOptions| {
        let stream = cluster.agent.logs(&key("a"), options).unwrap();
        pin_mut!(stream);
        let mut text = String::new();
        while let Some(piece) = stream.next().await {
            text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
        text
    };
    while !read(LogOptions::default()).await.ends_with("line-2\n") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let tail = LogOptions { tail_lines: Some(2), ..LogOptions::default() };
    assert_eq!(read(tail).await, "line-1\nline-2\n");
    let few = LogOptions { limit_bytes: Some(9), ..LogOptions::default() };
    assert_eq!(read(few).await, "listening");
    let timed = LogOptions { tail_lines: Some(1), timestamps: true, ..LogOptions::default() };
    let line = read(timed).await;
    let (time, text) = line.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && text == "line-2\n", "{line}");
    let follow = LogOptions { follow: true, tail_lines: Some(0), ..LogOptions::default() };
    let (followed, ()) = tokio::join!(read(follow), async {
        cluster.http("a", "/log/last").await.unwrap();
        let _it_ends_before_it_answers = cluster.http("a", "/exit/0").await;
    });
    assert_eq!(followed, "last\n");
    cluster.until("a", "restarted", |pod| main_status(pod)["restartCount"] == 1).await;
    cluster.ready("a").await;
    let previous = LogOptions { previous: true, ..LogOptions::default() };
    assert!(read(previous).await.ends_with("last\n"));
    assert!(!read(LogOptions::default()).await.contains("last"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_run_beside_a_container_with_and_without_a_terminal() {
    use node_agent::ExecRequest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let cluster = Cluster::new().await;
    cluster.server("a", |_| {});
    cluster.ready("a").await;
    let command = |script: &str| vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
    let request = ExecRequest {
        command: command("cat; echo $HOSTNAME >&2; exit 3"),
        stdin: true,
        ..ExecRequest::default()
    };
    let mut session = cluster.agent.exec(&key("a"), request).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    session.stdout.read_to_string(&mut out).await.unwrap();
    session.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("hello", "a\n"));
    assert_eq!(session.ended.await.unwrap().code, 3);
    let request =
        ExecRequest { command: command("tty && stty size"), tty: true, ..ExecRequest::default() };
    let mut session = cluster.agent.exec(&key("a"), request).await.unwrap();
    session.terminal.as_ref().unwrap().resize(80, 24).unwrap();
    let mut out = Vec::new();
    let _fails_at_its_end = session.stdout.read_to_end(&mut out).await;
    let text = String::from_utf8_lossy(&out);
    assert!(text.contains("/dev/pts/"), "{text}");
    assert_eq!(session.ended.await.unwrap().code, 0);
    let request = ExecRequest { command: vec!["no-such".into()], ..ExecRequest::default() };
    let session = cluster.agent.exec(&key("a"), request).await.unwrap();
    assert!(session.ended.await.unwrap_err().contains("not found"));
    let mut stream = cluster.agent.port_forward(&key("a"), 8080).await.unwrap();
    stream.write_all(b"GET /env/HOSTNAME HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 200];
    let read = stream.read(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).ends_with("\r\n\r\na"));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_measured_and_memory_limits_hold() {
    let cluster = Cluster::new().await;
    cluster.server("a", |_| {});
    cluster.pod("greedy", &["--hold", "64", "--sleep", "600000"], |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
        pod["spec"]["restartPolicy"] = json!("Never");
    });
    cluster.ready("a").await;
    let stress = node_agent::Stress::Cpu { workers: 1, load: 100 };
    let burners = cluster.agent.stress(&key("a"), stress).await.unwrap();
    let pod = cluster.phase("greedy", "Failed").await;
    assert_eq!(main_status(&pod)["state"]["terminated"]["reason"], "OOMKilled");
    let usage = async |at_least: u64| {
        loop {
            let all = cluster.agent.pod_metrics(Some("default"));
            let own = all.iter().find(|one| one.pod == key("a"));
            if let Some(one) = own.map(|one| &one.containers[0])
                && one.cpu_nano >= at_least
            {
                return one.memory_bytes;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    assert!(usage(50_000_000).await > 0, "a twentieth of a core is the least that a burner gets");
    assert!(cluster.agent.node_metrics().iter().any(|node| node.memory_bytes > 0));
    drop(burners);
    while !processes_with("pod-burner").is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_takes_its_processes_and_falls_silent() {
    let cluster = Cluster::new().await;
    cluster.server("a", |pod| pod["spec"]["nodeName"] = json!("spot-0"));
    let pod = cluster.ready("a").await;
    let bind = cluster.http("a", "/env/POD_IP").await.unwrap().1;
    let notice = std::time::Duration::from_millis(50);
    assert!(cluster.agent.spot_notice("node-0", None).await.is_err(), "it is no spot node");
    cluster.agent.spot_notice("spot-0", Some(notice)).await.unwrap();
    while !processes_with(&bind).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(cluster.get("a").unwrap()["status"], pod["status"], "a dead node says nothing");
    let nodes = cluster.store.kind("", "nodes");
    let node = cluster.store.get(&nodes, &apimachinery::Key::cluster("spot-0")).unwrap();
    let taints = node.value()["spec"]["taints"].to_string();
    assert!(taints.contains("spot-interruption"), "{taints}");
    assert!(cluster.said("spot-0", "SpotInterruption").is_some());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_supervisor_costs_its_pod_a_restart() {
    let cluster = Cluster::new().await;
    cluster.server("a", |_| {});
    cluster.ready("a").await;
    let bind = cluster.http("a", "/env/POD_IP").await.unwrap().1;
    let main = processes_with(&bind)[0];
    let stat = std::fs::read_to_string(format!("/proc/{main}/stat")).unwrap();
    let supervisor: i32 =
        stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pid = nix::unistd::Pid::from_raw(supervisor);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    cluster.until("a", "restarted", |pod| main_status(pod)["restartCount"] == 1).await;
    cluster.ready("a").await;
    assert_eq!(processes_with(&bind).len(), 1);
    cluster.end().await;
}

#[test]
fn a_cluster_killed_by_force_leaves_no_process_and_no_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = std::process::Command::new(common::STUB)
        .args(["--cluster", dir.path().to_str().unwrap(), "3"])
        .process_group(0)
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + common::PATIENCE;
    let until = |what: &str, is: &dyn Fn() -> bool| {
        while !is() {
            assert!(std::time::Instant::now() < deadline, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    let below = || {
        let parent = |id: u32| -> Option<u32> {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
        };
        let all = processes_with("");
        let is_below = |id: &u32| {
            let mut at = *id;
            while let Some(up) = parent(at).filter(|up| *up > 1) {
                if up == cluster.id() {
                    return true;
                }
                at = up;
            }
            false
        };
        all.into_iter().filter(is_below).collect::<Vec<u32>>()
    };
    // A supervisor, a server and what it detached, for each pod.
    until("the pods never ran", &|| below().len() >= 9);
    let all = below();
    cluster.kill().unwrap();
    cluster.wait().unwrap();
    let alive = || {
        all.iter().any(|id| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        })
    };
    until("processes were left", &|| !alive());
}
