//! What tests of the agent have in common: a cluster of their own, with real processes.
#![allow(unreachable_pub, reason = "it is shared by several test programs")]
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Key, Kind};
use node_agent::{Config, Image, NodeAgent, NodeConfig, Timing};
use object_store::{DeleteOptions, Selection, Store, WriteOptions};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The test server.
pub const STUB: &str = env!("CARGO_BIN_EXE_agent-stub");
/// What pods present to an API server.
pub const TOKEN: &str = "the token of a test";
/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of one test.
pub struct Cluster {
    pub store: Store,
    pub agent: NodeAgent,
    pub pods: Arc<Kind>,
    end: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    pub dir: tempfile::TempDir,
}

pub fn config(dir: &std::path::Path) -> Config {
    let mut config = Config::new(dir);
    config.nodes =
        vec![NodeConfig::named("node-0"), NodeConfig { spot: true, ..NodeConfig::named("spot-0") }];
    let image = |pattern: &str, program: &str| Image {
        pattern: pattern.into(),
        program: program.into(),
        args: Vec::new(),
        env: Default::default(),
    };
    config.images = vec![image("stub", STUB), image("missing", "/no/such/program")];
    config.supervisor = Some(STUB.into());
    config.token = Some(TOKEN.into());
    config.timing = Timing {
        backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(2),
        metrics: Duration::from_millis(200),
        probe_second: Duration::from_millis(200),
        heartbeat: Duration::from_millis(200),
        ..Timing::default()
    };
    config
}

impl Cluster {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let store = Store::default();
        let namespaces = store.kind("", "namespaces");
        for name in ["default", "other"] {
            let namespace = json!({"metadata": {"name": name}});
            store.create(&namespaces, namespace, &WriteOptions::default()).unwrap();
            let authority = json!({
                "metadata": {"name": "kube-root-ca.crt", "namespace": name},
                "data": {"ca.crt": "PEM"},
            });
            let maps = store.kind("", "configmaps");
            store.create(&maps, authority, &WriteOptions::default()).unwrap();
        }
        let agent = NodeAgent::new(store.clone(), config).unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn({
            let agent = agent.clone();
            async move { agent.run(async { drop(ended.await) }).await.unwrap() }
        });
        let pods = store.kind("", "pods");
        Self { store, agent, pods, end: Some(end), task, dir }
    }

    pub async fn end(mut self) {
        drop(self.end.take());
        (&mut self.task).await.unwrap();
    }

    pub fn create(&self, group: &str, plural: &str, object: Value) -> Value {
        let kind = self.store.kind(group, plural);
        self.store.create(&kind, object, &WriteOptions::default()).unwrap().value().clone()
    }

    /// A pod of the stub; `change` adds to its spec.
    pub fn pod(&self, name: &str, args: &[&str], change: impl FnOnce(&mut Value)) {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {
                "nodeName": "node-0",
                "terminationGracePeriodSeconds": 10,
                "containers": [{
                    "name": "main",
                    "image": "stub",
                    "args": args,
                    "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    "ports": [{"name": "http", "containerPort": 8080}],
                }],
            },
        });
        change(&mut pod);
        self.create("", "pods", pod);
    }

    /// A pod that serves, with a readiness probe.
    pub fn server(&self, name: &str, change: impl FnOnce(&mut Value)) {
        self.pod(name, &["--listen", "$(POD_IP):8080"], |pod| {
            pod["spec"]["containers"][0]["readinessProbe"] =
                json!({"httpGet": {"path": "/health", "port": "http"}});
            change(pod);
        });
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        let object = self.store.get(&self.pods, &key(name)).ok()?;
        Some(object.value().clone())
    }

    /// Waits until a pod is as it should be. No state is missed, however short: an ended pod may be gone before
    /// another look at it.
    pub async fn until(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut changes = self.store.watch(&self.pods, Selection::default(), None).unwrap();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(pod) = self.get(name).filter(&is) {
                    return pod;
                }
                // What is waited for may be said in an event, not in the pod.
                let next = tokio::time::timeout(Duration::from_millis(5), changes.next());
                if let Ok(change) = next.await {
                    let pod = change.unwrap().object;
                    if pod.key().name == name && is(pod.value()) {
                        return pod.value().clone();
                    }
                }
            }
        });
        match waited.await {
            Ok(pod) => pod,
            Err(_) => {
                panic!("{name} never was {what}: {:#?}\n{:#?}", self.get(name), self.events(name))
            }
        }
    }

    pub async fn ready(&self, name: &str) -> Value {
        self.until(name, "ready", |pod| condition(pod, "Ready") == "True").await
    }

    pub async fn phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, phase, |pod| pod["status"]["phase"] == phase).await
    }

    pub async fn gone(&self, name: &str) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.get(name).is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{name} is still there: {:#?}", self.get(name));
    }

    pub fn delete(&self, name: &str, grace: Option<i64>) {
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        self.store.delete(&self.pods, &key(name), &options).unwrap();
    }

    /// Reasons and messages of what was said about an object.
    pub fn events(&self, name: &str) -> Vec<(String, String)> {
        let kind = self.store.kind("", "events");
        let all = self.store.select(&kind, &Selection::default());
        let about = all.iter().filter(|event| event.value()["involvedObject"]["name"] == name);
        let mut said: Vec<_> =
            about.map(|event| (event.revision(), event.value().clone())).collect();
        said.sort_by_key(|(revision, _)| *revision);
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        said.iter().map(|(_, event)| (text(&event["reason"]), text(&event["message"]))).collect()
    }

    pub fn said(&self, name: &str, reason: &str) -> Option<String> {
        self.events(name).into_iter().find(|(said, _)| said == reason).map(|(_, message)| message)
    }

    /// What a pod's server answers, through its advertised address.
    pub async fn http(&self, name: &str, path: &str) -> std::io::Result<(u16, String)> {
        let pod = self.get(name).unwrap_or_default();
        let ip = pod["status"]["podIP"].as_str().unwrap_or("127.0.0.1").to_owned();
        http(&format!("{ip}:8080"), path).await
    }
}

pub fn key(name: &str) -> Key {
    Key::namespaced("default", name)
}

pub fn condition(pod: &Value, kind: &str) -> String {
    let all = pod["status"]["conditions"].as_array();
    let one = all.into_iter().flatten().find(|one| one["type"] == kind);
    one.and_then(|one| one["status"].as_str()).unwrap_or("").to_owned()
}

/// The status of a pod's first container.
pub fn main_status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// One request on a connection of its own.
pub async fn http(to: &str, path: &str) -> std::io::Result<(u16, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let work = async {
        let mut stream = tokio::net::TcpStream::connect(to).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await?;
            text.extend_from_slice(&buffer[..read]);
            let answer = String::from_utf8_lossy(&text);
            let Some((head, body)) = answer.split_once("\r\n\r\n") else {
                if read == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
            });
            if read == 0 || length.is_some_and(|length: usize| body.len() >= length) {
                let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
                return Ok((code, body.to_owned()));
            }
        }
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// Processes whose command line has a text.
pub fn processes_with(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
    .collect()
}
