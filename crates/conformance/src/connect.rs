//! From a kubeconfig to a client, and what the cluster says of itself.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use crate::resource::NODES;
use crate::unmet::{Met, Unmet, condition};
use crate::wire::Wire;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read.
    #[error("no kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Nothing in it can be used.
    #[error("no cluster is named: {0}")]
    Infer(#[from] kube::config::InferConfigError),
    /// No client can be built from it.
    #[error("the kubeconfig cannot be used: {0}")]
    Client(#[from] kube::Error),
    /// The cluster does not answer.
    #[error("the cluster does not answer: {0}")]
    Silent(#[from] Unmet),
}

/// Reads the kubeconfig at `path`, or the one that `$KUBECONFIG` or the home folder names.
///
/// # Errors
/// [`ConnectError`] when there is none, or it is broken.
pub async fn config(path: Option<&Path>) -> Result<Config, ConnectError> {
    // Both of rustls' providers can be in the tree; the second call says so, and that is all right.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = match path {
        Some(path) => {
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
        }
        None => Config::infer().await?,
    };
    // A client that tries again hides the very answers that behaviours ask for.
    config.default_retry = false;
    Ok(config)
}

/// A client of that cluster that bears a token, and nothing else.
#[must_use]
pub fn bearer(mut config: Config, token: &str) -> Option<Client> {
    let token = serde_json::json!({"token": token});
    config.auth_info = serde_json::from_value(token).ok()?;
    Client::try_from(config).ok()
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
