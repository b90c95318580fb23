//! A connection of which we are the server: streams come, bytes go both ways.

use std::collections::HashSet;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::frame::Frame;
use super::headers::{Headers, Packer, Unpacker};

/// Streams of one connection at once. A browser over a forwarded port opens dozens.
const STREAMS: usize = 1024;
/// Bytes that are read at once.
const READ: usize = 64 * 1024;
/// What a stream that is too many is told: refused.
const REFUSED: u32 = 3;

/// What comes.
#[derive(Debug)]
pub(crate) enum Event {
    /// A new stream.
    Open(u32, Headers),
    /// Bytes of a stream.
    Data(u32, Bytes),
    /// No more bytes will come on a stream.
    Fin(u32),
    /// A stream is over, both ways.
    Reset(u32),
}

/// What goes.
#[derive(Debug)]
pub(crate) enum Out {
    /// Bytes of a stream.
    Data(u32, Bytes),
    /// No more bytes will go on a stream.
    Fin(u32),
    /// A stream is over, both ways.
    Reset(u32),
}

/// Serves a connection until either side ends it: the client, or whoever holds `outgoing`'s other end.
pub(crate) async fn serve<T: AsyncRead + AsyncWrite>(
    wire: T,
    events: mpsc::Sender<Event>,
    mut outgoing: mpsc::Receiver<Out>,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(wire);
    let mut connection =
        Connection { packer: Packer::new(), unpacker: Unpacker::new(), open: HashSet::new() };
    let (mut come, mut go) = (BytesMut::new(), BytesMut::new());
    let mut ready = Vec::new();
    loop {
        tokio::select! {
            read = async { come.reserve(READ); reader.read_buf(&mut come).await } => {
                if read? == 0 {
                    return Ok(());
                }
            }
            out = outgoing.recv() => {
                let Some(out) = out else { break };
                connection.put(out, &mut go);
                while let Ok(out) = outgoing.try_recv() {
                    connection.put(out, &mut go);
                    if go.len() > READ {
                        break;
                    }
                }
            }
        }
        let wrong =
            |error: super::frame::WrongFrame| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some(frame) = Frame::take(&mut come).map_err(wrong)? {
            if !connection.take(frame, &mut go, &mut ready)? {
                return Ok(());
            }
        }
        flush(&mut writer, &mut go).await?;
        for event in ready.drain(..) {
            // While nobody takes events, what we have to say must still go out: whoever is to take them may wait for that.
            let mut sending = std::pin::pin!(events.send(event));
            loop {
                tokio::select! {
                    sent = &mut sending => match sent {
                        Ok(()) => break,
                        Err(_) => return Ok(()),
                    },
                    out = outgoing.recv() => match out {
                        Some(out) => {
                            connection.put(out, &mut go);
                            flush(&mut writer, &mut go).await?;
                        }
                        None => break,
                    },
                }
            }
        }
    }
    Frame::GoAway.put(&mut go);
    flush(&mut writer, &mut go).await?;
    writer.shutdown().await
}

async fn flush(writer: &mut (impl AsyncWrite + Unpin), go: &mut BytesMut) -> io::Result<()> {
    if !go.is_empty() {
        writer.write_all_buf(go).await?;
        writer.flush().await?;
    }
    Ok(())
}

struct Connection {
    packer: Packer,
    unpacker: Unpacker,
    open: HashSet<u32>,
}

impl Connection {
    /// Takes a frame; false when the client says that it is over.
    fn take(
        &mut self,
        frame: Frame,
        go: &mut BytesMut,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        match frame {
            Frame::Syn { stream, fin, block } => {
                let headers = self.unpacker.unpack(&block).map_err(wrong)?;
                if self.open.len() >= STREAMS || !self.open.insert(stream) {
                    Frame::Reset { stream, status: REFUSED }.put(go);
                    return Ok(true);
                }
                let block = Bytes::from(self.packer.pack(&[]));
                Frame::Reply { stream, block }.put(go);
                events.push(Event::Open(stream, headers));
                if fin {
                    events.push(Event::Fin(stream));
                }
            }
            Frame::Data { stream, fin, bytes } if self.open.contains(&stream) => {
                if !bytes.is_empty() {
                    events.push(Event::Data(stream, bytes));
                }
                if fin {
                    events.push(Event::Fin(stream));
                }
            }
            Frame::Reset { stream, .. } => {
                if self.open.remove(&stream) {
                    events.push(Event::Reset(stream));
                }
            }
            // The history of headers goes on, whoever they are for.
            Frame::Reply { block, .. } | Frame::Headers { block, .. } => {
                self.unpacker.unpack(&block).map_err(wrong)?;
            }
            Frame::Ping { id } => Frame::Ping { id }.put(go),
            Frame::GoAway => return Ok(false),
            Frame::Data { .. } | Frame::Other => {}
        }
        Ok(true)
    }

    fn put(&mut self, out: Out, go: &mut BytesMut) {
        match out {
            Out::Data(stream, bytes) => {
                if self.open.contains(&stream) {
                    Frame::Data { stream, fin: false, bytes }.put(go);
                }
            }
            Out::Fin(stream) => {
                if self.open.contains(&stream) {
                    Frame::Data { stream, fin: true, bytes: Bytes::new() }.put(go);
                }
            }
            Out::Reset(stream) => {
                if self.open.remove(&stream) {
                    Frame::Reset { stream, status: 5 }.put(go);
                }
            }
        }
    }
}
