//! Endpoints that do as they are told, a router before them, and a client that reads byte by byte if it must.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is a failed test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proxy::{Member, Membership, Router, Settings};
use routing::{Direct, RoundRobin};

/// Long enough for a busy machine, short enough to be noticed.
const LIMIT: Duration = Duration::from_secs(60);

/// What an endpoint does with each request. Health is always well.
#[derive(Clone)]
pub(crate) enum Script {
    /// Sends these bytes, and waits for the next request.
    Bytes(&'static str),
    /// Sends these bytes, and hangs up.
    BytesThenClose(&'static str),
    /// Sends the body back.
    Echo,
    /// Sends these pieces as chunks, each when told to go on, and then the end.
    Stream(Vec<&'static str>),
    /// The same, but hangs up instead of an end.
    BrokenStream(Vec<&'static str>),
}

impl Script {
    pub(crate) fn unary(_: &'static str) -> Self {
        Self::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }
}

struct State {
    script: Script,
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    hung_up: AtomicUsize,
    go: Mutex<Receiver<()>>,
}

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    go: SyncSender<()>,
}

impl Backend {
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (go, told) = sync_channel(64);
        let state = Arc::new(State {
            script,
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            hung_up: AtomicUsize::new(0),
            go: Mutex::new(told),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || {
                    let _client_gone = answer(stream, &state);
                });
            }
        });
        Self { address, state, go }
    }

    pub(crate) fn go_on(&self) {
        self.go.send(()).unwrap();
    }

    /// Requests that were not about health.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Whether somebody hung up on a stream in time.
    pub(crate) fn hung_up(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.state.hung_up.load(Ordering::SeqCst) == 0 {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

fn answer(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::new();
    let mut counted = false;
    while let Some((head, body)) = read_request(&mut stream, &mut input)? {
        if head.starts_with("GET /health ") {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            return Ok(());
        }
        if head.starts_with("GET /metrics ") {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        if !std::mem::replace(&mut counted, true) {
            state.connections.fetch_add(1, Ordering::SeqCst);
        }
        let text = format!("{head}{}", String::from_utf8_lossy(&body));
        state.requests.lock().unwrap().push(text);
        match &state.script {
            Script::Bytes(bytes) => stream.write_all(bytes.as_bytes())?,
            Script::BytesThenClose(bytes) => {
                stream.write_all(bytes.as_bytes())?;
                return Ok(());
            }
            Script::Echo => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat())?;
            }
            Script::Stream(pieces) => {
                events(&mut stream, state, pieces)?;
                wait(&mut stream, state)?;
                stream.write_all(b"0\r\n\r\n")?;
            }
            Script::BrokenStream(pieces) => {
                events(&mut stream, state, pieces)?;
                return wait(&mut stream, state);
            }
        }
    }
    Ok(())
}

fn events(stream: &mut TcpStream, state: &State, pieces: &[&str]) -> std::io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    for piece in pieces {
        wait(stream, state)?;
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes())?;
    }
    Ok(())
}

/// Until it is told to go on, or the other side hangs up.
fn wait(stream: &mut TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(5)))?;
    loop {
        if state.go.lock().unwrap().try_recv().is_ok() {
            return stream.set_read_timeout(None);
        }
        match stream.read(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => {
                state.hung_up.fetch_add(1, Ordering::SeqCst);
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
    }
}

/// A head and its body; what follows stays in `input`.
fn read_request(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
) -> std::io::Result<Option<(String, Vec<u8>)>> {
    loop {
        let end = input.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&input[..end]).into_owned();
            let lower = head.to_lowercase();
            let length = lower.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
            if input.len() >= end + length {
                let body = input[end..end + length].to_vec();
                input.drain(..end + length);
                return Ok(Some((head, body)));
            }
        }
        let mut piece = [0; 16 << 10];
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            count => input.extend_from_slice(&piece[..count]),
        }
    }
}

/// A running router.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) membership: Membership,
    drain: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a router before these, and waits until all of them are ready.
pub(crate) fn serve(backends: &[&Backend]) -> Running {
    serve_with(Settings::local(), backends)
}

/// The same, otherwise than usual.
pub(crate) fn serve_with(settings: Settings, backends: &[&Backend]) -> Running {
    let router = Router::bind(settings, Box::new(Direct::new(RoundRobin::default())));
    let router = router.unwrap();
    let address = router.address();
    let membership = router.membership();
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    membership.set(Member::fixed(&addresses));
    let (drain, drained) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(router.run(async { drop(drained.await) })).unwrap();
    });
    let running = Running { address, membership, drain: Some(drain), thread: Some(thread) };
    let all = format!("\nllm_router_endpoints_ready {}.0\n", backends.len());
    let until = Instant::now() + LIMIT;
    loop {
        let mut client = Client::connect(&running);
        client.send("GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        if client.rest().contains(&all) {
            return running;
        }
        assert!(Instant::now() < until, "the endpoints were not ready in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Running {
    pub(crate) fn drain(&mut self) {
        drop(self.drain.take());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        let until = Instant::now() + LIMIT;
        let Some(thread) = self.thread.take() else { return true };
        while !thread.is_finished() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        thread.join().is_ok()
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(router: &Running) -> Self {
        let stream = TcpStream::connect(router.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self { stream, input: Vec::new() }
    }

    pub(crate) fn clone_socket(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn more(&mut self) -> bool {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&piece[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&self.input)),
        }
    }

    /// Until this has come.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.input).contains(text) {
            assert!(self.more(), "no {text:?} in {:?}", String::from_utf8_lossy(&self.input));
        }
    }

    /// Forgets what has come.
    pub(crate) fn forget(&mut self) {
        self.input.clear();
    }

    /// One whole answer, by its length or its last chunk.
    pub(crate) fn answer(&mut self) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.input).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let lower = head.to_lowercase();
                let length =
                    lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let whole = match length {
                    Some(length) => {
                        let length: usize = length.parse().unwrap();
                        (body.len() >= length).then_some(head.len() + 4 + length)
                    }
                    None => body
                        .find("0\r\n\r\n")
                        .filter(|at| *at == 0 || body[..*at].ends_with("\r\n"))
                        .map(|at| head.len() + 4 + at + 5),
                };
                if let Some(end) = whole {
                    self.input.drain(..end);
                    return text[..end].to_owned();
                }
            }
            assert!(self.more(), "an answer with an end, not {text:?}");
        }
    }

    pub(crate) fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.input)).into_owned()
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        !self.more()
    }
}
