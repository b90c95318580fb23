//! A server's life: it listens, answers, and goes.

use std::sync::Arc;
use std::time::Duration;

use object_store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::connections::serve_connections;
use crate::guard::Guard;
use crate::node_proxy::NodeProxy;
use crate::route;

/// How often old events are taken away.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// Why a server could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener.
    #[error("the API server's listener: {0}")]
    Listener(#[from] std::io::Error),
    /// It listens where others can reach it.
    #[error("the API server listens on loopback only, not on {0}")]
    NotLoopback(std::net::SocketAddr),
    /// A certificate could not be made.
    #[error("a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate or key is no PEM text.
    #[error("a certificate's text: {0}")]
    Pem(String),
    /// The certificate and key are not fit for TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What every request needs.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) nodes: Arc<dyn NodeProxy>,
    pub(crate) guard: Guard,
    /// Where clients reach it, like `127.0.0.1:6443`.
    pub(crate) address: String,
    /// Turns true when the server stops: watches and streams end then.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Server {
    /// Waits until the server stops.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping.clone();
        async move {
            // An error means that the server is gone altogether.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

/// Answers requests on `listener`, which must be bound to a loopback address, until `shutdown` is ready; then ends
/// watches and streams, and returns when all connections are closed or their time for it is over.
///
/// # Errors
/// [`ServeError`]: a listener that is not on loopback or fails, certificates that are none.
pub async fn serve(
    listener: TcpListener,
    store: Store,
    config: Config,
    nodes: Arc<dyn NodeProxy>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    let tls = config.certificates.server_config()?;
    let limits = config.limits;
    let (stop, stopping) = watch::channel(false);
    let guard = Guard::new(&config.token);
    let server = Server {
        store: store.clone(),
        config,
        nodes,
        guard,
        address: address.to_string(),
        stopping,
    };
    let router = route::router(Arc::new(server));
    let closing = async {
        shutdown.await;
        stop.send_replace(true);
    };
    let expiring = async {
        loop {
            tokio::time::sleep(EXPIRY_INTERVAL).await;
            store.expire_events();
        }
    };
    tokio::select! {
        served = serve_connections(listener, Arc::new(tls), router, limits, closing) => served?,
        () = expiring => {}
    }
    Ok(())
}
