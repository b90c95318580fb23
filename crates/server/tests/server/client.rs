//! A minimal HTTP client over a plain socket, so that tests decide when to read and when to hang up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No answer of a test takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A whole answer, its body de-chunked.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.split_once(": ").filter(|(n, _)| *n == name).is_some();
        self.headers.lines().find(|l| line(l)).and_then(|l| l.split_once(": ")).map(|(_, v)| v)
    }

    /// The JSON of each frame but `[DONE]`, which must be last.
    pub(crate) fn frames(&self) -> Vec<Value> {
        let mut data: Vec<&str> = protocol::sse::data(&self.body).collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{}", self.body);
        data.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
    }
}

/// A request that was sent and not answered yet. Dropping it hangs up.
pub(crate) struct Pending(TcpStream);

impl Pending {
    /// Reads to the end.
    pub(crate) fn reply(mut self) -> Reply {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).unwrap();
        parse(&bytes)
    }

    /// Reads to the end, where a start was read already.
    pub(crate) fn rest(mut self, seen: &str) -> Reply {
        let mut bytes = seen.as_bytes().to_vec();
        self.0.read_to_end(&mut bytes).unwrap();
        parse(&bytes)
    }

    /// Reads until `text` came.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(text.as_bytes()) {
            let read = self.0.read(&mut byte).unwrap();
            assert!(read > 0, "the answer ended: {}", String::from_utf8_lossy(&seen));
            seen.push(byte[0]);
        }
        String::from_utf8(seen).unwrap()
    }
}

fn parse(bytes: &[u8]) -> Reply {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("headers end");
    let headers = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    let body = &bytes[end + 4..];
    let chunked = headers.contains("transfer-encoding: chunked");
    let body = if chunked { dechunk(body) } else { body.to_vec() };
    Reply { status, headers, body: String::from_utf8(body).unwrap() }
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|w| w == b"\r\n").expect("a chunk's length");
        let length = std::str::from_utf8(&bytes[..line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[line + 2..line + 2 + length]);
        bytes = &bytes[line + 2 + length + 2..];
    }
}

/// Sends raw bytes.
pub(crate) fn send_raw(to: SocketAddr, bytes: &[u8]) -> Pending {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    Pending(stream)
}

/// Sends a request with these header lines, each ended by CR LF.
pub(crate) fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Pending {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    send_raw(to, &bytes)
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

pub(crate) fn send_json(to: SocketAddr, path: &str, body: &Value) -> Pending {
    send(to, "POST", path, JSON, body.to_string().as_bytes())
}

pub(crate) fn post(to: SocketAddr, path: &str, body: &Value) -> Reply {
    send_json(to, path, body).reply()
}

pub(crate) fn get(to: SocketAddr, path: &str) -> Reply {
    send(to, "GET", path, "", b"").reply()
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Replaces what differs between runs.
pub(crate) fn redact(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some(at) = rest.find("cmpl-").map(|at| at + 5) {
        out.push_str(&rest[..at]);
        out.push_str("ID");
        rest = rest[at..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out.push_str(rest);
    let mut parts = out.split("\"created\":");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str("\"created\":0");
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}
