//! What a server is started with.

use std::sync::Arc;
use std::time::Duration;

use crate::{Certificates, MetricsProvider};

/// What a server is started with.
#[derive(Clone)]
pub struct Config {
    /// The token that every request must bear.
    pub token: String,
    /// The server's certificate and its authority.
    pub certificates: Certificates,
    /// What clients may take.
    pub limits: Limits,
    /// Where metrics other than CPU and memory come from; none: there are no others.
    pub metrics: Option<Arc<dyn MetricsProvider>>,
}

impl std::fmt::Debug for Config {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Config {
    /// A configuration with the usual limits.
    #[must_use]
    pub fn new(token: impl Into<String>, certificates: Certificates) -> Self {
        Self { token: token.into(), certificates, limits: Limits::default(), metrics: None }
    }
}

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once; more wait to be accepted.
    pub connections: usize,
    /// From a connection's first byte to the end of the TLS handshake, and of each HTTP/1.1 header.
    pub header_time: Duration,
    /// Bytes of a body. Kubernetes allows 3 MiB.
    pub body_bytes: usize,
    /// What connections get to end when the server stops.
    pub close_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_time: Duration::from_secs(10),
            body_bytes: 3 * 1024 * 1024,
            close_time: Duration::from_secs(2),
        }
    }
}
