//! Connections to a pod's ports.

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::{Reason, Status};
use bytes::{Bytes, BytesMut};
use object_store::ObjectRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::channels::{Channels, Message, WAITING};
use super::upgrade::{self, Wanted};
use super::{pod, websocket};
use crate::answer::Answer;
use crate::node_proxy::NodeProxy;
use crate::resource::Request;
use crate::spdy::{self, Event, Out};

/// The protocol in which a WebSocket carries SPDY, as kubectl does since 1.31.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The protocol in which a WebSocket carries channels.
const CHANNELS: &str = "v4.channel.k8s.io";
/// The protocol on SPDY.
const SPDY: &str = "portforward.k8s.io";
/// Ports of one request on channels.
const PORTS: usize = 64;
/// Bytes that are read at once.
const READ: usize = 32 * 1024;

/// GET or POST of `portforward`.
pub(crate) async fn forward(request: &mut Request) -> Answer {
    let pod = pod(request)?;
    let wanted = Wanted::read(&request.headers)?;
    let protocol = match &wanted {
        Wanted::WebSocket { .. } => wanted.choose(&[TUNNEL, CHANNELS]),
        Wanted::Spdy { .. } => wanted.choose(&[SPDY]),
    };
    let protocol = protocol.ok_or_else(|| {
        let message = "the client speaks none of the server's protocols: SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io, portforward.k8s.io";
        Status::new(403, Reason::Forbidden, message)
    })?;
    let ports = if protocol == CHANNELS { ports(request)? } else { Vec::new() };
    let upgrade =
        request.upgrade.take().ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let response = wanted.accept(Some(protocol));
    let target = Target { nodes: Arc::clone(&request.server.nodes), pod };
    let stopped = request.server.stopped();
    tokio::spawn(async move {
        let Some(raw) = upgrade::raw(upgrade).await else { return };
        let running = async {
            match protocol {
                CHANNELS => {
                    let channels = websocket::channels(upgrade::socket(raw).await);
                    on_channels(target, channels, &ports).await;
                }
                TUNNEL => on_spdy(target, websocket::tunnel(upgrade::socket(raw).await)).await,
                _ => on_spdy(target, raw).await,
            }
        };
        tokio::select! {
            () = running => {}
            () = stopped => {}
        }
    });
    Ok(response)
}

fn ports(request: &Request) -> Result<Vec<u16>, Status> {
    let words = request.query.all("ports").into_iter().flat_map(|all| all.split(','));
    let ports: Option<Vec<u16>> =
        words.map(|word| word.parse().ok().filter(|port| *port > 0)).collect();
    match ports {
        Some(ports) if (1..=PORTS).contains(&ports.len()) => Ok(ports),
        _ => Err(Status::bad_request(format!(
            "query parameter \"ports\" must name 1 to {PORTS} ports"
        ))),
    }
}

/// Where connections go.
#[derive(Clone)]
struct Target {
    nodes: Arc<dyn NodeProxy>,
    pod: ObjectRef,
}

/// Ports on channels: two for each, for bytes and for errors, which both begin with the port's number.
async fn on_channels(target: Target, channels: Channels, ports: &[u16]) {
    let Channels { mut incoming, outgoing } = channels;
    let mut inputs: HashMap<u32, mpsc::Sender<Option<Bytes>>> = HashMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    for (index, port) in (0u32..).zip(ports) {
        let (data, error) = (index * 2, index * 2 + 1);
        for channel in [data, error] {
            let number = Bytes::copy_from_slice(&port.to_le_bytes());
            if outgoing.send((channel, Some(number))).await.is_err() {
                return;
            }
        }
        let (input, read) = mpsc::channel(WAITING);
        inputs.insert(data, input);
        let (target, port, outgoing) = (target.clone(), *port, outgoing.clone());
        tasks.spawn(async move {
            let way = Way::Channel(outgoing.clone(), data);
            if let Err(why) = connect(&target, port, read, &way).await {
                let _: Result<(), mpsc::error::SendError<Message>> =
                    outgoing.send((error, Some(Bytes::from(why)))).await;
            }
        });
    }
    drop(outgoing);
    loop {
        tokio::select! {
            message = incoming.recv() => {
                let Some((channel, bytes)) = message else { return };
                if let Some(input) = inputs.get(&channel) {
                    let _ = input.send(bytes).await;
                }
            }
            done = tasks.join_next() => {
                if done.is_none() {
                    return;
                }
            }
        }
    }
}

/// Ports on SPDY: a pair of streams for each connection, for errors and for bytes.
async fn on_spdy(target: Target, wire: impl AsyncRead + AsyncWrite + Send + 'static) {
    let (events, mut coming) = mpsc::channel(WAITING);
    let (going, outgoing) = mpsc::channel(WAITING);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        if let Err(error) = spdy::serve(wire, events, outgoing).await {
            tracing::debug!(%error, "a SPDY connection ended early");
        }
    });
    let mut errors: HashMap<String, u32> = HashMap::new();
    let mut inputs: HashMap<u32, mpsc::Sender<Option<Bytes>>> = HashMap::new();
    while let Some(event) = coming.recv().await {
        match event {
            Event::Open(stream, headers) => {
                let header = |name: &str| {
                    headers
                        .iter()
                        .find(|(one, _)| one == name)
                        .map_or("", |(_, value)| value.as_str())
                };
                let id = header("requestid").to_owned();
                if header("streamtype") == "error" {
                    errors.insert(id, stream);
                    continue;
                }
                let (error, port) = (errors.remove(&id), header("port").parse::<u16>());
                let (Some(error), Ok(port)) = (error, port) else {
                    let _ = going.send(Out::Reset(stream)).await;
                    continue;
                };
                let (input, read) = mpsc::channel(WAITING);
                inputs.insert(stream, input);
                tasks.spawn(pair(target.clone(), port, (stream, error), read, going.clone()));
            }
            Event::Data(stream, bytes) => {
                if let Some(input) = inputs.get(&stream) {
                    let _ = input.send(Some(bytes)).await;
                }
            }
            Event::Fin(stream) => {
                if let Some(input) = inputs.get(&stream) {
                    let _ = input.send(None).await;
                }
            }
            Event::Reset(stream) => drop(inputs.remove(&stream)),
        }
        inputs.retain(|_, input| !input.is_closed());
        while tasks.try_join_next().is_some() {}
    }
}

async fn pair(
    target: Target,
    port: u16,
    (data, error): (u32, u32),
    read: mpsc::Receiver<Option<Bytes>>,
    going: mpsc::Sender<Out>,
) {
    let way = Way::Spdy(going.clone(), data);
    let done = connect(&target, port, read, &way).await;
    if let Err(why) = done {
        let _ = going.send(Out::Data(error, Bytes::from(why))).await;
        let _ = going.send(Out::Fin(data)).await;
    }
    let _ = going.send(Out::Fin(error)).await;
    // Both sides have said all; the streams' numbers are free for the connection's bound.
    for stream in [data, error] {
        let _ = going.send(Out::Reset(stream)).await;
    }
}

/// Where a port's bytes go.
enum Way {
    Channel(mpsc::Sender<Message>, u32),
    Spdy(mpsc::Sender<Out>, u32),
}

impl Way {
    /// Sends bytes, or that there are no more; false when nobody takes them.
    async fn send(&self, bytes: Option<Bytes>) -> bool {
        match self {
            Self::Channel(to, channel) => to.send((*channel, bytes)).await.is_ok(),
            Self::Spdy(to, stream) => {
                let out = bytes.map_or(Out::Fin(*stream), |bytes| Out::Data(*stream, bytes));
                to.send(out).await.is_ok()
            }
        }
    }
}

/// Joins a pod's port to a client's stream until both directions are done.
///
/// # Errors
/// Why there is no connection, for people.
async fn connect(
    target: &Target,
    port: u16,
    mut read: mpsc::Receiver<Option<Bytes>>,
    way: &Way,
) -> Result<(), String> {
    let connection = target.nodes.port_forward(Arc::clone(&target.pod), port).await;
    let connection = connection
        .map_err(|status| format!("an error occurred forwarding to port {port}: {status}"))?;
    let (mut from, mut to) = tokio::io::split(connection);
    let input = async {
        while let Some(Some(bytes)) = read.recv().await {
            if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
        // The pod may not listen any more.
        let _ = to.shutdown().await;
    };
    let output = async {
        let mut buffer = BytesMut::with_capacity(READ);
        while let Ok(1..) = from.read_buf(&mut buffer).await {
            if !way.send(Some(buffer.split().freeze())).await {
                return;
            }
            buffer.reserve(READ);
        }
        way.send(None).await;
    };
    let (mut input, mut output) = (std::pin::pin!(input), std::pin::pin!(output));
    // A pod that has ended its side has answered: clients of a forwarded port do not wait to be told twice.
    tokio::select! {
        () = &mut output => {}
        () = &mut input => output.await,
    }
    Ok(())
}
