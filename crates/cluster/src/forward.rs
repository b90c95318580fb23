//! A port of this machine that leads to a pod's, by the cluster's own port-forward: the same way on every cluster.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections that are carried at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 512;

/// A port of this machine that leads to a pod's. Dropping it closes it and all its connections.
pub struct Forward {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Forward {
    /// Opens a free port of loopback for a pod's port.
    ///
    /// # Errors
    /// If the system has no port.
    pub async fn open(pods: Api<Pod>, pod: String, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, pods, pod, port));
        Ok(Self { address, _accepting: accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, pods: Api<Pod>, pod: String, port: u16) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(carry(stream, pods.clone(), pod.clone(), port));
    }
}

/// Carries one connection. Whoever connected sees trouble as a closed connection.
async fn carry(mut near: TcpStream, pods: Api<Pod>, pod: String, port: u16) {
    let _ = near.set_nodelay(true);
    let Ok(mut forward) = pods.portforward(&pod, &[port]).await else { return };
    if let Some(mut far) = forward.take_stream(port) {
        let _ = copy_bidirectional(&mut near, &mut far).await;
    }
    forward.abort();
}
