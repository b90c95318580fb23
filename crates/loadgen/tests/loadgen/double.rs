//! A server whose every answer is a closure. One thread a connection, so that it can block anywhere.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What a test waits for at most: long enough for any machine, short enough for a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// How many came before it, on all connections.
    pub(crate) number: usize,
    /// How many came before it on this connection.
    pub(crate) on_connection: usize,
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn max_tokens(&self) -> usize {
        self.body["max_tokens"].as_u64().unwrap_or(0) as usize
    }
}

/// Writes an answer; says whether the connection stays open.
pub(crate) type Handler = dyn Fn(&Request, &mut TcpStream) -> bool + Send + Sync;

pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Double {
    pub(crate) fn start(
        handler: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let double = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
            over: Arc::default(),
        };
        let handler: Arc<Handler> = Arc::new(handler);
        let (requests, connections) =
            (Arc::clone(&double.requests), Arc::clone(&double.connections));
        let over = Arc::clone(&double.over);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                connections.fetch_add(1, Ordering::SeqCst);
                let (handler, requests) = (Arc::clone(&handler), Arc::clone(&requests));
                std::thread::spawn(move || serve(stream, &requests, &*handler));
            }
        });
        double
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What came in, in order.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener up, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, requests: &Mutex<Vec<Request>>, handler: &Handler) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for on_connection in 0.. {
        let Some(mut request) = read(&mut reader) else { return };
        request.on_connection = on_connection;
        {
            let mut all = requests.lock().unwrap();
            request.number = all.len();
            all.push(request.clone());
        }
        if !handler(&request, &mut stream) {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = head.split(' ').nth(1)?.to_owned();
    Some(Request { number: 0, on_connection: 0, path, head, body })
}

/// A body of known length.
pub(crate) fn whole(stream: &mut TcpStream, status: &str, body: &str) -> bool {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).is_ok()
}

/// The head of a stream.
pub(crate) fn begin(stream: &mut TcpStream) -> bool {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).is_ok()
}

/// One event.
pub(crate) fn event(stream: &mut TcpStream, data: &str) -> bool {
    let frame = format!("data: {data}\n\n");
    let text = format!("{:x}\r\n{frame}\r\n", frame.len());
    stream.write_all(text.as_bytes()).is_ok()
}

/// One token, of a completion and of a chat at once.
pub(crate) fn token(stream: &mut TcpStream) -> bool {
    let choice = json!({"index": 0, "text": " a", "delta": {"content": " a"}});
    event(stream, &json!({"choices": [choice]}).to_string())
}

/// The end of a stream.
pub(crate) fn end(stream: &mut TcpStream, prompt: usize, tokens: usize) -> bool {
    let usage = json!({"prompt_tokens": prompt, "completion_tokens": tokens});
    let last = json!({"index": 0, "text": "", "finish_reason": "length"});
    event(stream, &json!({"choices": [last]}).to_string())
        && event(stream, &json!({"choices": [], "usage": usage}).to_string())
        && event(stream, "[DONE]")
        && stream.write_all(b"0\r\n\r\n").is_ok()
}

/// A whole answer, as asked: a stream or a body; to a GET, a list of models.
pub(crate) fn answer(request: &Request, stream: &mut TcpStream) -> bool {
    let tokens = request.max_tokens();
    let prompt = request.body["prompt"].as_str().unwrap_or("").split(' ').count();
    if request.head.starts_with("GET") {
        return whole(stream, "200 OK", &json!({"data": [{"id": "double"}]}).to_string());
    }
    if request.body["stream"] != true {
        let usage = json!({"prompt_tokens": prompt, "completion_tokens": tokens});
        let choice = json!({"text": "a", "message": {"content": "a"}, "finish_reason": "length"});
        let body = json!({"choices": [choice], "usage": usage});
        return whole(stream, "200 OK", &body.to_string());
    }
    begin(stream) && (0..tokens).all(|_| token(stream)) && end(stream, prompt, tokens)
}

/// Opens once so many came to it: nobody passes before.
pub(crate) struct Gate {
    open_at: usize,
    count: Mutex<usize>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn new(open_at: usize) -> Arc<Self> {
        Arc::new(Self { open_at, count: Mutex::new(0), opened: Condvar::new() })
    }

    /// Waits until it opens; whether it did.
    pub(crate) fn pass(&self) -> bool {
        let mut count = self.count.lock().unwrap();
        *count += 1;
        self.opened.notify_all();
        let closed = |count: &mut usize| *count < self.open_at;
        !self.opened.wait_timeout_while(count, PATIENCE, closed).unwrap().1.timed_out()
    }
}
