//! Clients of the router: streams that are read to their end, and how each ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use testbed::unknown;

use super::place::within;

/// Tokens of a stream.
const TOKENS: usize = 40;
/// The longest that a client waits for the next byte.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest wait for so many more streams to end.
const LIMIT: Duration = Duration::from_secs(60);

/// How a stream ended, as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// All tokens, and `[DONE]`.
    Complete,
    /// An event that says error, and `[DONE]`, after so many tokens.
    ErrorEvent { tokens: usize },
    /// Another status than 200.
    Status(u16),
    /// No connection, or one that broke, after so many tokens.
    Broken { tokens: usize },
}

/// A stream under way.
pub(super) struct Stream {
    reader: Option<BufReader<TcpStream>>,
}

impl Stream {
    /// Asks for so many tokens.
    pub(super) fn open(to: SocketAddr, tokens: usize) -> Self {
        let body = format!(
            "{{\"model\":\"m\",\"prompt\":\"Tell me about rivers\",\"max_tokens\":{tokens},\
             \"ignore_eos\":true,\"stream\":true}}"
        );
        Self { reader: send(to, &body).ok().map(BufReader::new) }
    }

    /// The longest wait for each further byte.
    pub(super) fn patience(self, patience: Duration) -> Self {
        if let Some(reader) = &self.reader {
            let _ended = reader.get_ref().set_read_timeout(Some(patience));
        }
        self
    }

    /// Reads so many events; whether they came.
    pub(super) fn read_events(&mut self, count: usize) -> bool {
        let status = self.event();
        let token = |_| matches!(self.event(), Some(event) if event.starts_with("data: "));
        status.is_some_and(|status| status.starts_with("HTTP/1.1 200")) && (0..count).all(token)
    }

    /// The next line of data. `None` at the end.
    fn event(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            let read = self.reader.as_mut()?.read_line(&mut line).ok()?;
            if read == 0 {
                return None;
            }
            // Framing of chunks and empty lines stand between.
            if line.starts_with("data: ") || line.starts_with("HTTP/1.1 ") {
                return Some(line.trim_end().to_owned());
            }
        }
    }

    /// Reads it to its end.
    fn ending(mut self) -> Ending {
        let (mut tokens, mut error) = (0, false);
        while let Some(event) = self.event() {
            if let Some(status) = event.strip_prefix("HTTP/1.1 ") {
                match status.split(' ').next().and_then(|digits| digits.parse().ok()) {
                    Some(200) => {}
                    status => return Ending::Status(status.unwrap_or(0)),
                }
            } else if event == "data: [DONE]" {
                return if error { Ending::ErrorEvent { tokens } } else { Ending::Complete };
            } else if event.contains("\"error\"") {
                error = true;
            } else {
                tokens += 1;
            }
        }
        Ending::Broken { tokens }
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

/// Clients, each with one stream after the other.
pub(super) struct Load {
    ended: Arc<AtomicBool>,
    endings: Arc<Mutex<Vec<Ending>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(router: SocketAddr, clients: usize) -> Self {
        let (ended, endings) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let client = |_| {
            let (ended, endings) = (ended.clone(), Arc::clone(&endings));
            std::thread::spawn(move || client(router, &ended, &endings))
        };
        let clients = (0..clients).map(client).collect();
        Self { ended, endings, clients }
    }

    fn count(&self) -> usize {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until so many more streams have ended.
    pub(super) fn wait_for_more(&self, more: usize) {
        let goal = self.count() + more;
        if !within(LIMIT, || self.count() >= goal) {
            unknown(format!("{more} streams took longer than {LIMIT:?}: the machine is too busy"));
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
