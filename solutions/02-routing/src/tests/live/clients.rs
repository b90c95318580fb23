//! Clients of the router: streams that are read to their end, and how each ended.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::place::within;
use super::router::Router;

/// Tokens of a stream.
const TOKENS: usize = 40;
/// The longest that a client waits for the next byte.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest wait for so many more streams to end.
const LIMIT: Duration = Duration::from_secs(60);

/// How a stream ended, as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// Every token that was asked for, and `[DONE]`.
    Complete,
    /// `[DONE]` after another number of tokens.
    Miscounted { tokens: usize, asked: usize },
    /// An event that says error, and `[DONE]`, after so many tokens of this engine.
    ErrorEvent { tokens: usize, engine: String },
    /// Another status than 200, and the reason that came with it.
    Refused { status: u16, message: String },
    /// No connection, or one that broke, after so many tokens.
    Broken { tokens: usize },
}

/// A stream under way.
pub(super) struct Stream {
    reader: Option<BufReader<TcpStream>>,
    asked: usize,
    /// Tokens that came. An event may hold several.
    tokens: usize,
    /// The engine that they came from, which calls its model by its pod's name; empty before the first.
    engine: String,
}

/// What a line of a stream tells.
enum Event {
    Status(u16),
    Tokens,
    Error,
    Done,
}

impl Stream {
    /// Asks for so many tokens, of whatever the engine calls its model.
    pub(super) fn open(to: SocketAddr, tokens: usize) -> Self {
        let body = format!(
            "{{\"prompt\":\"Tell me about rivers\",\"max_tokens\":{tokens},\"ignore_eos\":true,\
             \"stream\":true,\"return_token_ids\":true}}"
        );
        let reader = send(to, &body).ok().map(BufReader::new);
        Self { reader, asked: tokens, tokens: 0, engine: String::new() }
    }

    /// Whether it goes on, and no token comes for so long.
    pub(super) fn is_silent(&mut self, patience: Duration) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        if reader.get_ref().set_read_timeout(Some(patience)).is_err() {
            return false;
        }
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) => return false,
                Ok(_) if line.starts_with("data: ") => return false,
                // Of the head.
                Ok(_) => {}
                Err(error) => {
                    return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            }
        }
    }

    /// The pod whose tokens it has read; empty before the first.
    pub(super) fn engine(&self) -> &str {
        &self.engine
    }

    /// Reads so many events with tokens; whether they came.
    pub(super) fn read_events(&mut self, count: usize) -> bool {
        let begun = matches!(self.event(), Some(Event::Status(200)));
        begun && (0..count).all(|_| matches!(self.event(), Some(Event::Tokens)))
    }

    /// The next line that tells something. `None` at the end.
    fn event(&mut self) -> Option<Event> {
        loop {
            let mut line = String::new();
            let read = self.reader.as_mut()?.read_line(&mut line).ok()?;
            if read == 0 {
                return None;
            }
            // Framing of chunks and empty lines stand between.
            if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
                let status = status.split(' ').next().and_then(|digits| digits.parse().ok());
                return Some(Event::Status(status.unwrap_or(0)));
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(self.take(data.trim_end()));
            }
        }
    }

    fn take(&mut self, data: &str) -> Event {
        if data == "[DONE]" {
            return Event::Done;
        }
        let chunk: Value = serde_json::from_str(data).unwrap_or_default();
        let Some(choice) = chunk.pointer("/choices/0") else { return Event::Error };
        self.tokens += choice["token_ids"].as_array().map_or(0, Vec::len);
        if let Some(engine) = chunk["model"].as_str() {
            engine.clone_into(&mut self.engine);
        }
        Event::Tokens
    }

    /// What an answer with an error says, in OpenAI's form.
    fn message(&mut self) -> String {
        let mut text = String::new();
        let _cut_off = self.reader.as_mut().map(|reader| reader.read_to_string(&mut text));
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let error: Value = serde_json::from_str(body).unwrap_or_default();
        error["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Reads it to its end.
    pub(super) fn ending(mut self) -> Ending {
        let mut error = false;
        loop {
            match self.event() {
                Some(Event::Status(200) | Event::Tokens) => {}
                Some(Event::Status(status)) => {
                    return Ending::Refused { status, message: self.message() };
                }
                Some(Event::Error) => error = true,
                Some(Event::Done) => break,
                None => return Ending::Broken { tokens: self.tokens },
            }
        }
        let Self { tokens, asked, engine, .. } = self;
        match error {
            true => Ending::ErrorEvent { tokens, engine },
            false if tokens == asked => Ending::Complete,
            false => Ending::Miscounted { tokens, asked },
        }
    }
}

fn send(to: SocketAddr, body: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: router\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    Ok(stream)
}

fn status(stream: TcpStream) -> Option<(u16, String)> {
    let mut text = String::new();
    BufReader::new(stream).read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
}

/// The status of the answer to this body.
pub(super) fn post(to: SocketAddr, body: &str) -> Option<u16> {
    status(send(to, body).ok()?).map(|(status, _)| status)
}

/// A page, with its status.
pub(super) fn get(from: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(from).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    status(stream)
}

/// Clients of a router, each with one stream after the other.
pub(super) struct Load<'a> {
    router: Router<'a>,
    ended: Arc<AtomicBool>,
    endings: Arc<Mutex<Vec<Ending>>>,
    clients: Vec<JoinHandle<()>>,
}

impl<'a> Load<'a> {
    pub(super) fn start(router: Router<'a>, clients: usize) -> Self {
        let (ended, endings) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let client = |_| {
            let (ended, endings) = (ended.clone(), Arc::clone(&endings));
            let address = router.address;
            std::thread::spawn(move || client(address, &ended, &endings))
        };
        let clients = (0..clients).map(client).collect();
        Self { router, ended, endings, clients }
    }

    /// Streams that have ended.
    pub(super) fn count(&self) -> usize {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until so many more streams have ended.
    pub(super) fn wait_for_more(&self, more: usize) {
        let goal = self.count() + more;
        if !within(LIMIT, || self.count() >= goal) {
            let why =
                format!("{more} streams took longer than {LIMIT:?}: is the machine too busy?");
            self.router.give_up(&why);
        }
    }

    /// Lets the streams under way end, and says how all ended.
    pub(super) fn stop(self) -> Vec<Ending> {
        self.ended.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| drop(client.join()));
        std::mem::take(&mut *self.endings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Endings that are kept; more say no more.
const KEPT: usize = 100_000;

fn client(router: SocketAddr, ended: &AtomicBool, endings: &Mutex<Vec<Ending>>) {
    while !ended.load(Ordering::Relaxed) {
        let ending = Stream::open(router, TOKENS).ending();
        let failed = ending != Ending::Complete;
        let mut endings = endings.lock().unwrap_or_else(PoisonError::into_inner);
        if endings.len() < KEPT {
            endings.push(ending);
        }
        drop(endings);
        if failed {
            // Not as fast as errors come.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
