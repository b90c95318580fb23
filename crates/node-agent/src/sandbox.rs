//! The agent's side of a pod's supervisor: starts it, gives it orders, hears its reports.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use process_tree::this_program;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::supervisor::SUPERVISOR;
use crate::supervisor::channel::{self, Inbox};
use crate::supervisor::order::{Ending, Log, Order, Report, Spec, TaskId};

/// Orders on their way to one supervisor.
const ORDERS: usize = 64;

/// How a program that was started for its ending went.
pub(crate) type Ended = Result<Ending, String>;

/// A pod's supervisor. Cloning gives another handle; when the last one goes, so does the pod.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The supervisor's process id.
    pid: u32,
    orders: mpsc::Sender<(Order, Vec<OwnedFd>)>,
    /// Told when the pod is to end, whoever still has a handle.
    closing: Arc<Notify>,
    next: AtomicU64,
    /// Programs whose ending somebody waits for.
    waiting: Mutex<HashMap<TaskId, oneshot::Sender<Ended>>>,
}

impl Sandbox {
    /// Starts a supervisor: this program, or another. `reports`: what it says about programs that nobody waits for.
    pub(crate) fn start(program: Option<&Path>, reports: mpsc::Sender<Report>) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let program = program.map_or_else(this_program, |program| Ok(program.to_owned()))?;
        let mut command = tokio::process::Command::new(program);
        command.arg(SUPERVISOR).env_clear().current_dir("/").process_group(0);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        drop(command);
        let pid = child.id().ok_or_else(|| io::Error::other("the supervisor ended at once"))?;
        ours.set_nonblocking(true)?;
        let socket = Arc::new(UnixStream::from_std(ours)?);
        let (orders, queue) = mpsc::channel(ORDERS);
        let waiting = Mutex::default();
        let closing = Arc::new(Notify::new());
        tokio::spawn(speak(Arc::clone(&socket), queue, Arc::clone(&closing)));
        let shared = Arc::new(Shared { pid, orders, closing, next: AtomicU64::new(1), waiting });
        tokio::spawn(hear(socket, child, Arc::downgrade(&shared), reports));
        Ok(Self { shared })
    }

    /// The supervisor's process id: everything below it belongs to the pod.
    pub(crate) fn pid(&self) -> u32 {
        self.shared.pid
    }

    /// Starts a program whose reports go to the pod. Returns at once.
    pub(crate) async fn start_program(
        &self,
        spec: Spec,
        log: Option<Log>,
        files: Vec<OwnedFd>,
    ) -> TaskId {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.start_as(id, spec, log, files).await;
        id
    }

    async fn start_as(&self, id: TaskId, spec: Spec, log: Option<Log>, files: Vec<OwnedFd>) {
        let order = Order::Start { id, spec: Box::new(spec), log, files: files.len() };
        self.send(order, files).await;
    }

    /// Starts a program; the ending comes by the receiver. Dropping the handle kills it.
    pub(crate) async fn run(&self, spec: Spec, files: [OwnedFd; 3]) -> Running {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, ending) = oneshot::channel();
        self.waiting().insert(id, sender);
        self.start_as(id, spec, None, files.into()).await;
        Running { id, sandbox: self.clone(), ending }
    }

    /// Starts a program and gives what it printed, up to `limit` bytes, when it ends.
    pub(crate) async fn output(&self, spec: Spec, limit: u64) -> (Ended, String) {
        let start = async || -> io::Result<(Running, io::PipeReader)> {
            let (read, write) = io::pipe()?;
            let both = write.try_clone()?;
            let stdin = std::fs::File::open("/dev/null")?;
            let running = self.run(spec, [stdin.into(), write.into(), both.into()]).await;
            Ok((running, read))
        };
        let (mut running, read) = match start().await {
            Ok(started) => started,
            Err(error) => return (Err(error.to_string()), String::new()),
        };
        let ended = running.ended().await;
        // All who could write have been killed, so that this comes to an end.
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            let _what_there_is = read.take(limit).read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        (ended, read.await.unwrap_or_default())
    }

    /// Signals a program.
    pub(crate) async fn signal(&self, id: TaskId, signal: nix::sys::signal::Signal, tree: bool) {
        self.send(Order::Signal { id, signal: signal as i32, tree }, Vec::new()).await;
    }

    /// Stops every process of the pod, or lets them go on. Returns when it is done.
    pub(crate) async fn freeze(&self, frozen: bool) {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, done) = oneshot::channel();
        self.waiting().insert(id, sender);
        self.send(Order::Freeze { id, frozen }, Vec::new()).await;
        let _or_the_pod_is_gone = done.await;
    }

    /// Ends the pod: everything in it is killed. [`Report::Gone`] follows.
    pub(crate) fn close(&self) {
        self.shared.closing.notify_one();
    }

    async fn send(&self, order: Order, files: Vec<OwnedFd>) {
        // Fails when the supervisor is gone, which is reported by itself.
        let _gone = self.shared.orders.send((order, files)).await;
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, oneshot::Sender<Ended>>> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program whose ending somebody waits for. Dropping it kills the program.
#[derive(Debug)]
pub(crate) struct Running {
    id: TaskId,
    sandbox: Sandbox,
    ending: oneshot::Receiver<Ended>,
}

impl Running {
    /// Waits for the ending.
    pub(crate) async fn ended(&mut self) -> Ended {
        let ended = (&mut self.ending).await;
        ended.unwrap_or_else(|_| Err("the pod is gone".to_owned()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.sandbox.waiting().remove(&self.id).is_some() {
            let order = Order::Signal { id: self.id, signal: nix::libc::SIGKILL, tree: true };
            let _gone_or_ends_with_the_pod =
                self.sandbox.shared.orders.try_send((order, Vec::new()));
        }
    }
}

/// Sends orders until the last handle is gone; the socket's end then ends the supervisor.
async fn speak(
    socket: Arc<UnixStream>,
    mut orders: mpsc::Receiver<(Order, Vec<OwnedFd>)>,
    closing: Arc<Notify>,
) {
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = closing.notified() => None,
        };
        let Some((order, files)) = order else { break };
        let Ok(line) = channel::line(&order) else { continue };
        let mut bytes = line.as_slice();
        let mut files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        while !bytes.is_empty() {
            let sent = socket
                .async_io(Interest::WRITABLE, || channel::send(&*socket, bytes, &files))
                .await;
            match sent {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    files.clear();
                }
                Err(_) => return,
            }
        }
    }
    let _gone = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Write);
}

/// Hears reports until the supervisor is gone, and buries it.
async fn hear(
    socket: Arc<UnixStream>,
    mut child: tokio::process::Child,
    shared: std::sync::Weak<Shared>,
    reports: mpsc::Sender<Report>,
) {
    let mut inbox = Inbox::default();
    loop {
        let filled = socket.async_io(Interest::READABLE, || inbox.fill(&*socket)).await;
        if !filled.unwrap_or(false) {
            break;
        }
        while let Ok(Some(report)) = inbox.take::<Report>() {
            let Some(report) = awaited(&shared, report) else { continue };
            if reports.send(report).await.is_err() {
                // Nobody listens any more: go on burying.
                continue;
            }
        }
    }
    // Nothing can be reported any more, so whatever is still there has to go.
    let _already_gone = child.start_kill();
    let _status = child.wait().await;
    if let Some(shared) = shared.upgrade() {
        shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    let _nobody_waits = reports.send(Report::Gone).await;
}

/// Gives a report to whoever waits for it; returns it if nobody does.
fn awaited(shared: &std::sync::Weak<Shared>, report: Report) -> Option<Report> {
    let shared = shared.upgrade()?;
    let mut waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let (id, ended) = match &report {
        Report::Started { id, .. } if waiting.contains_key(id) => return None,
        Report::Ended { id, ending } => (*id, Ok(*ending)),
        Report::NotStarted { id, reason } => (*id, Err(reason.clone())),
        _ => return Some(report),
    };
    match waiting.remove(&id) {
        Some(sender) => {
            let _nobody_waits = sender.send(ended);
            None
        }
        None => Some(report),
    }
}
