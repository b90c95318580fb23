//! One connection and the request that it carries. Never blocks.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::wire::{Answer, Expect, Fault, Progress};

/// A request on its way.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) index: usize,
    pub(crate) scheduled: Duration,
    pub(crate) sent: Duration,
    pub(crate) input_asked: u32,
    pub(crate) output_asked: u32,
    pub(crate) reused: bool,
    pub(crate) retried: bool,
}

/// What an event on a connection led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing to tell yet.
    Waiting,
    /// The answer is there, or will never be.
    Done {
        /// Whether the connection can carry another request.
        reusable: bool,
        /// Why there is no answer, if there is none.
        fault: Option<Fault>,
    },
    /// There is no connection.
    Refused(String),
    /// It carries nothing and cannot any more.
    Stale,
}

/// One connection. Its buffers are used for one request after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    connected: bool,
    out: Vec<u8>,
    written: usize,
    pub(crate) answer: Answer,
    pub(crate) exchange: Option<Exchange>,
}

impl Connection {
    /// Asks for a connection.
    pub(crate) fn open(
        address: SocketAddr,
        registry: &Registry,
        token: Token,
        expect: Expect,
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        // A request in two packets must not wait for the first one's acknowledgement.
        socket.set_nodelay(true)?;
        // Once for both, edge-triggered: nothing has to be registered again for the life of the connection.
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let answer = Answer::new(expect);
        Ok(Self { socket, connected: false, out: Vec::new(), written: 0, answer, exchange: None })
    }

    /// Takes the bytes of a request, gives back an empty buffer, and sends what it can.
    pub(crate) fn begin(&mut self, exchange: Exchange, out: &mut Vec<u8>) {
        std::mem::swap(&mut self.out, out);
        self.written = 0;
        self.exchange = Some(exchange);
        if self.connected {
            self.flush();
        }
    }

    /// Takes the request and its bytes away, to send them elsewhere.
    pub(crate) fn give_up(&mut self) -> Option<(Exchange, Vec<u8>)> {
        Some((self.exchange.take()?, std::mem::take(&mut self.out)))
    }

    /// The socket may be ready. The time at which something was read comes back with what it led to.
    pub(crate) fn ready(
        &mut self,
        buffer: &mut [u8],
        read_closed: bool,
        epoch: Instant,
    ) -> (Turn, Duration) {
        if !self.connected {
            match self.connected() {
                Ok(true) => self.connected = true,
                Ok(false) => return (Turn::Waiting, epoch.elapsed()),
                Err(error) => return (Turn::Refused(error.to_string()), epoch.elapsed()),
            }
        }
        if self.written < self.out.len() {
            self.flush();
        }
        self.read(buffer, read_closed, epoch)
    }

    fn connected(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(written) if written > 0 => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The server takes no more. It may have said why before: reading tells.
                _ => return,
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8], read_closed: bool, epoch: Instant) -> (Turn, Duration) {
        loop {
            let read = self.socket.read(buffer);
            let at = epoch.elapsed();
            let Some(exchange) = &self.exchange else {
                let idle = matches!(&read, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
                return (if idle { Turn::Waiting } else { Turn::Stale }, at);
            };
            // Saturates after 71 minutes; no request takes longer.
            let since = at.saturating_sub(exchange.sent).as_micros();
            let at_us = u32::try_from(since).unwrap_or(u32::MAX);
            let (progress, drained) = match read {
                Ok(0) => (self.answer.closed(at_us), true),
                // A short read took all there was, unless the end of the stream follows (epoll(7)).
                Ok(length) => {
                    let drained = length < buffer.len() && !read_closed;
                    (self.answer.feed(&buffer[..length], at_us), drained)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (Turn::Waiting, at);
                }
                Err(_) => (self.answer.closed(at_us), true),
            };
            match progress {
                Progress::Done { reusable, fault } => {
                    let reusable = reusable && self.written == self.out.len();
                    return (Turn::Done { reusable, fault }, at);
                }
                Progress::More if drained => return (Turn::Waiting, at),
                Progress::More => {}
            }
        }
    }
}
