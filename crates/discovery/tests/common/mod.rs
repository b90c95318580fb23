//! An API server of the course for tests, and a client of it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part, and a test that cannot go on fails"
)]

use std::net::SocketAddr;
use std::sync::Arc;

use api_server::{Certificates, NoNodes};
use kube::Client;
use object_store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const TOKEN: &str = "the token of a test";
type Serving = JoinHandle<Result<(), api_server::ServeError>>;

/// An API server that can be stopped and started again at the same address.
pub struct Server {
    pub store: Store,
    address: SocketAddr,
    certificates: Certificates,
    running: Option<(oneshot::Sender<()>, Serving)>,
}

impl Server {
    pub async fn start() -> Self {
        let store = Store::default();
        object_store::bootstrap(&store, std::net::Ipv4Addr::new(127, 96, 0, 1), 443).unwrap();
        let certificates = Certificates::generate(&[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Self { store, address, certificates, running: None };
        server.serve(listener);
        server
    }

    fn serve(&mut self, listener: TcpListener) {
        let config = api_server::Config::new(TOKEN, self.certificates.clone());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let serving =
            api_server::serve(listener, self.store.clone(), config, Arc::new(NoNodes), shutdown);
        self.running = Some((stop, tokio::spawn(serving)));
    }

    pub async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        drop(stop);
        task.await.unwrap().unwrap();
    }

    pub async fn again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    pub fn client(&self) -> Client {
        let server = format!("https://{}", self.address).parse().unwrap();
        let authority = &self.certificates.authority;
        let config = kube_connect::by_token(server, authority, TOKEN).unwrap();
        kube_connect::client(config).unwrap()
    }
}
