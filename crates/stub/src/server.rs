//! The stub's HTTP face: who it is, whether it is well and ready, and what it may be told.
//!
//! It answers one request a connection. A library would be larger than the rest of the program.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::command::{fetch, say};

/// Connections that are answered at the same time.
const WORKERS: usize = 8;
/// The longest request that is read, in bytes.
const LONGEST_REQUEST: u64 = 16 << 10;
/// The longest answer of `/bytes`.
const LONGEST_ANSWER: usize = 16 << 20;
/// The longest that a client may take.
const CLIENT_WITHIN: Duration = Duration::from_secs(5);

/// A listening stub.
pub(crate) struct Server {
    listener: TcpListener,
    well: AtomicBool,
    ready: AtomicBool,
    gauges: Mutex<BTreeMap<String, f64>>,
}

impl Server {
    /// Listens on `host:port`; port 0 takes any.
    pub(crate) fn bind(host: &str, port: u16) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind((host, port))?,
            well: AtomicBool::new(true),
            ready: AtomicBool::new(true),
            gauges: Mutex::default(),
        })
    }

    /// Answers until the process ends.
    pub(crate) fn run(&self) {
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    for client in self.listener.incoming().flatten() {
                        // A client that goes away is nobody's trouble.
                        let _ = self.serve(client);
                    }
                });
            }
        });
    }

    fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        client.set_read_timeout(Some(CLIENT_WITHIN))?;
        client.set_write_timeout(Some(CLIENT_WITHIN))?;
        let mut reader = BufReader::new((&client).take(LONGEST_REQUEST));
        let (mut request, mut head) = (String::new(), String::new());
        reader.read_line(&mut request)?;
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            head.push_str(&header.to_lowercase());
            header.clear();
        }
        let mut words = request.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
        let path = target.split('?').next().unwrap_or("/");
        let (status, body) = if path == "/echo" || path.starts_with("/echo/") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            let mut body = String::new();
            reader.take(length).read_to_string(&mut body)?;
            ("200 OK", format!("{method} {target}\n{}\n{body}", head.replace('\r', "")))
        } else {
            self.answer(method, path)
        };
        write!(
            &client,
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn answer(&self, method: &str, path: &str) -> (&'static str, String) {
        const OK: &str = "200 OK";
        const NOT_FOUND: &str = "404 Not Found";
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let (first, rest) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        match (method, first) {
            ("GET", "") => (OK, format!("{}\n", name())),
            ("GET", "healthz") if self.well.load(Ordering::Relaxed) => (OK, "ok\n".into()),
            ("GET", "healthz") => ("500 Internal Server Error", "sick\n".into()),
            ("GET", "readyz") if self.ready.load(Ordering::Relaxed) => (OK, "ok\n".into()),
            ("GET", "readyz") => ("503 Service Unavailable", "not ready\n".into()),
            ("GET", "env") => match std::env::var(rest) {
                Ok(value) => (OK, value),
                Err(_) => (NOT_FOUND, "no such variable\n".into()),
            },
            ("GET", "file") => match std::fs::read_to_string(format!("/{rest}")) {
                Ok(text) => (OK, text),
                Err(error) => (NOT_FOUND, format!("{error}\n")),
            },
            ("GET", "bytes") => match rest.parse() {
                Ok(count) if count <= LONGEST_ANSWER => (OK, "x".repeat(count)),
                _ => (NOT_FOUND, format!("from 0 to {LONGEST_ANSWER}\n")),
            },
            ("GET", "fetch") => (OK, fetched(rest)),
            ("POST", "sick" | "well") => self.set(&self.well, first == "well"),
            ("POST", "unready" | "ready") => self.set(&self.ready, first == "ready"),
            ("GET", "print") => {
                let _ = say(rest);
                (OK, "printed\n".into())
            }
            ("GET", "metrics") => (OK, self.page()),
            ("POST", "gauge") => match rest
                .split_once('/')
                .and_then(|(name, value)| Some((name, value.parse().ok()?)))
            {
                Some((name, value)) => {
                    self.gauges().insert(name.to_owned(), value);
                    (OK, format!("{name} {value}\n"))
                }
                None => ("400 Bad Request", "a name and a number are needed\n".into()),
            },
            ("POST", "exit") => std::process::exit(rest.parse().unwrap_or(1)),
            _ => (NOT_FOUND, "nothing here\n".into()),
        }
    }

    fn gauges(&self) -> MutexGuard<'_, BTreeMap<String, f64>> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it was told to measure, in the text format of Prometheus.
    fn page(&self) -> String {
        self.gauges()
            .iter()
            .map(|(name, value)| format!("# TYPE {name} gauge\n{name} {value}\n"))
            .collect()
    }

    fn set(&self, switch: &AtomicBool, to: bool) -> (&'static str, String) {
        switch.store(to, Ordering::Relaxed);
        ("200 OK", format!("{to}\n"))
    }
}

/// How a request from here goes, as a line: status, milliseconds, bytes of the body; or `-`, milliseconds, and why there is no
/// answer. What is fetched follows.
fn fetched(address: &str) -> String {
    let began = Instant::now();
    let answer = fetch(address);
    let took = began.elapsed().as_secs_f64() * 1e3;
    match answer {
        Ok((status, body)) => format!("{status} {took:.3} {}\n{body}", body.len()),
        Err(error) => format!("- {took:.3} {error}\n"),
    }
}

/// The pod's name: `POD_NAME` where the manifest gives it, else the host's.
fn name() -> String {
    let given = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    given.unwrap_or_else(|_| "stub".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_readiness_are_switched_apart() {
        let server = Server::bind("127.0.0.1", 0).unwrap();
        let status = |method: &str, path: &str| server.answer(method, path).0[..3].to_owned();
        assert_eq!(
            (status("GET", "/healthz"), status("GET", "/readyz")),
            ("200".into(), "200".into())
        );
        status("POST", "/unready");
        assert_eq!(
            (status("GET", "/healthz"), status("GET", "/readyz")),
            ("200".into(), "503".into())
        );
        status("POST", "/sick");
        assert_eq!(status("GET", "/healthz"), "500");
        status("POST", "/well");
        assert_eq!(status("GET", "/healthz"), "200");
        assert_eq!(status("GET", "/nothing"), "404");
        assert_eq!(status("GET", "/env/NO_SUCH_VARIABLE"), "404");
    }

    #[test]
    fn a_request_is_echoed_with_its_body_and_another_is_fetched() {
        let server = Server::bind("127.0.0.1", 0).unwrap();
        let address = server.listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2 {
                    server.serve(server.listener.accept().unwrap().0).unwrap();
                }
            });
            let mut client = TcpStream::connect(address).unwrap();
            let request = "PUT /echo/a?b=c HTTP/1.1\r\nHost: A\r\nContent-Length: 4\r\n\r\nbody";
            client.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            assert_eq!(body, "PUT /echo/a?b=c\nhost: a\ncontent-length: 4\n\nbody");
            let line = fetched(&format!("{address}/bytes/7"));
            assert!(line.starts_with("200 ") && line.ends_with(" 7\nxxxxxxx"), "{line}");
        });
        drop(server);
        assert!(fetched(&address.to_string()).starts_with("- "), "nobody is there any more");
    }

    #[test]
    fn gauges_are_on_the_metrics_page_once_they_are_set() {
        let server = Server::bind("127.0.0.1", 0).unwrap();
        assert_eq!(server.answer("GET", "/metrics").1, "");
        assert_eq!(server.answer("POST", "/gauge/vllm:num_requests_waiting/6.5").0, "200 OK");
        assert_eq!(server.answer("POST", "/gauge/x/many").0, "400 Bad Request");
        let page = server.answer("GET", "/metrics").1;
        assert_eq!(page, "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting 6.5\n");
    }

    #[test]
    fn a_request_over_a_socket_is_answered() {
        let server = Server::bind("127.0.0.1", 0).unwrap();
        let address = server.listener.local_addr().unwrap();
        let client = std::thread::spawn(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        server.serve(server.listener.accept().unwrap().0).unwrap();
        let answer = client.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"));
    }
}
