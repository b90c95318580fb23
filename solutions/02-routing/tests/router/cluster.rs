//! The course's own API server, with the Gateway API's kinds and the inference extension's.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use discovery::Client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::built::{self, root};
use crate::common::{LIMIT, Server};

pub(crate) const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";
pub(crate) const SERVICES: &str = "/api/v1/namespaces/default/services";
pub(crate) const POOLS: &str =
    "/apis/inference.networking.k8s.io/v1/namespaces/default/inferencepools";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// An API server that knows HTTPRoutes and InferencePools. It ends with the test.
pub(crate) struct Cluster {
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

pub(crate) fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let server = Command::new(built::api_server())
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

    pub(crate) fn kubeconfig(&self) -> String {
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

    pub(crate) fn must(&self, method: &str, path: &str, body: &Value) {
        assert!(self.send(method, path, body).is_some(), "{method} {path} {body}");
    }

    /// A Service, and a slice that names these servers.
    pub(crate) fn service(&self, name: &str, servers: &[&Server]) {
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
    pub(crate) fn pod(&self, name: &str, labels: &Value) {
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
pub(crate) fn objects(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let documents = text.split("\n---\n").filter(|text| text.contains("\nkind:"));
    documents.map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}
