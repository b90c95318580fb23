//! What the API server asks of nodes: logs, processes' streams, ports, usage.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use apimachinery::Status;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::ready;
use jiff::Timestamp;
use object_store::ObjectRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A future of a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// Bytes as they come. Dropping it ends what makes them.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A connection both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Which part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The container: always one that the pod has.
    pub container: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// Of the container's life before this one.
    pub previous: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Lines from then on.
    pub since: Option<Timestamp>,
    /// At most so many lines of what is there already, the last ones.
    pub tail_lines: Option<u64>,
    /// At most so many bytes in all.
    pub limit_bytes: Option<u64>,
}

/// What to run, and with which streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The container: always one that the pod has.
    pub container: String,
    /// The command and its arguments; empty for attach.
    pub command: Vec<String>,
    /// The client sends input.
    pub stdin: bool,
    /// The client wants output.
    pub stdout: bool,
    /// The client wants errors apart from output.
    pub stderr: bool,
    /// In a terminal.
    pub tty: bool,
}

/// A terminal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A running command's streams. Dropping it ends the command.
pub struct Session {
    /// Where input goes; dropping it says that there is no more.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Output.
    pub stdout: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Errors.
    pub stderr: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Where new sizes of a terminal go.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// The exit code, once it has ended. Streams may still hold output then.
    pub exit: BoxFuture<'static, Result<i32, Status>>,
}

/// Processor and memory in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Billionths of a core, averaged over the window.
    pub cpu_nanocores: u64,
    /// Bytes resident.
    pub memory_bytes: u64,
}

/// What a container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// The container.
    pub name: String,
    /// What it uses.
    pub usage: Usage,
}

/// What a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was measured.
    pub at: Timestamp,
    /// Over what time.
    pub window: Duration,
    /// Container by container.
    pub containers: Vec<ContainerUsage>,
}

/// What a node uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUsage {
    /// Its name.
    pub name: String,
    /// When it was measured.
    pub at: Timestamp,
    /// Over what time.
    pub window: Duration,
    /// What it uses.
    pub usage: Usage,
}

/// What the API server asks of nodes. `pod` is the newest version, and one that has a node.
pub trait NodeProxy: Send + Sync + 'static {
    /// A container's log.
    fn logs(
        &self,
        pod: ObjectRef,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<ByteStream, Status>>;
    /// Runs a command in a container.
    fn exec(&self, pod: ObjectRef, options: ExecOptions) -> BoxFuture<'_, Result<Session, Status>>;
    /// Takes part in a container's own streams.
    fn attach(
        &self,
        pod: ObjectRef,
        options: ExecOptions,
    ) -> BoxFuture<'_, Result<Session, Status>>;
    /// A connection to a pod's port.
    fn port_forward(
        &self,
        pod: ObjectRef,
        port: u16,
    ) -> BoxFuture<'_, Result<Box<dyn Duplex>, Status>>;
    /// What every running pod uses.
    fn pod_usage(&self) -> BoxFuture<'_, Vec<PodUsage>>;
    /// What every node uses.
    fn node_usage(&self) -> BoxFuture<'_, Vec<NodeUsage>>;
}

/// A cluster without nodes: an API server alone, as tests and tools use it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNodes;

fn no_node<T: Send + 'static>() -> BoxFuture<'static, Result<T, Status>> {
    Box::pin(ready(Err(Status::not_implemented("nodes here: the API server runs alone"))))
}

impl NodeProxy for NoNodes {
    fn logs(&self, _: ObjectRef, _: LogOptions) -> BoxFuture<'_, Result<ByteStream, Status>> {
        no_node()
    }
    fn exec(&self, _: ObjectRef, _: ExecOptions) -> BoxFuture<'_, Result<Session, Status>> {
        no_node()
    }
    fn attach(&self, _: ObjectRef, _: ExecOptions) -> BoxFuture<'_, Result<Session, Status>> {
        no_node()
    }
    fn port_forward(&self, _: ObjectRef, _: u16) -> BoxFuture<'_, Result<Box<dyn Duplex>, Status>> {
        no_node()
    }
    fn pod_usage(&self) -> BoxFuture<'_, Vec<PodUsage>> {
        Box::pin(ready(Vec::new()))
    }
    fn node_usage(&self) -> BoxFuture<'_, Vec<NodeUsage>> {
        Box::pin(ready(Vec::new()))
    }
}
