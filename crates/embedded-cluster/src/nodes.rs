//! What the API server asks of nodes, answered by the node agent.

use std::pin::Pin;

use api_server::{
    BoxFuture, ByteStream, ContainerUsage, Duplex, ExecOptions, LogOptions, NodeProxy, NodeUsage,
    PodUsage, Session, TerminalSize, Usage,
};
use apimachinery::{Reason, Status};
use node_agent::{AgentError, ExecRequest, NodeAgent};
use object_store::ObjectRef;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

/// Sizes of a terminal that wait to be set.
const RESIZES: usize = 4;

/// The node agent, as the API server sees it.
pub(crate) struct Nodes(pub(crate) NodeAgent);

impl NodeProxy for Nodes {
    fn logs(
        &self,
        pod: ObjectRef,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<ByteStream, Status>> {
        Box::pin(async move {
            let options = node_agent::LogOptions {
                container: Some(options.container),
                follow: options.follow,
                previous: options.previous,
                tail_lines: options.tail_lines.and_then(|lines| usize::try_from(lines).ok()),
                since: options.since,
                timestamps: options.timestamps,
                limit_bytes: options.limit_bytes,
            };
            let stream = self.0.logs(&pod.key(), options).map_err(status)?;
            Ok(Box::pin(stream) as ByteStream)
        })
    }

    fn exec(&self, pod: ObjectRef, options: ExecOptions) -> BoxFuture<'_, Result<Session, Status>> {
        Box::pin(async move {
            let request = ExecRequest {
                container: Some(options.container),
                command: options.command,
                stdin: options.stdin,
                tty: options.tty,
            };
            let session = self.0.exec(&pod.key(), request).await.map_err(status)?;
            Ok(Session {
                stdin: session.stdin,
                stdout: Some(session.stdout),
                stderr: session.stderr,
                resize: session.terminal.map(resizer),
                exit: Box::pin(async move {
                    let ended = session.ended.await;
                    ended.map(|ending| ending.code).map_err(Status::internal)
                }),
            })
        })
    }

    fn attach(
        &self,
        pod: ObjectRef,
        options: ExecOptions,
    ) -> BoxFuture<'_, Result<Session, Status>> {
        Box::pin(async move {
            let output = self
                .0
                .attach(&pod.key(), Some(options.container), options.stdin)
                .map_err(status)?;
            let output = tokio_util::io::StreamReader::new(Box::pin(output));
            let output: Pin<Box<dyn AsyncRead + Send>> = Box::pin(output);
            // It ends with its output.
            let exit = Box::pin(std::future::pending());
            Ok(Session { stdin: None, stdout: Some(output), stderr: None, resize: None, exit })
        })
    }

    fn port_forward(
        &self,
        pod: ObjectRef,
        port: u16,
    ) -> BoxFuture<'_, Result<Box<dyn Duplex>, Status>> {
        Box::pin(async move {
            let stream = self.0.port_forward(&pod.key(), port).await.map_err(status)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }

    fn pod_usage(&self) -> BoxFuture<'_, Vec<PodUsage>> {
        let all = self.0.pod_metrics(None).into_iter().map(|pod| PodUsage {
            namespace: pod.pod.namespace,
            name: pod.pod.name,
            at: pod.time,
            window: pod.window,
            containers: pod.containers.into_iter().map(container).collect(),
        });
        Box::pin(std::future::ready(all.collect()))
    }

    fn node_usage(&self) -> BoxFuture<'_, Vec<NodeUsage>> {
        let all = self.0.node_metrics().into_iter().map(|node| NodeUsage {
            name: node.node,
            at: node.time,
            window: node.window,
            usage: Usage { cpu_nanocores: node.cpu_nano, memory_bytes: node.memory_bytes },
        });
        Box::pin(std::future::ready(all.collect()))
    }
}

fn container(used: node_agent::ContainerUsage) -> ContainerUsage {
    let usage = Usage { cpu_nanocores: used.cpu_nano, memory_bytes: used.memory_bytes };
    ContainerUsage { name: used.name, usage }
}

/// Sets the size of a terminal whenever a new one comes.
fn resizer(terminal: node_agent::Terminal) -> mpsc::Sender<TerminalSize> {
    let (sender, mut sizes) = mpsc::channel::<TerminalSize>(RESIZES);
    tokio::spawn(async move {
        while let Some(size) = sizes.recv().await {
            // The terminal may be gone, and then its program is.
            let _ = terminal.resize(size.width, size.height);
        }
    });
    sender
}

fn status(error: AgentError) -> Status {
    let message = error.to_string();
    match error {
        AgentError::Refused(status) => status,
        AgentError::NoPod(_) | AgentError::NoNode(_) => Status::new(404, Reason::NotFound, message),
        AgentError::NoContainer(_) | AgentError::NotRunning { .. } | AgentError::Invalid(_) => {
            Status::bad_request(message)
        }
        AgentError::NotSupported(_) => Status::new(501, Reason::NotImplemented, message),
        AgentError::Io { .. } => Status::internal(message),
    }
}
