//! HTTP by hand, with the credentials of a kubeconfig: for requests that no client library would send.

use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use kube::client::ConfigExt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest that an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// At most this much of an answer is read, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;
/// Bytes of a body that are read of a failure.
const BODY_READ: usize = 2 << 10;
/// The longest that the body of a failure may take.
const BODY_WITHIN: Duration = Duration::from_millis(300);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why raw requests cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The kubeconfig's TLS settings cannot be used.
    #[error("no TLS for this cluster: {0}")]
    Tls(#[from] Box<kube::Error>),
    /// The cluster's URL names no host.
    #[error("the cluster's URL {0} names no host")]
    Host(String),
}

/// Where and how to connect.
#[derive(Clone)]
pub struct Raw {
    /// `host:port` of the server.
    pub authority: String,
    host: String,
    tls: Option<TlsConnector>,
    /// The `Authorization` header of the kubeconfig's token, if it has one.
    pub authorization: Option<String>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status, and of a failure the begin of its body.
    Status(u16, String),
    /// The connection ended without an answer.
    Closed,
    /// Nothing came in time.
    Silence,
    /// What came is no HTTP.
    Nonsense(String),
}

impl Raw {
    /// Takes address, TLS and token from a kubeconfig.
    ///
    /// # Errors
    /// [`RawError`] when they cannot be used.
    pub fn of(config: &Config) -> Result<Self, RawError> {
        let url = &config.cluster_url;
        let host = url.host().ok_or_else(|| RawError::Host(url.to_string()))?.to_owned();
        let secure = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure {
            let mut tls = config.rustls_client_config().map_err(Box::new)?;
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(TlsConnector::from(Arc::new(tls)))
        } else {
            None
        };
        let auth = serde_json::to_value(&config.auth_info).unwrap_or_default();
        let authorization = auth["token"].as_str().map(|token| format!("Bearer {token}"));
        Ok(Self { authority: format!("{host}:{port}"), host, tls, authorization })
    }

    /// Writes `request` as it is, and reads the status of the answer.
    ///
    /// # Errors
    /// An I/O error when there is no connection; one that ends is [`Reply::Closed`].
    pub async fn send(&self, request: &[u8]) -> std::io::Result<Reply> {
        let mut stream = self.connect().await?;
        let exchange = async {
            // A server may refuse before it has read everything.
            let _ = stream.write_all(request).await;
            let _ = stream.flush().await;
            read(&mut *stream).await
        };
        Ok(tokio::time::timeout(ANSWER_WITHIN, exchange).await.unwrap_or(Reply::Silence))
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let tcp = TcpStream::connect(&self.authority).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        Ok(Box::new(tls.connect(name, tcp).await?))
    }
}

async fn read(stream: &mut dyn Stream) -> Reply {
    let mut answer = Vec::new();
    let head = loop {
        if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
            break end;
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) if answer.is_empty() => return Reply::Closed,
            // Without a header, as HTTP/1.0 allows and Go's server does for a broken request line.
            Ok(0) | Err(_) => break answer.len(),
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
        }
        if answer.len() > LONGEST_ANSWER {
            return Reply::Nonsense("a head without an end".into());
        }
    };
    let line = String::from_utf8_lossy(&answer[..head]).lines().next().unwrap_or("").to_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let Some(status) = status else { return Reply::Nonsense(line) };
    if status < 500 {
        return Reply::Status(status, String::new());
    }
    let rest = async {
        let mut buffer = [0; 1024];
        while answer.len() < head + BODY_READ {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(&buffer[..read]),
            }
        }
    };
    let _ = tokio::time::timeout(BODY_WITHIN, rest).await;
    Reply::Status(status, String::from_utf8_lossy(&answer[head..]).trim().to_owned())
}
