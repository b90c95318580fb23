//! Clients of Kubernetes: from a kubeconfig, from the account of the pod around, or from a token.
//!
//! Whoever needs a client comes here, since a client needs more than its configuration. kube speaks TLS by rustls. Where any
//! dependency of a build brings the second of rustls' providers of cryptography, rustls chooses none, and the first handshake of
//! a program that has not chosen panics. Here it is ring, whatever else is linked.

use std::path::Path;

use kube::config::{AuthInfo, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read, or lacks what is asked of it.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a kubeconfig nor a pod's own account is there.
    #[error("no cluster is named: {0}; set KUBECONFIG to a file that names one")]
    Infer(#[from] InferConfigError),
    /// What should be a certificate is none.
    #[error("the authority's certificate cannot be read: {0}")]
    Authority(#[from] pem::PemError),
    /// No client can be built.
    #[error("no client can be made of this configuration: {0}")]
    Client(#[from] kube::Error),
}

/// How a cluster is reached: the one of a kubeconfig's context. Without a file it is the user's own kubeconfig; without
/// that and without a context, the account of the pod that this program runs in.
///
/// # Errors
/// [`ConnectError::Kubeconfig`], [`ConnectError::Infer`].
pub async fn config(file: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    choose_provider();
    let options =
        KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    Ok(match (file, context) {
        (Some(path), _) => {
            Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await?,
        (None, None) => Config::infer().await?,
    })
}

/// How a cluster is reached by a token alone. `authority`: who vouches for the server, in PEM.
///
/// # Errors
/// [`ConnectError::Authority`].
pub fn by_token(server: http::Uri, authority: &str, token: &str) -> Result<Config, ConnectError> {
    choose_provider();
    let mut config = Config::new(server);
    config.root_cert = Some(vec![pem::parse(authority)?.into_contents()]);
    config.auth_info = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
    Ok(config)
}

/// A client.
///
/// # Errors
/// [`ConnectError::Client`].
pub fn client(config: Config) -> Result<Client, ConnectError> {
    choose_provider();
    Ok(Client::try_from(config)?)
}

/// Has rustls use ring in this process. Only the first call matters.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
fn choose_provider() {
    // An error says that somebody has chosen already, and that is all right.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = r#"{
        "apiVersion": "v1", "kind": "Config", "current-context": "one",
        "clusters": [
            {"name": "one", "cluster": {"server": "https://127.0.0.1:1"}},
            {"name": "two", "cluster": {"server": "https://127.0.0.1:2"}}
        ],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "one", "user": "me"}},
            {"name": "two", "context": {"cluster": "two", "user": "me"}}
        ]
    }"#;

    #[tokio::test]
    async fn a_file_names_clusters_by_context() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), KUBECONFIG).unwrap();
        for (context, port) in [(None, 1), (Some("one"), 1), (Some("two"), 2)] {
            let config = config(Some(file.path()), context).await.unwrap();
            assert_eq!(config.cluster_url.port_u16(), Some(port), "{context:?}");
            client(config).unwrap();
        }
        let missing = config(Some(file.path()), Some("three")).await;
        assert!(matches!(missing, Err(ConnectError::Kubeconfig(_))), "{missing:?}");
    }

    #[test]
    fn an_authority_that_is_no_certificate_is_refused() {
        let server = http::Uri::from_static("https://127.0.0.1:1");
        let refused = by_token(server, "no certificate", "t");
        assert!(matches!(refused, Err(ConnectError::Authority(_))));
    }

    #[tokio::test]
    async fn a_provider_is_chosen_before_a_client_is_made() {
        let server = http::Uri::from_static("http://127.0.0.1:1");
        client(Config::new(server)).unwrap();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
