//! From a kubeconfig to a client, and what the cluster says of itself.

use std::path::Path;

use kube::{Client, Config};
use serde_json::Value;

use crate::resource::NODES;
use crate::unmet::{Met, Unmet, condition};
use crate::wire::Wire;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No cluster is named.
    #[error(transparent)]
    Config(#[from] kube_connect::ConnectError),
    /// The cluster does not answer.
    #[error("the cluster does not answer: {0}")]
    Silent(#[from] Unmet),
}

/// Reads the kubeconfig at `path`, or the one that `$KUBECONFIG` or the home folder names.
///
/// # Errors
/// [`ConnectError`] when there is none, or it is broken.
pub async fn config(path: Option<&Path>) -> Result<Config, ConnectError> {
    let mut config = kube_connect::config(path, None).await?;
    // A client that tries again hides the very answers that behaviours ask for.
    config.default_retry = false;
    Ok(config)
}

/// A client of that cluster that bears a token, and nothing else.
#[must_use]
pub fn bearer(mut config: Config, token: &str) -> Option<Client> {
    let token = serde_json::json!({"token": token});
    config.auth_info = serde_json::from_value(token).ok()?;
    kube_connect::client(config).ok()
}

/// The server's version: `v1.34.3`.
///
/// # Errors
/// [`ConnectError::Silent`] when no answer comes.
pub async fn server_version(client: &Client) -> Result<String, ConnectError> {
    let wire = Wire::over(client);
    let version = wire.call(http::Method::GET, "/version").send().await?.ok()?;
    Ok(version["gitVersion"].as_str().unwrap_or("an unnamed version").to_owned())
}

/// The name of a ready node that says it runs pods: it reports a kubelet version and takes pods.
///
/// # Errors
/// [`Unmet::Fail`] when nodes cannot be listed.
pub async fn live_node(client: &Client) -> Met<Option<String>> {
    let wire = Wire::over(client);
    let list = wire.call(http::Method::GET, NODES.collection("")).send().await?.ok()?;
    let nodes = list["items"].as_array().cloned().unwrap_or_default();
    let lives = |node: &&Value| {
        condition(node, "Ready")["status"] == "True"
            && node["metadata"]["labels"][crate::place::RUN_LABEL].is_null()
            && node["spec"]["unschedulable"] != true
            && node["status"]["nodeInfo"]["kubeletVersion"].as_str().is_some_and(|v| !v.is_empty())
    };
    Ok(nodes.iter().find(lives).and_then(|node| node["metadata"]["name"].as_str()).map(Into::into))
}
