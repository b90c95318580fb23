//! A server as a process: logs, port, signals.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serving::Recorder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;

use crate::args::ServeArgs;
use crate::error::ServeError;
use crate::serve::{Shutdown, serve_until};
use crate::{Backend, LoadError};

/// Threads that serve HTTP. The engine has its own, and its model the rest of the machine.
const HTTP_THREADS: usize = 2;

/// What an orphaned server gets to end in good order.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a server until it is told to stop: by SIGTERM or SIGINT, once to drain, twice to stop at once; with
/// `exit_with_parent`, also by the end of stdin.
///
/// Its first line on stdout is `listening on http://HOST:PORT`.
///
/// # Errors
/// [`ServeError`] says what could not be had.
pub fn run(
    args: &ServeArgs,
    recorder: Box<dyn Recorder>,
    load: impl FnOnce() -> Result<Backend, LoadError> + Send + 'static,
) -> Result<(), ServeError> {
    log_to_stderr(&args.log_level)?;
    let system = |what| move |source| ServeError::System { what, source };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(system("no threads for HTTP"))?;
    let result = runtime.block_on(async {
        let address = SocketAddr::new(args.host, args.port);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Bind { address, source })?;
        let address = listener.local_addr().map_err(system("the listener has no address"))?;
        let shutdown = signals(args.exit_with_parent).map_err(system("no signal handler"))?;
        // Whoever started the server may be gone; that is no reason to serve nobody else.
        let _ = writeln!(std::io::stdout(), "listening on http://{address}");
        let _ = std::io::stdout().flush();
        serve_until(listener, args.config(), recorder, load, shutdown).await
    });
    // A step or a recorder that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

fn log_to_stderr(level: &str) -> Result<(), ServeError> {
    let filter = EnvFilter::try_new(level).map_err(|e| ServeError::LogLevel(e.to_string()))?;
    // A program that set up its own logs keeps them.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
    Ok(())
}

/// Ready at the first signal, and at the second.
fn signals(
    exit_with_parent: bool,
) -> Result<Shutdown<impl Future<Output = ()>, impl Future<Output = ()>>, std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    if exit_with_parent {
        watch_parent(Arc::clone(&first), Arc::clone(&second))?;
    }
    let (drain, abort) = (Arc::clone(&first), Arc::clone(&second));
    tokio::spawn(async move {
        for told in [first, second] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            told.notify_one();
        }
    });
    Ok(Shutdown {
        drain: async move { drain.notified().await },
        abort: async move { abort.notified().await },
    })
}

/// Stops the server when stdin closes, without a drain: nobody is left to read the answers.
fn watch_parent(first: Arc<Notify>, second: Arc<Notify>) -> Result<(), std::io::Error> {
    let watch = move || {
        let mut ignored = [0; 256];
        while std::io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
        first.notify_one();
        second.notify_one();
        std::thread::sleep(ORPHAN_TIMEOUT);
        // Only where every thread of the runtime hangs too.
        std::process::exit(1);
    };
    std::thread::Builder::new().name("parent".to_owned()).spawn(watch).map(drop)
}
