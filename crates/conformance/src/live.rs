//! Pods that really run: the stub program on the cluster's own nodes, and what one can do with a running pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, LogParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::place::Place;
use crate::resource::PODS;
use crate::stage::merge;
use crate::unmet::{Met, Unmet, condition, items};

/// The port that the stub serves on.
pub const PORT: u16 = 8080;
/// The longest that a command in a container, or an exchange with it, may take.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(20);

/// Holds that this cluster runs pods.
///
/// # Errors
/// [`Unmet::Skip`] with the reason where it does not.
pub fn needed(at: &Place) -> Met {
    match at.settings.live_node {
        Some(_) => Ok(()),
        None => Err(Unmet::Skip("no node of this cluster runs pods".into())),
    }
}

/// A container named `main` that runs the stub with `args`.
#[must_use]
pub fn container(at: &Place, args: &[&str]) -> Value {
    json!({"name": "main", "image": at.settings.image, "args": args})
}

/// A container that serves on the pod's own address, which is where a probe looks for it.
#[must_use]
pub fn server(at: &Place) -> Value {
    let mut server = container(at, &["serve", "--host", "$(POD_IP)", "--port", "8080"]);
    server["env"] = json!([
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]);
    server["ports"] = json!([{"name": "http", "containerPort": PORT}]);
    server
}

/// An HTTP probe that looks once a second and decides at once.
#[must_use]
pub fn probe(path: &str) -> Value {
    json!({"httpGet": {"path": path, "port": PORT}, "periodSeconds": 1, "failureThreshold": 1})
}

/// A pod of one container labelled `app: name`, with `extra` merged into its spec.
#[must_use]
pub fn pod(name: &str, container: Value, extra: Value) -> Value {
    let mut spec = json!({"containers": [container], "terminationGracePeriodSeconds": 2});
    merge(&mut spec, &extra);
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// Creates a pod and waits until it is ready.
///
/// # Errors
/// [`Unmet::Fail`] with its last state.
pub async fn ready(at: &Place, pod: Value) -> Met<Value> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    at.create(PODS, pod).await?;
    at.until(PODS, &name, "ready", |pod| condition(pod, "Ready")["status"] == "True").await
}

/// Creates a pod and waits until it has ended in `phase`.
///
/// # Errors
/// [`Unmet::Fail`] with its last state.
pub async fn ended(at: &Place, pod: Value, phase: &str) -> Met<Value> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    at.create(PODS, pod).await?;
    at.until(PODS, &name, phase, |pod| pod["status"]["phase"] == phase).await
}

/// The status of container `main`.
#[must_use]
pub fn main_status(pod: &Value) -> Value {
    let all = items(pod, "/status/containerStatuses").iter();
    all.clone().find(|status| status["name"] == "main").cloned().unwrap_or_default()
}

/// The pods of the behaviour's namespace, by `kube`.
#[must_use]
pub fn api(at: &Place) -> kube::Api<Pod> {
    kube::Api::namespaced(at.wire.client(), &at.namespace)
}

/// The log of a pod.
///
/// # Errors
/// [`Unmet::Fail`] with the refusal.
pub async fn log(at: &Place, name: &str) -> Met<String> {
    Ok(api(at).logs(name, &LogParams::default()).await?)
}

/// What a command in a container did.
#[derive(Debug)]
pub struct Executed {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// The `Status` that the server reports at the end, as JSON.
    pub status: Value,
}

/// Runs a command in a pod's container with `input` on its standard input.
///
/// # Errors
/// [`Unmet::Fail`] when it is refused, or does not end in time.
pub async fn exec(at: &Place, name: &str, command: &[&str], input: &str) -> Met<Executed> {
    let params = AttachParams::default().stdin(!input.is_empty()).stdout(true).stderr(true);
    let run = async {
        let mut process = api(at).exec(name, command.iter().copied(), &params).await?;
        let status = process.take_status();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let (out, err) = (process.stdout(), process.stderr());
        if let Some(mut stdin) = process.stdin() {
            stdin.write_all(input.as_bytes()).await.map_err(broken)?;
            stdin.shutdown().await.map_err(broken)?;
        }
        if let Some(mut out) = out {
            out.read_to_string(&mut stdout).await.map_err(broken)?;
        }
        if let Some(mut err) = err {
            err.read_to_string(&mut stderr).await.map_err(broken)?;
        }
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        let status = serde_json::to_value(status).unwrap_or_default();
        Ok(Executed { stdout, stderr, status })
    };
    let ran = tokio::time::timeout(EXCHANGE_WITHIN, run).await;
    ran.unwrap_or_else(|_| {
        Err(Unmet::fail(format!("an end of {command:?} within {EXCHANGE_WITHIN:?}"), "none"))
    })
}

/// Sends an HTTP request to a pod through a port-forward, and returns the whole answer.
///
/// # Errors
/// [`Unmet::Fail`] when it is refused, or nothing comes in time.
pub async fn forward(at: &Place, name: &str, method: &str, path: &str) -> Met<String> {
    let exchange = async {
        let mut forwarder = api(at).portforward(name, &[PORT]).await?;
        let missing = || Unmet::fail("a stream of the port", "none");
        let mut stream = forwarder.take_stream(PORT).ok_or_else(missing)?;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(broken)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answered = tokio::time::timeout(EXCHANGE_WITHIN, exchange).await;
    answered.unwrap_or_else(|_| {
        Err(Unmet::fail(format!("an answer of the pod within {EXCHANGE_WITHIN:?}"), "none"))
    })
}

fn broken(error: std::io::Error) -> Unmet {
    Unmet::fail("a stream that works", error.to_string())
}
