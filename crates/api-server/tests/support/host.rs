//! Nodes whose pods are this machine: commands run as processes, ports are this machine's.

use std::process::Stdio;
use std::time::Duration;

use api_server::{
    BoxFuture, ByteStream, ContainerUsage, Duplex, ExecOptions, LogOptions, NodeProxy, NodeUsage,
    PodUsage, Session, Usage,
};
use apimachinery::{Meta, Status};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use object_store::ObjectRef;
use tokio::net::TcpStream;
use tokio::process::Command;

/// See the module.
pub struct Host;

impl NodeProxy for Host {
    fn logs(
        &self,
        pod: ObjectRef,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<ByteStream, Status>> {
        Box::pin(async move {
            let name = pod.value().name().to_owned();
            let lines = ["first", "second", "third"].map(|word| format!("{word} of {name}\n"));
            let skip = options.tail_lines.map_or(0, |tail| 3usize.saturating_sub(tail as usize));
            let lines =
                stream::iter(lines.into_iter().skip(skip).map(|line| Ok(Bytes::from(line))));
            let never = stream::pending().take(usize::from(options.follow));
            Ok(Box::pin(lines.chain(never)) as ByteStream)
        })
    }

    fn exec(&self, _: ObjectRef, options: ExecOptions) -> BoxFuture<'_, Result<Session, Status>> {
        Box::pin(async move {
            let pipe = |on: bool| if on { Stdio::piped() } else { Stdio::null() };
            let (program, arguments) = options.command.split_first().unwrap();
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(pipe(options.stdin))
                .stdout(pipe(options.stdout))
                .stderr(pipe(options.stderr))
                .kill_on_drop(true)
                .spawn()
                .map_err(Status::internal)?;
            Ok(Session {
                stdin: child.stdin.take().map(|to| Box::pin(to) as _),
                stdout: child.stdout.take().map(|from| Box::pin(from) as _),
                stderr: child.stderr.take().map(|from| Box::pin(from) as _),
                resize: None,
                exit: Box::pin(async move {
                    let status = child.wait().await.map_err(Status::internal)?;
                    Ok(status.code().unwrap_or(137))
                }),
            })
        })
    }

    fn attach(
        &self,
        pod: ObjectRef,
        options: ExecOptions,
    ) -> BoxFuture<'_, Result<Session, Status>> {
        self.exec(pod, ExecOptions { command: vec!["cat".to_owned()], ..options })
    }

    fn port_forward(
        &self,
        _: ObjectRef,
        port: u16,
    ) -> BoxFuture<'_, Result<Box<dyn Duplex>, Status>> {
        Box::pin(async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(Status::internal)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }

    fn pod_usage(&self) -> BoxFuture<'_, Vec<PodUsage>> {
        let usage = Usage { cpu_nanocores: 250_000_000, memory_bytes: 64 << 20 };
        Box::pin(async move {
            vec![PodUsage {
                namespace: "default".to_owned(),
                name: "main".to_owned(),
                at: Timestamp::UNIX_EPOCH,
                window: Duration::from_secs(15),
                containers: vec![ContainerUsage { name: "main".to_owned(), usage }],
            }]
        })
    }

    fn node_usage(&self) -> BoxFuture<'_, Vec<NodeUsage>> {
        let usage = Usage { cpu_nanocores: 1_500_000_000, memory_bytes: 1 << 30 };
        Box::pin(async move {
            vec![NodeUsage {
                name: "node-1".to_owned(),
                at: Timestamp::UNIX_EPOCH,
                window: Duration::from_secs(15),
                usage,
            }]
        })
    }
}
