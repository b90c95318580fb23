//! A server's life: HTTP up, model loaded, serving, draining, gone.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use serving::Recorder;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::admission::Admission;
use crate::args::Config;
use crate::clock::{Clock, unix_seconds};
use crate::connections::{ConnectionLimits, serve_connections};
use crate::engine_thread::{Command, EngineThread, Waker};
use crate::error::ServeError;
use crate::routes::router;
use crate::state::{Phase, Ready, Server, Stage};
use crate::telemetry::{Telemetry, panic_message};
use crate::{Backend, LoadError};

/// What connections get to write their last bytes after the last request is done.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the engine gets to finish its last step.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// When to stop.
pub struct Shutdown<D, A> {
    /// Take no new requests and finish the running ones.
    pub drain: D,
    /// While draining: finish nothing more.
    pub abort: A,
}

/// Serves until `shutdown` is ready and the requests that ran then are done, or `drain_timeout` is over.
///
/// HTTP is up at once. `load` runs on the engine's thread meanwhile; requests that come early wait for it.
///
/// # Errors
/// [`ServeError::Load`] where `load` fails or panics, [`ServeError::System`] where the system has no thread to
/// give. A panic of the engine later is no error here: `/health` says 503 from then on.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    recorder: Box<dyn Recorder>,
    load: impl FnOnce() -> Result<Backend, LoadError> + Send + 'static,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let shutdown = Shutdown { drain: shutdown, abort: pending() };
    serve_until(listener, config, recorder, load, shutdown).await
}

/// [`serve`] with a second signal, which cuts a drain short.
///
/// # Errors
/// As [`serve`].
pub async fn serve_until(
    listener: TcpListener,
    config: Config,
    recorder: Box<dyn Recorder>,
    load: impl FnOnce() -> Result<Backend, LoadError> + Send + 'static,
    shutdown: Shutdown<impl Future<Output = ()> + Send, impl Future<Output = ()> + Send>,
) -> Result<(), ServeError> {
    let drain_timeout = config.drain_timeout;
    let (server, mut engine) = start(config, recorder, load)?;
    let (close, closing) = oneshot::channel::<()>();
    let limits = ConnectionLimits {
        max_open: server.config.max_connections,
        header_timeout: server.config.header_timeout,
    };
    let closing = async { closing.await.unwrap_or(()) };
    let http = serve_connections(listener, router(Arc::clone(&server)), limits, closing);
    let mut http = std::pin::pin!(http);
    let system = |source| ServeError::System { what: "the listener failed", source };
    let mut loaded = true;
    let Shutdown { drain, abort } = shutdown;
    let (mut drain, mut abort) = (std::pin::pin!(drain), std::pin::pin!(abort));
    loop {
        tokio::select! {
            result = &mut http => return result.map_err(system),
            error = engine.load_error(), if loaded => match error {
                Some(error) => return Err(ServeError::Load(error)),
                None => loaded = false,
            },
            () = &mut drain => break,
        }
    }
    tracing::info!(in_flight = *server.in_flight.borrow(), "draining");
    server.stage.send_replace(Stage::Draining);
    let mut in_flight = server.in_flight.subscribe();
    tokio::select! {
        result = &mut http => return result.map_err(system),
        _ = in_flight.wait_for(|&count| count == 0) => {}
        () = tokio::time::sleep(drain_timeout) => {
            tracing::warn!(?drain_timeout, "the drain took too long: cutting off what still runs");
        }
        () = &mut abort => tracing::warn!("told again to stop: cutting off what still runs"),
    }
    server.stage.send_replace(Stage::Aborting);
    let _ = close.send(());
    // A client that does not read its last bytes must not keep the process.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, &mut http).await;
    engine.stop().await;
    let telemetry = Arc::clone(&server.telemetry);
    // The last spans go out while nothing else is left to do.
    let _ = tokio::task::spawn_blocking(move || telemetry.flush()).await;
    tracing::info!("stopped");
    Ok(())
}

/// The engine's thread, seen from outside. Dropping it tells the thread to stop.
struct EngineHandle {
    stop: Arc<AtomicBool>,
    waker: Waker,
    load_error: oneshot::Receiver<LoadError>,
    stopped: oneshot::Receiver<()>,
}

impl EngineHandle {
    /// Why loading failed; `None` once it did not.
    async fn load_error(&mut self) -> Option<LoadError> {
        (&mut self.load_error).await.ok()
    }

    /// Waits for the thread to end, but not for ever: a step may hang, and the process will end anyway.
    async fn stop(mut self) {
        self.tell();
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.stopped).await.is_err() {
            tracing::warn!("the engine does not stop; leaving it behind");
        }
    }

    fn tell(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Starts the engine's thread, which loads the model first.
fn start(
    config: Config,
    recorder: Box<dyn Recorder>,
    load: impl FnOnce() -> Result<Backend, LoadError> + Send + 'static,
) -> Result<(Arc<Server>, EngineHandle), ServeError> {
    let clock = Clock::start();
    let telemetry = Telemetry::new(recorder, &config)
        .map_err(|source| ServeError::System { what: "no thread for traces", source })?;
    let telemetry = Arc::new(telemetry);
    let (set_phase, phase) = watch::channel(Phase::Loading);
    // Every `Add` stands for a waiting request, and admission limits those; one more place for a wake-up.
    let (inbox, commands) = sync_channel(config.max_queue + 1);
    let stop = Arc::new(AtomicBool::new(false));
    let (failed, load_error) = oneshot::channel();
    let (done, stopped) = oneshot::channel();
    let thread = Thread {
        commands,
        stop: Arc::clone(&stop),
        clock,
        telemetry: Arc::clone(&telemetry),
        set_phase,
    };
    std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            thread.run(load, failed);
            let _ = done.send(());
        })
        .map_err(|source| ServeError::System { what: "no thread for the engine", source })?;
    let waker = Waker(SyncSender::clone(&inbox));
    let server = Server {
        admission: Admission::new(config.max_queue),
        config,
        clock,
        created: unix_seconds(),
        phase,
        stage: watch::Sender::new(Stage::Serving),
        in_flight: watch::Sender::new(0),
        inbox,
        telemetry,
    };
    Ok((Arc::new(server), EngineHandle { stop, waker, load_error, stopped }))
}

/// What the engine's thread starts with.
struct Thread {
    commands: Receiver<Command>,
    stop: Arc<AtomicBool>,
    clock: Clock,
    telemetry: Arc<Telemetry>,
    set_phase: watch::Sender<Phase>,
}

impl Thread {
    fn run(
        self,
        load: impl FnOnce() -> Result<Backend, LoadError>,
        failed: oneshot::Sender<LoadError>,
    ) {
        let loaded = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
            Err(format!("it panicked: {}", panic_message(panic.as_ref())).into())
        });
        let backend = match loaded {
            Ok(backend) => backend,
            Err(error) => {
                self.set_phase.send_replace(Phase::Dead(error.to_string()));
                let _ = failed.send(error);
                return;
            }
        };
        drop(failed);
        let at = self.clock.now();
        tracing::info!(load_ms = at.as_millis() as u64, "ready");
        let (codec, max_model_len) = (backend.codec, backend.max_model_len);
        self.set_phase.send_replace(Phase::Ready(Arc::new(Ready { codec, max_model_len, at })));
        let thread =
            EngineThread::new(backend.engine, self.commands, self.stop, self.clock, self.telemetry);
        if let Err(reason) = thread.run() {
            tracing::error!(reason, "the engine failed");
            self.set_phase.send_replace(Phase::Dead(reason));
        }
    }
}
