//! An API server alone, in memory, for trying clients out: `cargo run -p api-server --example serve -- KUBECONFIG [PORT]`
//! writes a kubeconfig and serves until it is interrupted.

use std::net::Ipv4Addr;
use std::sync::Arc;

use api_server::{Certificates, Config, NoNodes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object_store::{Store, bootstrap};
use tokio::net::TcpListener;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: serve KUBECONFIG [PORT]")?;
    let port: u16 = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    let store = Store::default();
    bootstrap(&store, Ipv4Addr::new(127, 96, 0, 1), address.port())?;
    let token = uuid::Uuid::new_v4().to_string();
    let certificates = Certificates::generate(&[])?;
    let authority = STANDARD.encode(&certificates.authority);
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "alone", "cluster": {
            "server": format!("https://{address}"), "certificate-authority-data": authority,
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "alone", "context": {"cluster": "alone", "user": "admin"}}],
        "current-context": "alone",
    });
    std::fs::write(&path, kubeconfig.to_string())?;
    let config = Config::new(token, certificates);
    let shutdown = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    api_server::serve(listener, store, config, Arc::new(NoNodes), shutdown).await?;
    Ok(())
}
