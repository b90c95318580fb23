//! The server under load: where it is, and which model it has.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::wire::{Answer, Expect, Fault, Progress};
use crate::{Endpoint, LoadError};

/// How long the first connection, and the list of models, may take.
const FIRST_CONTACT: Duration = Duration::from_secs(10);
/// The longest list of models.
const MAX_LIST_BYTES: usize = 1 << 20;

/// A server's URL: `http://host[:port][/base]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What goes into the `Host` header: host, and port unless it is 80.
    pub host: String,
    /// Host and port to connect to.
    authority: String,
    /// The path, without its last slash.
    base: String,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// Where it is not `http://host[:port][/base]`.
    pub fn parse(url: &str) -> Result<Self, LoadError> {
        let wrong =
            |reason: &str| LoadError::Url { url: url.to_owned(), reason: reason.to_owned() };
        if url.starts_with("https:") {
            return Err(wrong(
                "https is not spoken here, so that its cost is not measured; \
                 put the load behind the TLS terminator, or a local one before the server",
            ));
        }
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong("expected http://host:port"))?;
        let (host, base) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let plain =
            |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\\"<>".contains(&b));
        if host.is_empty() || host.contains('@') || !plain(host) || !plain(base) {
            return Err(wrong("expected http://host:port/path, without user, query or fragment"));
        }
        // An IPv6 address has colons of its own, inside brackets.
        let port =
            host.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
        let authority = match port {
            Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
            Some(_) => return Err(wrong("the port is no number up to 65535")),
            None => format!("{host}:80"),
        };
        // Whoever pastes an OpenAI base URL means the server.
        let base = base.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base).to_owned();
        Ok(Self { host: host.to_owned(), authority, base })
    }

    /// The path of an endpoint.
    #[must_use]
    pub fn path(&self, endpoint: Endpoint) -> String {
        match format!("{}{}", self.base, endpoint.path()) {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        }
    }

    /// The first of the host's addresses that takes a connection.
    ///
    /// # Errors
    /// Where the name does not resolve, or none of its addresses takes one.
    pub fn find(&self) -> Result<SocketAddr, LoadError> {
        let unreachable =
            |reason: String| LoadError::Unreachable { host: self.authority.clone(), reason };
        let addresses = self.authority.to_socket_addrs().map_err(|e| unreachable(e.to_string()))?;
        let mut reason = "its name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(&address, FIRST_CONTACT) {
                Ok(_) => return Ok(address),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(unreachable(reason))
    }

    /// The first model that the server lists at `/v1/models`.
    ///
    /// # Errors
    /// Where it lists none.
    pub fn first_model(
        &self,
        address: SocketAddr,
        headers: &[(String, String)],
    ) -> Result<String, LoadError> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
        }
        let path = format!("{}/v1/models", self.base);
        let no_model = |reason: String| LoadError::NoModel { path: path.clone(), reason };
        let body = self.get(address, &path, headers).map_err(&no_model)?;
        let list: List = serde_json::from_slice(&body).map_err(|e| no_model(e.to_string()))?;
        let first = list.data.into_iter().next();
        first.map(|model| model.id).ok_or_else(|| no_model("the list is empty".into()))
    }

    /// A small page, blocking.
    fn get(
        &self,
        address: SocketAddr,
        path: &str,
        headers: &[(String, String)],
    ) -> Result<Vec<u8>, String> {
        let end = Instant::now() + FIRST_CONTACT;
        let text = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect_timeout(&address, FIRST_CONTACT).map_err(text)?;
        stream.set_write_timeout(Some(FIRST_CONTACT)).map_err(text)?;
        let mut request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all((request + "\r\n").as_bytes()).map_err(text)?;
        let mut answer = Answer::new(Expect::Body);
        let mut buffer = vec![0; 16 * 1024];
        let mut total = 0;
        loop {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).map_err(text)?;
            let read = stream.read(&mut buffer).map_err(text)?;
            total += read;
            let progress =
                if read == 0 { answer.closed(0) } else { answer.feed(&buffer[..read], 0) };
            match progress {
                Progress::Done { fault: None, .. } => return Ok(answer.body()),
                Progress::Done { fault: Some(fault), .. } => {
                    return Err(describe(fault, answer.take().status));
                }
                Progress::More if total > MAX_LIST_BYTES || Instant::now() > end => {
                    return Err("it does not end".to_owned());
                }
                Progress::More => {}
            }
        }
    }
}

fn describe(fault: Fault, status: u16) -> String {
    match fault {
        Fault::Status(detail) => format!("status {status}: {detail}"),
        Fault::Server(detail) | Fault::Malformed(detail) => detail,
        Fault::ClosedEarly => "the connection was closed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, String, String) {
        let target = Target::parse(url).unwrap();
        (target.authority.clone(), target.path(Endpoint::Chat), target.path(Endpoint::Get))
    }

    #[test]
    fn urls_are_read_as_people_write_them() {
        let own = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        let chat = "/v1/chat/completions";
        assert_eq!(parts("http://a:8000"), own("a:8000", chat, "/"));
        assert_eq!(parts("http://a/"), own("a:80", chat, "/"));
        assert_eq!(parts("http://a:1/v1/"), own("a:1", chat, "/"));
        assert_eq!(parts("http://[::1]:9/x"), own("[::1]:9", "/x/v1/chat/completions", "/x"));
        assert_eq!(parts("http://[::1]"), own("[::1]:80", chat, "/"));
    }

    #[test]
    fn urls_that_are_none_are_refused_with_the_reason() {
        for (url, says) in [
            ("https://a", "https is not spoken"),
            ("a:8000", "expected http://"),
            ("http://", "expected http://"),
            ("http://a:b", "port"),
            ("http://a:99999", "port"),
            ("http://u:p@a", "without user"),
            ("http://a/?q", "without user"),
            ("http://a b", "without user"),
            ("http://a/\r\nX: y", "without user"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
    }
}
