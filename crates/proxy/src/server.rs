//! A router's life: it listens, serves, drains and ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use routing::Dispatch;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::ProxyError;
use crate::caller::{Caller, TrustedProxies};
use crate::kv_listening::{KvListening, hear_members};
use crate::limits::{Limits, MAX_IDLE_TIME};
use crate::members::{Member, Membership};
use crate::pool::Pool;
use crate::rounds::watch_members;
use crate::shadow::{Shadow, Shadowing};
use crate::shared::Shared;
use crate::traces::{self, Tracing};
use crate::watch::Watching;
use crate::worker::Worker;

/// Connections that the kernel keeps until they are taken.
const BACKLOG: i32 = 1024;
/// How long to wait before another connection is taken, where there are no descriptors left.
const NO_DESCRIPTORS: Duration = Duration::from_millis(20);

/// How a router serves.
#[derive(Clone)]
pub struct Settings {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Threads that serve, each with a listener of its own.
    pub threads: usize,
    /// Bounds.
    pub limits: Limits,
    /// How endpoints are watched.
    pub watching: Watching,
    /// How long requests are still taken after the drain has begun: until everybody knows.
    pub drain_delay: Duration,
    /// How long requests may take after that.
    pub drain_timeout: Duration,
    /// Where spans go; `None` where nobody asked for them.
    pub tracing: Option<Tracing>,
    /// Who gets copies of requests; `None`: nobody.
    pub shadowing: Option<Shadowing>,
    /// Whether endpoints are heard that tell of their KV caches, and how.
    pub kv_events: Option<KvListening>,
    /// Who may say where a request came from, besides the socket.
    pub trusted_proxies: Vec<TrustedProxies>,
}

impl Settings {
    /// On any free port of this machine, with the usual bounds.
    #[must_use]
    pub fn local() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 1,
            limits: Limits::default(),
            watching: Watching::default(),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            tracing: None,
            shadowing: None,
            kv_events: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// A router that listens.
pub struct Router {
    shared: Arc<Shared>,
    listeners: Vec<std::net::TcpListener>,
    address: SocketAddr,
    settings: Settings,
    members: watch::Sender<Vec<Member>>,
}

impl Router {
    /// Listens, and looks at the endpoints for the first time when it runs.
    ///
    /// # Errors
    /// [`ProxyError::Listen`]; [`ProxyError::Thread`] where traces are asked for and there is no thread for them.
    pub fn bind(settings: Settings, dispatch: Box<dyn Dispatch>) -> Result<Self, ProxyError> {
        let mut address = settings.listen;
        let mut listeners = Vec::new();
        for _ in 0..settings.threads.max(1) {
            let listener = listen(address, settings.threads > 1)
                .map_err(|cause| ProxyError::Listen { address, cause })?;
            address =
                listener.local_addr().map_err(|cause| ProxyError::Listen { address, cause })?;
            listeners.push(listener);
        }
        let traces = settings.tracing.as_ref().map(traces::start).transpose();
        let traces = traces.map_err(ProxyError::Thread)?;
        let shadow = settings.shadowing.clone().map(Shadow::new);
        let shared = Arc::new(Shared::new(dispatch, settings.limits, traces, shadow));
        let (members, _) = watch::channel(Vec::new());
        Ok(Self { shared, listeners, address, settings, members })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says which endpoints there are.
    #[must_use]
    pub fn membership(&self) -> Membership {
        Membership { members: self.members.clone() }
    }

    /// Serves until `drain` is ready and the requests that are here then are done, or for as long as they may take. The
    /// caller's runtime runs the first thread's work, and watches the endpoints.
    ///
    /// # Errors
    /// [`ProxyError::Thread`] if a thread cannot be started.
    pub async fn run(mut self, drain: impl Future<Output = ()>) -> Result<(), ProxyError> {
        let (ending, ended) = watch::channel(false);
        let (stopping, stopped) = watch::channel(false);
        let mut threads = Vec::new();
        let permits = Arc::new(Semaphore::new(self.settings.limits.max_connections));
        let trusted: Arc<[_]> = self.settings.trusted_proxies.as_slice().into();
        let first = self.listeners.remove(0);
        for listener in self.listeners.drain(..) {
            let thread = Thread::new(&self.shared, &permits, &stopped, &ended, &trusted);
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(ProxyError::Thread)?;
            let spawned = std::thread::Builder::new()
                .name("router".to_owned())
                .spawn(move || runtime.block_on(thread.serve(listener)));
            threads.push(spawned.map_err(ProxyError::Thread)?);
        }
        let watcher = tokio::spawn(watch_members(
            self.shared.clone(),
            self.members.subscribe(),
            self.settings.watching.clone(),
        ));
        let listener = self.settings.kv_events.clone().map(|listening| {
            let (report, emptied) = (self.shared.caches(), self.shared.emptied());
            tokio::spawn(hear_members(report, emptied, self.members.subscribe(), listening))
        });
        let thread = Thread::new(&self.shared, &permits, &stopped, &ended, &trusted);
        let mut serving = std::pin::pin!(thread.serve(first));
        tokio::select! {
            () = &mut serving => {}
            () = drain => {}
        }
        self.shared.drain();
        let until = tokio::time::sleep(self.settings.drain_delay);
        tokio::select! {
            () = &mut serving => {}
            () = until => {}
        }
        stopping.send_replace(true);
        ending.send_replace(true);
        let _late = tokio::time::timeout(self.settings.drain_timeout, async {
            serving.await;
            let join = Handle::current().spawn_blocking(move || {
                threads.into_iter().for_each(|thread| drop(thread.join()));
            });
            let _joined = join.await;
        })
        .await;
        self.shared.refuse();
        watcher.abort();
        listener.iter().for_each(JoinHandle::abort);
        if let Some(traces) = &self.shared.traces {
            traces.flush();
        }
        Ok(())
    }
}

/// What one thread needs.
struct Thread {
    worker: Arc<Worker>,
    permits: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
    trusted: Arc<[TrustedProxies]>,
}

impl Thread {
    fn new(
        shared: &Arc<Shared>,
        permits: &Arc<Semaphore>,
        stopped: &watch::Receiver<bool>,
        ending: &watch::Receiver<bool>,
        trusted: &Arc<[TrustedProxies]>,
    ) -> Self {
        let worker =
            Worker { shared: shared.clone(), pool: Pool::default(), ending: ending.clone() };
        Self {
            worker: Arc::new(worker),
            permits: permits.clone(),
            stopped: stopped.clone(),
            trusted: trusted.clone(),
        }
    }

    /// Takes connections until it is stopped, and serves them to their end.
    async fn serve(mut self, listener: std::net::TcpListener) {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        let mut connections = JoinSet::new();
        let mut sweep = tokio::time::interval(MAX_IDLE_TIME);
        loop {
            tokio::select! {
                taken = take(&listener, &self.permits) => {
                    let (stream, peer, permit) = taken;
                    let worker = self.worker.clone();
                    let caller = Caller::new(peer, &self.trusted);
                    connections.spawn(async move {
                        worker.serve(stream, caller).await;
                        drop(permit);
                    });
                }
                _ = self.stopped.wait_for(|stopped| *stopped) => break,
                Some(_) = connections.join_next() => {}
                _ = sweep.tick() => self.worker.pool.sweep(self.worker.shared.now()),
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// The next connection, once there is room for it.
async fn take(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<tokio::sync::OwnedSemaphorePermit>) {
    let permit = permits.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(_) => tokio::time::sleep(NO_DESCRIPTORS).await,
        }
    }
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
