//! A server that answers every completion at once, and writes down when each was asked for.
//!
//! It judges load generators by what a server sees, not by what they say of themselves. It is made for hundreds
//! of requests a second, not for many thousands: a thread serves a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::BenchError;

/// Connections served at once; more are closed.
const CONNECTIONS: usize = 1024;
/// Arrivals that are kept.
const ARRIVALS: usize = 100_000;
/// Longest head of a request, and longest body.
const HEAD_BYTES: u64 = 64 << 10;
const BODY_BYTES: usize = 1 << 20;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// Tokens of an answer.
const TOKENS: usize = 16;

/// Listens on a port of loopback until it is dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    arrivals: Mutex<Vec<Instant>>,
    connections: AtomicUsize,
    ended: AtomicBool,
}

impl Recorder {
    /// Starts on a free port.
    pub(crate) fn start() -> Result<Self, BenchError> {
        let trouble =
            |cause| BenchError::Spawn { program: "a server on loopback".to_owned(), cause };
        let listener = TcpListener::bind("127.0.0.1:0").map_err(trouble)?;
        let address = listener.local_addr().map_err(trouble)?;
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                let serving = accepting.clone();
                if serving.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
                    serving.connections.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                std::thread::spawn(move || {
                    let _hung_up = serve(&stream, &serving);
                    serving.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// When completions were asked for, since the first one; forgets them.
    pub(crate) fn take(&self) -> Vec<Duration> {
        let mut arrivals = self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arrivals = std::mem::take(&mut *arrivals);
        arrivals.sort_unstable();
        let first = arrivals.first().copied();
        arrivals.iter().filter_map(|at| Some(at.duration_since(first?))).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _gone = TcpStream::connect(self.address);
    }
}

/// Answers one request after the other until the client hangs up.
fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        let mut stream = stream;
        stream.write_all(&answer(&request, shared))?;
    }
    Ok(())
}

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
    at: Instant,
}

impl Request {
    fn read(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Self>> {
        let mut head = reader.take(HEAD_BYTES);
        let mut first = String::new();
        if head.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let at = Instant::now();
        let mut length = 0;
        let mut line = String::new();
        while head.read_line(&mut line)? > 2 {
            let value = line
                .split_once(':')
                .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            length = value.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(length);
            line.clear();
        }
        if length > BODY_BYTES {
            return Ok(None);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = first.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Ok(Some(Self { method, path, body, at }))
    }
}

fn answer(request: &Request, shared: &Shared) -> Vec<u8> {
    let (kind, body) = if request.method == "POST" && request.path.ends_with("/completions") {
        let mut arrivals = shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.len() < ARRIVALS {
            arrivals.push(request.at);
        }
        drop(arrivals);
        completion(request)
    } else if request.path.ends_with("/models") {
        ("application/json", r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#.to_owned())
    } else {
        ("application/json", "{}".to_owned())
    };
    let length = if request.method == "HEAD" { 0 } else { body.len() };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\ncache-control: no-store\r\n\r\n"
    );
    [head.as_bytes(), &body.as_bytes()[..length]].concat()
}

/// An answer of [`TOKENS`] tokens, as a stream of events or whole, for chats or plain prompts.
fn completion(request: &Request) -> (&'static str, String) {
    let chat = request.path.contains("chat");
    let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let usage = format!(
        r#""usage":{{"prompt_tokens":8,"completion_tokens":{TOKENS},"total_tokens":{}}}"#,
        8 + TOKENS
    );
    let start = |object: &str| {
        format!(r#"{{"id":"c","object":"{object}","created":1,"model":"m","choices":["#)
    };
    if asked["stream"] != true {
        let text = " a".repeat(TOKENS);
        let (object, choice) = if chat {
            ("chat.completion", format!(r#""message":{{"role":"assistant","content":"{text}"}}"#))
        } else {
            ("text_completion", format!(r#""text":"{text}""#))
        };
        let start = start(object);
        let body = format!(r#"{start}{{"index":0,{choice},"finish_reason":"length"}}],{usage}}}"#);
        return ("application/json", body);
    }
    let (object, token) = if chat {
        ("chat.completion.chunk", r#""delta":{"role":"assistant","content":" a"}"#)
    } else {
        ("text_completion", r#""text":" a""#)
    };
    let start = start(object);
    let mut body = String::new();
    for at in 1..=TOKENS {
        let reason = if at == TOKENS { r#""length""# } else { "null" };
        body += &format!("data: {start}{{\"index\":0,{token},\"finish_reason\":{reason}}}]}}\n\n");
    }
    body += &format!("data: {start}],{usage}}}\n\ndata: [DONE]\n\n");
    ("text/event-stream", body)
}

/// Arrivals a second, and the coefficient of variation of the gaps between them: 1 for a Poisson process, 0 for a
/// metronome. `None` for fewer than three arrivals.
pub(crate) fn rate_and_variation(arrivals: &[Duration]) -> Option<(f64, f64)> {
    let gaps: Vec<f64> =
        arrivals.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    let count = gaps.len() as f64;
    let mean = gaps.iter().sum::<f64>() / count;
    if gaps.len() < 2 || mean <= 0.0 {
        return None;
    }
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some((1.0 / mean, variance.sqrt() / mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to one request, on a connection of its own.
    fn ask(recorder: &Recorder, request: &str) -> String {
        let mut stream = TcpStream::connect(recorder.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn post(path: &str, body: &str) -> String {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn completions_are_answered_and_written_down_but_nothing_else_is() {
        let recorder = Recorder::start().unwrap();
        let models = ask(&recorder, "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(models.ends_with(r#"[{"id":"m","object":"model"}]}"#), "{models}");
        assert!(recorder.take().is_empty());
        let stream = ask(&recorder, &post("/v1/completions", r#"{"stream":true}"#));
        assert_eq!(stream.matches("\"text\":\" a\"").count(), TOKENS, "{stream}");
        assert!(stream.ends_with("data: [DONE]\n\n"));
        let whole = ask(&recorder, &post("/v1/chat/completions", "{}"));
        assert!(whole.contains(r#""finish_reason":"length""#), "{whole}");
        assert_eq!(recorder.take().len(), 2);
        assert!(recorder.take().is_empty(), "taken is taken");
    }

    #[test]
    fn a_connection_is_used_again() {
        let recorder = Recorder::start().unwrap();
        let twice = post("/v1/completions", "{}").repeat(2);
        assert_eq!(ask(&recorder, &twice).matches("HTTP/1.1 200 OK").count(), 2);
        assert_eq!(recorder.take().len(), 2);
    }

    #[test]
    fn a_metronome_has_no_variation() {
        let arrivals: Vec<Duration> = (0..11).map(|at| Duration::from_millis(100 * at)).collect();
        let (rate, variation) = rate_and_variation(&arrivals).unwrap();
        assert!((rate - 10.0).abs() < 1e-9 && variation < 1e-9, "{rate} {variation}");
    }

    #[test]
    fn exponential_gaps_vary_as_much_as_they_last() {
        // Gaps at evenly spaced quantiles of an exponential distribution.
        let mut at = 0.0;
        let arrivals: Vec<Duration> = (0..5000)
            .map(|n| {
                at -= (1.0 - (f64::from(n) + 0.5) / 5000.0).ln() / 200.0;
                Duration::from_secs_f64(at)
            })
            .collect();
        let (rate, variation) = rate_and_variation(&arrivals).unwrap();
        assert!(
            (rate / 200.0 - 1.0).abs() < 0.01 && (variation - 1.0).abs() < 0.01,
            "{rate} {variation}"
        );
    }

    #[test]
    fn two_arrivals_say_nothing() {
        assert_eq!(rate_and_variation(&[Duration::ZERO, Duration::from_secs(1)]), None);
    }
}
