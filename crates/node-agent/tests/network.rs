//! Services, names, and faults of links between pods.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, http, key};
use node_agent::net::faults::{Delay, Ends, HttpChange, HttpRule, HttpTarget, LinkRule, Partition};
use serde_json::{Value, json};

/// A service in front of some pods, with the slice that a controller would write.
fn service(
    cluster: &Cluster,
    name: &str,
    number: u8,
    pods: &[&str],
    change: impl FnOnce(&mut Value),
) -> String {
    let [a, b, c, _] = cluster.agent.addresses().service_network().octets();
    let address = format!("{a}.{b}.{c}.{number}");
    let mut object = json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "clusterIP": address,
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    });
    change(&mut object);
    cluster.create("", "services", object);
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            let ip = cluster.get(pod).unwrap()["status"]["podIP"].clone();
            json!({"addresses": [ip], "hostname": pod, "conditions": {"ready": true}})
        })
        .collect();
    cluster.create(
        "discovery.k8s.io",
        "endpointslices",
        json!({
            "metadata": {
                "name": format!("{name}-1"),
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }),
    );
    address
}

/// Repeats until an answer is as it should be.
async fn eventually(what: &str, is: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(common::PATIENCE, async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_reached_by_address_and_by_name_from_within_a_pod() {
    let cluster = Cluster::new().await;
    cluster.server("a", |_| {});
    cluster.server("b", |_| {});
    cluster.ready("a").await;
    cluster.ready("b").await;
    let address = service(&cluster, "web", 7, &["a", "b"], |_| {});
    service(&cluster, "each", 0, &["a", "b"], |object| object["spec"]["clusterIP"] = json!("None"));
    eventually("the service answers", async || {
        http(&format!("{address}:80"), "/health").await.is_ok()
    })
    .await;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(http(&format!("{address}:80"), "/env/HOSTNAME").await.unwrap().1);
    }
    names.sort();
    assert_eq!(names, ["a", "a", "b", "b"], "connections go to each in turn");
    cluster.server("client", |_| {});
    cluster.ready("client").await;
    let variable = cluster.http("client", "/env/WEB_SERVICE_HOST").await.unwrap();
    assert_eq!(variable, (200, address.clone()));
    let resolved = cluster.http("client", "/host/web").await.unwrap();
    if resolved.0 != 200 {
        // This machine gives no views; names are then by variables alone, as the book says.
        cluster.end().await;
        return;
    }
    assert_eq!(resolved.1, address);
    assert_eq!(
        cluster.http("client", "/host/web.default.svc.cluster.local").await.unwrap().1,
        address
    );
    let fetched = cluster.http("client", "/get/web:80/health").await.unwrap();
    assert!(fetched.1.starts_with("HTTP/1.1 200"), "{fetched:?}");
    let ip = cluster.get("a").unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
    assert_eq!(cluster.http("client", "/host/a.each").await.unwrap().1, ip);
    assert_eq!(cluster.http("client", "/name").await.unwrap().1.trim(), "client");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_where_nobody_listens() {
    let cluster = Cluster::new().await;
    cluster.server("a", |pod| {
        pod["spec"]["containers"][0]["args"] =
            json!(["--sleep", "600", "--listen", "$(POD_IP):8080"]);
    });
    let pod =
        cluster.until("a", "given an address", |pod| pod["status"]["podIP"].is_string()).await;
    let refused = http(&format!("{}:8080", pod["status"]["podIP"].as_str().unwrap()), "/").await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    cluster.ready("a").await;
    assert!(cluster.http("a", "/health").await.is_ok());
    cluster.end().await;
}

fn pods(names: &[&str]) -> Ends {
    Ends::Pods(names.iter().map(|name| key(name)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delay_and_partition_hold_for_the_pods_that_they_name() {
    let cluster = Cluster::new().await;
    for name in ["server", "near", "far"] {
        cluster.server(name, |_| {});
        cluster.ready(name).await;
    }
    let ip = cluster.get("server").unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
    let through = async |client: &str| {
        let start = Instant::now();
        let answer = cluster.http(client, &format!("/get/{ip}:8080/health")).await.unwrap();
        (answer.0, start.elapsed())
    };
    let latency = Duration::from_millis(150);
    let delay = Some(Delay { latency, ..Delay::default() });
    let rule =
        LinkRule { from: pods(&["far"]), to: pods(&["server"]), delay, ..LinkRule::default() };
    cluster.agent.faults().set("test", vec![rule], Vec::new());
    let (far, near) = (through("far").await, through("near").await);
    assert_eq!((far.0, near.0), (200, 200));
    assert!(far.1 >= latency, "{far:?}");
    assert!(near.1 < far.1, "{near:?} {far:?}");
    let partition = Some(Partition::Reset);
    let rule =
        LinkRule { from: pods(&["far"]), to: pods(&["server"]), partition, ..LinkRule::default() };
    cluster.agent.faults().set("test", vec![rule], Vec::new());
    assert_eq!((through("far").await.0, through("near").await.0), (502, 200));
    cluster.agent.faults().clear("test");
    assert_eq!(through("far").await.0, 200);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_cuts_connections_that_exist() {
    use tokio::io::AsyncReadExt;
    let cluster = Cluster::new().await;
    cluster.server("a", |_| {});
    let pod = cluster.ready("a").await;
    let to = format!("{}:8080", pod["status"]["podIP"].as_str().unwrap());
    let mut stream = tokio::net::TcpStream::connect(&to).await.unwrap();
    // Relayed only once it has been taken.
    eventually("the server answers", async || http(&to, "/health").await.is_ok()).await;
    let partition = Some(Partition::Reset);
    let rule = LinkRule { to: pods(&["a"]), partition, ..LinkRule::default() };
    cluster.agent.faults().set("test", vec![rule], Vec::new());
    let cut = stream.read(&mut [0; 1]).await;
    assert_eq!(cut.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_answers_are_changed_by_rule() {
    let cluster = Cluster::new().await;
    cluster.server("a", |pod| {
        pod["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": "http"}});
    });
    cluster.ready("a").await;
    let set = |rule: HttpRule| {
        let rule = HttpRule { to: pods(&["a"]), port: 8080, ..rule };
        cluster.agent.faults().set("test", Vec::new(), vec![rule]);
    };
    let abort = HttpRule { path: Some("/hea*".into()), abort: true, ..HttpRule::default() };
    set(abort);
    assert!(cluster.http("a", "/health").await.is_err());
    assert_eq!(cluster.http("a", "/env/HOSTNAME").await.unwrap().1, "a");
    let replace =
        HttpChange { code: Some(503), body: Some(b"busy".to_vec()), ..HttpChange::default() };
    set(HttpRule { target: HttpTarget::Response, replace, ..HttpRule::default() });
    assert_eq!(cluster.http("a", "/health").await.unwrap(), (503, "busy".into()));
    let replace = HttpChange { path: Some("/env/HOSTNAME".into()), ..HttpChange::default() };
    set(HttpRule { replace, ..HttpRule::default() });
    assert_eq!(cluster.http("a", "/nowhere").await.unwrap(), (200, "a".into()));
    let delay = Duration::from_millis(100);
    set(HttpRule { delay: Some(delay), ..HttpRule::default() });
    let start = Instant::now();
    assert_eq!(cluster.http("a", "/health").await.unwrap().0, 200);
    assert!(start.elapsed() >= delay);
    cluster.agent.faults().clear("test");
    assert_eq!(cluster.http("a", "/health").await.unwrap().0, 200);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_pod_hangs_and_goes_on() {
    let cluster = Cluster::new().await;
    cluster.server("a", |pod| {
        pod["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": "http"}});
    });
    cluster.ready("a").await;
    cluster.agent.pause(&key("a")).await.unwrap();
    let hung = tokio::time::timeout(Duration::from_millis(300), cluster.http("a", "/health")).await;
    assert!(hung.is_err(), "it answered while paused");
    cluster.agent.resume(&key("a")).await.unwrap();
    assert_eq!(cluster.http("a", "/health").await.unwrap().0, 200);
    assert_eq!(cluster.agent.kill(&key("a"), Some("main")).await.unwrap(), 1);
    cluster
        .until("a", "restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        .await;
    cluster.end().await;
}
