//! Starts a server on port 0 in a runtime of its own, and stops it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use server::{Backend, Config, LoadError, ServeError, Shutdown, serve_until};
use serving::baseline::{ContiguousPool, Counters, StaticScheduler};
use serving::{Engine, Recorder, SchedulerLimits};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::client::{get, wait_until};
use crate::script::{Bytes, Gate, Script};

pub(crate) const MAX_MODEL_LEN: usize = 64;
const BLOCK_SIZE: usize = 4;

/// A server under test. Dropping it stops it.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) gate: Arc<Gate>,
    drain: Option<oneshot::Sender<()>>,
    abort: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

pub(crate) fn config() -> Config {
    Config { served_model_name: "script".to_owned(), debug_timelines: true, ..Config::default() }
}

/// The scripted model behind the static baseline: `max_num_seqs` sequences at once.
pub(crate) fn script(
    gate: &Arc<Gate>,
    max_num_seqs: usize,
    max_model_len: usize,
) -> Result<Backend, LoadError> {
    let limits = SchedulerLimits::try_new(max_num_seqs, 4096)?;
    let blocks = max_num_seqs * serving::blocks_for(max_model_len, BLOCK_SIZE);
    let pool = ContiguousPool::new(blocks, BLOCK_SIZE);
    let scheduler = Box::new(StaticScheduler::new(limits, pool));
    let engine = Engine::new(scheduler, Box::new(Script::new(Arc::clone(gate))));
    Ok(Backend { engine, codec: Arc::new(Bytes), max_model_len })
}

impl TestServer {
    /// A server of the scripted model that is ready.
    pub(crate) fn start(config: Config, max_num_seqs: usize) -> Self {
        let gate = Arc::new(Gate::default());
        let engine_gate = Arc::clone(&gate);
        let load = move || script(&engine_gate, max_num_seqs, MAX_MODEL_LEN);
        let recorder = Box::new(Counters::new("script"));
        let mut server = Self::spawn(config, recorder, load);
        server.gate = gate;
        server.wait_ready();
        server
    }

    /// The default: four sequences at once.
    pub(crate) fn ready() -> Self {
        Self::start(config(), 4)
    }

    /// A server that may still load.
    pub(crate) fn spawn(
        config: Config,
        recorder: Box<dyn Recorder>,
        load: impl FnOnce() -> Result<Backend, LoadError> + Send + 'static,
    ) -> Self {
        let (tell_address, address) = std::sync::mpsc::sync_channel(1);
        let (drain, drained) = oneshot::channel::<()>();
        let (abort, aborted) = oneshot::channel::<()>();
        let shutdown = Shutdown {
            drain: async { drained.await.unwrap_or(()) },
            abort: async { aborted.await.unwrap_or(()) },
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell_address.send(listener.local_addr().unwrap()).unwrap();
                serve_until(listener, config, recorder, load, shutdown).await
            })
        });
        Self {
            address: address.recv().unwrap(),
            gate: Arc::default(),
            drain: Some(drain),
            abort: Some(abort),
            thread: Some(thread),
        }
    }

    pub(crate) fn wait_ready(&self) {
        wait_until("the server is ready", || get(self.address, "/health").status == 200);
    }

    /// The first signal.
    pub(crate) fn drain(&mut self) {
        let _ = self.drain.take().expect("told once").send(());
    }

    /// The second signal.
    pub(crate) fn abort(&mut self) {
        let _ = self.abort.take().expect("told once").send(());
    }

    /// How `serve` ended.
    pub(crate) fn join(mut self) -> Result<(), ServeError> {
        self.thread.take().expect("joined once").join().expect("no panic")
    }

    /// The value of a sample on `/metrics`: the sum over all lines that start so.
    pub(crate) fn metric(&self, start: &str) -> f64 {
        let page = get(self.address, "/metrics").body;
        let values = page.lines().filter(|line| line.starts_with(start));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Requests in flight.
    pub(crate) fn load(&self) -> u64 {
        get(self.address, "/load").json()["server_load"].as_u64().unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.gate.open();
        let told = [self.drain.take(), self.abort.take()];
        for tell in told.into_iter().flatten() {
            let _ = tell.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
