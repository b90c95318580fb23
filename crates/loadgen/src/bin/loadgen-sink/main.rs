//! A server that costs next to nothing: what generators are measured against.
//!
//! Speaks enough of the OpenAI API for that, and knows no model. Each event of a stream is its own write, one
//! for each stream in turn, so that a client cannot read a whole answer at once unless it lags behind.

mod exchange;

use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use exchange::{Client, State};

const LISTENER: Token = Token(usize::MAX);
/// The most connections; what comes on top is closed.
const MAX_CLIENTS: usize = 1 << 17;
/// Bytes taken from a socket at once.
const READ_BYTES: usize = 64 * 1024;

/// A server that answers at once: GET / and /v1/models, POST /v1/completions and /v1/chat/completions
#[derive(Debug, Parser)]
struct Args {
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Time before the first token, and between two
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    interval: Duration,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let mut listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    Sink::new(&mut listener, args.interval)?.serve(&listener)
}

struct Sink {
    poll: Poll,
    clients: Slab<Client>,
    /// Streams that have an event to send at once, in turn.
    turn: Vec<usize>,
    /// Streams that wait, by time: the earliest on top.
    later: BinaryHeap<std::cmp::Reverse<(Instant, usize)>>,
    interval: Duration,
}

impl Sink {
    fn new(listener: &mut TcpListener, interval: Duration) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(listener, LISTENER, Interest::READABLE)?;
        let later = BinaryHeap::new();
        Ok(Self { poll, clients: Slab::new(), turn: Vec::new(), later, interval })
    }

    fn serve(&mut self, listener: &TcpListener) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let timeout = match (self.turn.is_empty(), self.later.peek()) {
                (false, _) => Some(Duration::ZERO),
                (true, Some(next)) => Some(next.0.0.saturating_duration_since(Instant::now())),
                (true, None) => None,
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept(listener)?;
                } else {
                    self.read(event.token().0, &mut buffer);
                }
            }
            self.stream();
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            match listener.accept() {
                Ok((mut socket, _)) if self.clients.len() < MAX_CLIENTS => {
                    socket.set_nodelay(true)?;
                    let entry = self.clients.vacant_entry();
                    let both = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut socket, Token(entry.key()), both)?;
                    entry.insert(Client::new(socket));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // A connection that is gone again, or no descriptors left: the others go on.
                Err(_) => return Ok(()),
            }
        }
    }

    fn read(&mut self, key: usize, buffer: &mut [u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let was_streaming = client.is_streaming();
        match client.ready(buffer) {
            State::Closed => {
                self.clients.remove(key);
            }
            State::Streaming if !was_streaming => self.schedule(key),
            State::Streaming | State::Idle => {}
        }
    }

    fn schedule(&mut self, key: usize) {
        if self.interval.is_zero() {
            self.turn.push(key);
        } else {
            self.later.push(std::cmp::Reverse((Instant::now() + self.interval, key)));
        }
    }

    /// One event for each stream that is due.
    fn stream(&mut self) {
        let now = Instant::now();
        while let Some(std::cmp::Reverse((at, key))) = self.later.peek().copied()
            && at <= now
        {
            self.later.pop();
            self.turn.push(key);
        }
        for key in std::mem::take(&mut self.turn) {
            // A client that left may have been followed by another under its key, with or without a stream.
            let Some(client) = self.clients.get_mut(key) else { continue };
            match client.event() {
                State::Streaming => self.schedule(key),
                State::Closed => {
                    self.clients.remove(key);
                }
                State::Idle => {}
            }
        }
    }
}
