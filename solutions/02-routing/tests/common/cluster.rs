//! The course's own API server, with the Gateway API's kinds and the inference extension's.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part, and a test that cannot go on fails"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use discovery::Client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::common::{LIMIT, Server};

pub const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";
pub const SERVICES: &str = "/api/v1/namespaces/default/services";
pub const POOLS: &str = "/apis/inference.networking.k8s.io/v1/namespaces/default/inferencepools";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// An API server that knows HTTPRoutes and InferencePools. It ends with the test.
pub struct Cluster {
    server: Child,
    folder: tempfile::TempDir,
    runtime: Runtime,
    client: Client,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _gone_already = self.server.kill();
        let _status = self.server.wait();
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Cluster {
    pub fn start() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "-q", "-p", "api-server", "--example", "serve"]).current_dir(root());
        // What cargo tells a test of its package would make ring, and all above it, new in the eyes of another cargo.
        for (name, _) in std::env::vars_os() {
            let name_of = name.to_string_lossy();
            if name_of.starts_with("CARGO_PKG_") || name_of.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        assert!(build.status().unwrap().success());
        let router = Path::new(env!("CARGO_BIN_EXE_sol02-router"));
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let server = Command::new(router.with_file_name("examples").join("serve"))
            .arg(&kubeconfig)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = within("a kubeconfig", || {
            let client = async { discovery::client(Some(&kubeconfig)).await.ok() };
            kubeconfig.exists().then(|| runtime.block_on(client)).flatten()
        });
        let cluster = Self { server, folder, runtime, client };
        for file in ["gateway-api.yaml", "inference-extension.yaml"] {
            for definition in objects(&format!("clusters/schemas/{file}")) {
                let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
                within("definitions", || cluster.send("POST", path, &definition));
            }
        }
        for path in [ROUTES, POOLS] {
            within("routes and pools are served", || cluster.send("GET", path, &Value::Null));
        }
        cluster
    }

    pub fn kubeconfig(&self) -> String {
        self.folder.path().join("kubeconfig").to_str().unwrap().to_owned()
    }

    /// `None` where it is refused.
    fn send(&self, method: &str, path: &str, body: &Value) -> Option<()> {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request =
            http::Request::builder().method(method).uri(path).header("content-type", kind);
        let answer = self.client.request_text(request.body(body).unwrap());
        self.runtime.block_on(answer).ok().map(drop)
    }

    pub fn must(&self, method: &str, path: &str, body: &Value) {
        assert!(self.send(method, path, body).is_some(), "{method} {path} {body}");
    }

    /// A Service, and a slice that names these servers.
    pub fn service(&self, name: &str, servers: &[&Server]) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        });
        self.must("POST", SERVICES, &service);
        for server in servers {
            let port = server.address.port();
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {
                    "name": format!("{name}-{port}"), "labels": {"kubernetes.io/service-name": name},
                },
                "ports": [{"name": "http", "port": port}],
                "endpoints": [{
                    "addresses": ["127.0.0.1"], "conditions": {"ready": true},
                    "targetRef": {"kind": "Pod", "name": format!("pod-{port}"), "uid": port.to_string()},
                }],
            });
            self.must("POST", SLICES, &slice);
        }
    }

    /// A pod of a pool, as if a server were it.
    pub fn pod(&self, name: &str, labels: &Value) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "main", "image": "main"}]},
        });
        self.must("POST", PODS, &pod);
        let status = json!({"status": {
            "phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}],
        }});
        self.must("PATCH", &format!("{PODS}/{name}/status"), &status);
    }
}

/// The objects of a file of this repository.
pub fn objects(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let documents = text.split("\n---\n").filter(|text| text.contains("\nkind:"));
    documents.map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}
