//! The stub's HTTP face: who it is, whether it is well and ready, and what it may be told.
//!
//! It answers one request a connection and reads no bodies. A library would be larger than the rest of the program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::command::say;

/// Connections that are answered at the same time.
const WORKERS: usize = 8;
/// The longest request head that is read, in bytes.
const LONGEST_HEAD: u64 = 16 << 10;
/// The longest that a client may take.
const CLIENT_WITHIN: Duration = Duration::from_secs(5);

/// A listening stub.
pub(crate) struct Server {
    listener: TcpListener,
    well: AtomicBool,
    ready: AtomicBool,
}

impl Server {
    /// Listens on `host:port`; port 0 takes any.
    pub(crate) fn bind(host: &str, port: u16) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind((host, port))?,
            well: AtomicBool::new(true),
            ready: AtomicBool::new(true),
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
        let mut reader = BufReader::new((&client).take(LONGEST_HEAD));
        let (mut request, mut header) = (String::new(), String::new());
        reader.read_line(&mut request)?;
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let mut words = request.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
        let (status, body) = self.answer(method, target.split('?').next().unwrap_or("/"));
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
            ("POST", "sick" | "well") => self.set(&self.well, first == "well"),
            ("POST", "unready" | "ready") => self.set(&self.ready, first == "ready"),
            ("GET", "print") => {
                let _ = say(rest);
                (OK, "printed\n".into())
            }
            ("POST", "exit") => std::process::exit(rest.parse().unwrap_or(1)),
            _ => (NOT_FOUND, "nothing here\n".into()),
        }
    }

    fn set(&self, switch: &AtomicBool, to: bool) -> (&'static str, String) {
        switch.store(to, Ordering::Relaxed);
        ("200 OK", format!("{to}\n"))
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
