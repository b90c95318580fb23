//! Commands in a container, and its own streams.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Reason, Status};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::channels::{Channels, WAITING};
use super::upgrade::{self, Wanted};
use super::{container, pod, websocket};
use crate::answer::Answer;
use crate::node_proxy::{ExecOptions, Session, TerminalSize};
use crate::resource::Request;
use crate::spdy;

/// Protocols on a WebSocket, the one we like best first.
const WEBSOCKET: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Protocols on SPDY.
const SPDY: &[&str] = &["v4.channel.k8s.io"];
/// What a client gets to open its streams.
const OPEN_TIME: Duration = Duration::from_secs(30);
/// What a command's streams get to end after it has: something it left behind may hold them open.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Bytes that are read at once.
const READ: usize = 32 * 1024;

/// Which channel is what.
#[derive(Clone, Copy)]
struct Ids {
    stdin: u32,
    stdout: u32,
    stderr: u32,
    error: u32,
    resize: u32,
}

/// As numbered on a WebSocket.
const NUMBERED: Ids = Ids { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 };

/// GET or POST of `exec` and `attach`.
pub(crate) async fn exec(request: &mut Request, attach: bool) -> Answer {
    let pod = pod(request)?;
    let options = options(request, pod.value(), attach)?;
    let wanted = Wanted::read(&request.headers)?;
    let protocol = match &wanted {
        Wanted::WebSocket { .. } => wanted.choose(WEBSOCKET),
        Wanted::Spdy { .. } => wanted.choose(SPDY),
    };
    let protocol = protocol.ok_or_else(no_protocol)?;
    let upgrade =
        request.upgrade.take().ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let nodes = Arc::clone(&request.server.nodes);
    let session = if attach {
        nodes.attach(pod, options.clone()).await?
    } else {
        nodes.exec(pod, options.clone()).await?
    };
    let response = wanted.accept(Some(protocol));
    let stopped = request.server.stopped();
    tokio::spawn(async move {
        let Some(raw) = upgrade::raw(upgrade).await else { return };
        let running = async {
            match wanted {
                Wanted::WebSocket { .. } => {
                    let channels = websocket::channels(upgrade::socket(raw).await);
                    run(session, channels, NUMBERED).await;
                }
                Wanted::Spdy { .. } => {
                    if let Some((channels, ids)) = over_spdy(raw, &options).await {
                        run(session, channels, ids).await;
                    }
                }
            }
        };
        tokio::select! {
            () = running => {}
            () = stopped => {}
        }
    });
    Ok(response)
}

fn no_protocol() -> Status {
    let message = "the client speaks none of the server's stream protocols: v5.channel.k8s.io, v4.channel.k8s.io";
    Status::new(403, Reason::Forbidden, message)
}

fn options(request: &Request, pod: &Value, attach: bool) -> Result<ExecOptions, Status> {
    let query = &request.query;
    let options = ExecOptions {
        container: container(pod, query.get("container"))?,
        command: query.all("command").into_iter().map(str::to_owned).collect(),
        stdin: query.is_on("stdin"),
        stdout: query.is_on("stdout"),
        stderr: query.is_on("stderr") && !query.is_on("tty"),
        tty: query.is_on("tty"),
    };
    if !(options.stdin || options.stdout || options.stderr) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if !attach && options.command.is_empty() {
        return Err(Status::bad_request("you must specify a command to run in the container"));
    }
    Ok(options)
}

/// Waits for a client's streams on SPDY; none when it does not open them.
async fn over_spdy(raw: upgrade::Raw, options: &ExecOptions) -> Option<(Channels, Ids)> {
    let (events, mut coming) = mpsc::channel(WAITING);
    let (going, outgoing) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        if let Err(error) = spdy::serve(raw, events, outgoing).await {
            tracing::debug!(%error, "a SPDY connection ended early");
        }
    });
    let wanted = [
        ("error", true),
        ("stdin", options.stdin),
        ("stdout", options.stdout),
        ("stderr", options.stderr),
        ("resize", options.tty),
    ];
    let wanted = wanted.iter().filter(|(_, on)| *on).count();
    let mut found: HashMap<String, u32> = HashMap::new();
    let mut early = Vec::new();
    let opening = async {
        while found.len() < wanted {
            match coming.recv().await? {
                spdy::Event::Open(stream, headers) => {
                    let kind = headers.into_iter().find(|(name, _)| name == "streamtype");
                    found.insert(kind?.1, stream);
                }
                other => early.push(other),
            }
        }
        Some(())
    };
    tokio::time::timeout(OPEN_TIME, opening).await.ok()??;
    // Streams that were not asked for get a number that no stream has.
    let id = |name: &str| found.get(name).copied().unwrap_or(0);
    let ids = Ids {
        stdin: id("stdin"),
        stdout: id("stdout"),
        stderr: id("stderr"),
        error: id("error"),
        resize: id("resize"),
    };
    Some((translate(coming, going, early), ids))
}

fn translate(
    mut coming: mpsc::Receiver<spdy::Event>,
    going: mpsc::Sender<spdy::Out>,
    early: Vec<spdy::Event>,
) -> Channels {
    let (come, incoming) = mpsc::channel(WAITING);
    let (outgoing, mut go) = mpsc::channel::<super::channels::Message>(WAITING);
    tokio::spawn(async move {
        let message = |event| match event {
            spdy::Event::Data(stream, bytes) => Some((stream, Some(bytes))),
            spdy::Event::Fin(stream) | spdy::Event::Reset(stream) => Some((stream, None)),
            spdy::Event::Open(..) => None,
        };
        for event in early.into_iter().filter_map(message) {
            if come.send(event).await.is_err() {
                return;
            }
        }
        while let Some(event) = coming.recv().await {
            if let Some(message) = message(event)
                && come.send(message).await.is_err()
            {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((stream, bytes)) = go.recv().await {
            let out = match bytes {
                Some(bytes) => spdy::Out::Data(stream, bytes),
                None => spdy::Out::Fin(stream),
            };
            if going.send(out).await.is_err() {
                return;
            }
        }
    });
    Channels { incoming, outgoing }
}

/// Joins a command's streams to a client's channels until the command or the client ends.
async fn run(session: Session, channels: Channels, ids: Ids) {
    let Channels { incoming, outgoing } = channels;
    let Session { stdin, stdout, stderr, resize, mut exit } = session;
    let output = async {
        tokio::join!(copy(stdout, ids.stdout, &outgoing), copy(stderr, ids.stderr, &outgoing),);
    };
    let mut output = std::pin::pin!(output);
    let input = feed(incoming, stdin, resize, ids);
    let mut input = std::pin::pin!(input);
    let (mut written, mut fed) = (false, false);
    let code = loop {
        tokio::select! {
            code = &mut exit => break code,
            () = &mut output, if !written => written = true,
            gone = &mut input, if !fed => {
                fed = true;
                if gone {
                    // The client has left: dropping the session ends the command.
                    return;
                }
            }
        }
    };
    if !written {
        let _ = tokio::time::timeout(DRAIN_TIME, output).await;
    }
    let status = status(code).to_string();
    let _ = outgoing.send((ids.error, Some(Bytes::from(status)))).await;
    for channel in [ids.stdout, ids.stderr, ids.error] {
        let _ = outgoing.send((channel, None)).await;
    }
}

async fn copy(
    from: Option<Pin<Box<dyn AsyncRead + Send>>>,
    channel: u32,
    to: &mpsc::Sender<super::channels::Message>,
) {
    let Some(mut from) = from else { return };
    let mut buffer = BytesMut::with_capacity(READ);
    while let Ok(1..) = from.read_buf(&mut buffer).await {
        if to.send((channel, Some(buffer.split().freeze()))).await.is_err() {
            return;
        }
        buffer.reserve(READ);
    }
}

/// Hands a client's input on; true when the client has left.
async fn feed(
    mut incoming: mpsc::Receiver<super::channels::Message>,
    mut stdin: Option<Pin<Box<dyn tokio::io::AsyncWrite + Send>>>,
    resize: Option<mpsc::Sender<TerminalSize>>,
    ids: Ids,
) -> bool {
    while let Some((channel, bytes)) = incoming.recv().await {
        if channel == ids.stdin {
            let done: io::Result<()> = match (&mut stdin, bytes) {
                (Some(to), Some(bytes)) => {
                    async {
                        to.write_all(&bytes).await?;
                        to.flush().await
                    }
                    .await
                }
                (Some(to), None) => to.shutdown().await.and(Err(io::ErrorKind::WriteZero.into())),
                (None, _) => Ok(()),
            };
            if done.is_err() {
                // The command reads no more, or has been told that there is no more.
                stdin = None;
            }
        } else if channel == ids.resize
            && let (Some(resize), Some(bytes)) = (&resize, bytes)
            && let Some(size) = size(&bytes)
        {
            let _ = resize.try_send(size);
        }
    }
    true
}

fn size(bytes: &[u8]) -> Option<TerminalSize> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let read = |name: &str| u16::try_from(value[name].as_u64()?).ok();
    Some(TerminalSize { width: read("Width")?, height: read("Height")? })
}

/// How a command ended, as clients read it.
fn status(code: Result<i32, Status>) -> Value {
    match code {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(status) => status.to_json(),
    }
}
