//! A server on a port of its own, and clients for it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part, and a test that cannot go on fails"
)]

pub mod host;

use std::sync::Arc;

use api_server::{Certificates, Config, NoNodes, NodeProxy};
use object_store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server.
pub struct Running {
    pub store: Store,
    pub address: std::net::SocketAddr,
    pub certificates: Certificates,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), api_server::ServeError>>,
}

/// The token of every test.
pub const TOKEN: &str = "the token of a test";

impl Running {
    /// A server without nodes.
    pub async fn start() -> Self {
        Self::with_nodes(Arc::new(NoNodes)).await
    }

    /// A server before some nodes.
    pub async fn with_nodes(nodes: Arc<dyn NodeProxy>) -> Self {
        let store = Store::default();
        object_store::bootstrap(&store, std::net::Ipv4Addr::new(127, 96, 0, 1), 443).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let certificates = Certificates::generate(&[]).unwrap();
        let config = Config::new(TOKEN, certificates.clone());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let serving = api_server::serve(listener, store.clone(), config, nodes, shutdown);
        let task = tokio::spawn(serving);
        Self { store, address, certificates, stop: Some(stop), task }
    }

    /// A client with the token.
    pub fn client(&self) -> kube::Client {
        let server = format!("https://{}", self.address).parse().unwrap();
        let authority = &self.certificates.authority;
        let config = kube_connect::by_token(server, authority, TOKEN).unwrap();
        kube_connect::client(config).unwrap()
    }

    /// Stores a pod that runs on a node.
    pub fn add_pod(&self, name: &str, phase: &str) {
        let pod = serde_json::json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "main"}]},
            "status": {
                "phase": phase,
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, "image": "main", "imageID": "", "state": {"running": {}}}],
            },
        });
        let options = object_store::WriteOptions::default().of(object_store::Part::Whole);
        self.store.create(&self.store.kind("", "pods"), pod, &options).unwrap();
    }

    /// A file with what kubectl needs to know, which lives as long as what is returned.
    pub fn kubeconfig(&self) -> tempfile::NamedTempFile {
        use base64::Engine as _;
        let authority =
            base64::engine::general_purpose::STANDARD.encode(&self.certificates.authority);
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority-data": authority,
            }}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config.to_string()).unwrap();
        file
    }

    /// Sends a request, and returns its status code and body.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.call_as(method, path, body, "application/json").await
    }

    /// Sends a request with a body of a media type.
    pub async fn call_as(
        &self,
        method: &str,
        path: &str,
        body: &str,
        media: &str,
    ) -> (u16, String) {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media)
            .body(kube::client::Body::from(body.as_bytes().to_vec()))
            .unwrap();
        let response = self.client().send(request).await.unwrap();
        let code = response.status().as_u16();
        let body = response.into_body().collect_bytes().await.unwrap();
        (code, String::from_utf8_lossy(&body).into_owned())
    }

    /// Stops the server, and waits for its end.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.task).await.unwrap().unwrap();
    }
}
