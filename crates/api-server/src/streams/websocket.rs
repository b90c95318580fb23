//! Channels on a WebSocket: the first byte of each message is the channel.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::channels::{Channels, Message, WAITING};
use super::upgrade::Socket;

/// The channel on which version 5 says that another one is closed.
const CLOSE: u32 = 255;
/// Bytes of a tunnel's message, and of its buffer.
const TUNNEL: usize = 64 * 1024;

/// Channels on a WebSocket. Only clients say that a single channel ends, and only in version 5.
pub(super) fn channels(socket: Socket) -> Channels {
    let (come, incoming) = mpsc::channel(WAITING);
    let (outgoing, go) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        if let Err(error) = run(socket, come, go).await {
            tracing::debug!(%error, "a WebSocket ended early");
        }
    });
    Channels { incoming, outgoing }
}

type Outcome = Result<(), tokio_tungstenite::tungstenite::Error>;

async fn run(
    socket: Socket,
    come: mpsc::Sender<Message>,
    mut go: mpsc::Receiver<Message>,
) -> Outcome {
    let (mut sink, mut stream) = socket.split();
    let reading = async move {
        while let Some(frame) = stream.next().await {
            let bytes = match frame? {
                Frame::Binary(bytes) => bytes,
                Frame::Text(text) => Bytes::from(text),
                Frame::Close(_) => break,
                Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => continue,
            };
            let Some(message) = read(&bytes) else { continue };
            if come.send(message).await.is_err() {
                // Nobody listens any more; wait for the end of what we have to say.
                std::future::pending::<()>().await;
            }
        }
        Outcome::Ok(())
    };
    let writing = async {
        while let Some((channel, bytes)) = go.recv().await {
            let Some(bytes) = bytes else { continue };
            let mut frame = BytesMut::with_capacity(bytes.len() + 1);
            frame.put_u8(u8::try_from(channel).unwrap_or(u8::MAX));
            frame.put(bytes);
            sink.send(Frame::Binary(frame.freeze())).await?;
        }
        let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        sink.send(Frame::Close(Some(normal))).await?;
        sink.close().await
    };
    tokio::select! {
        done = reading => done,
        done = writing => done,
    }
}

/// A message of a client; none for one that says nothing.
fn read(bytes: &Bytes) -> Option<Message> {
    let channel = u32::from(*bytes.first()?);
    if channel == CLOSE {
        return bytes.get(1).map(|closed| (u32::from(*closed), None));
    }
    Some((channel, Some(bytes.slice(1..))))
}

/// A byte stream in a WebSocket's binary messages.
pub(super) fn tunnel(socket: Socket) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(TUNNEL);
    tokio::spawn(async move {
        if let Err(error) = carry(socket, theirs).await {
            tracing::debug!(%error, "a tunnel ended early");
        }
    });
    ours
}

async fn carry(socket: Socket, stream: DuplexStream) -> io::Result<()> {
    let (mut sink, mut frames) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let coming = async move {
        while let Some(frame) = frames.next().await {
            match frame.map_err(io::Error::other)? {
                Frame::Binary(bytes) => writer.write_all(&bytes).await?,
                Frame::Close(_) => break,
                _ => {}
            }
        }
        writer.shutdown().await
    };
    let going = async {
        let mut buffer = BytesMut::with_capacity(TUNNEL);
        while reader.read_buf(&mut buffer).await? > 0 {
            let bytes = buffer.split().freeze();
            sink.send(Frame::Binary(bytes)).await.map_err(io::Error::other)?;
            buffer.reserve(TUNNEL);
        }
        let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        sink.send(Frame::Close(Some(normal))).await.map_err(io::Error::other)
    };
    tokio::select! {
        done = coming => done,
        done = going => done,
    }
}
