//! From HTTP to something else on the same connection.

use apimachinery::Status;
use axum::body::Body;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT};
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::answer::Response;

/// Bytes of one message of a client. Clients send pieces of 32 KiB.
const MESSAGE: usize = 1024 * 1024;
/// How a SPDY client says which protocols it speaks, and we which one it is.
pub(super) const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// A connection that is no longer HTTP.
pub(super) type Raw = TokioIo<Upgraded>;
/// A WebSocket on it.
pub(super) type Socket = WebSocketStream<Raw>;

/// What a client wants the connection to become, with the protocols it offers on top.
pub(super) enum Wanted {
    WebSocket { key: String, protocols: Vec<String> },
    Spdy { protocols: Vec<String> },
}

impl Wanted {
    /// Reads a request's headers.
    ///
    /// # Errors
    /// 400 when it asks for nothing of the kind.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Status> {
        let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if upgrade.eq_ignore_ascii_case("websocket") {
            let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
            let key = key.ok_or_else(|| Status::bad_request("the WebSocket key is missing"))?;
            let protocols = words(headers, &SEC_WEBSOCKET_PROTOCOL);
            return Ok(Self::WebSocket { key: key.to_owned(), protocols });
        }
        if upgrade.to_ascii_lowercase().starts_with("spdy/3.1") {
            return Ok(Self::Spdy { protocols: words(headers, &STREAM_PROTOCOL) });
        }
        Err(Status::bad_request("Upgrade request required"))
    }

    /// The first of ours that the client offers.
    pub(super) fn choose(&self, ours: &[&'static str]) -> Option<&'static str> {
        let (Self::WebSocket { protocols, .. } | Self::Spdy { protocols }) = self;
        ours.iter().find(|one| protocols.iter().any(|offered| offered == *one)).copied()
    }

    /// The answer that lets the client begin.
    pub(super) fn accept(&self, protocol: Option<&'static str>) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let (name, upgrade) = match self {
            Self::WebSocket { key, .. } => {
                let accept = derive_accept_key(key.as_bytes());
                if let Ok(accept) = HeaderValue::from_str(&accept) {
                    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
                }
                (SEC_WEBSOCKET_PROTOCOL, "websocket")
            }
            Self::Spdy { .. } => (STREAM_PROTOCOL, "SPDY/3.1"),
        };
        headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
        if let Some(protocol) = protocol {
            headers.insert(name, HeaderValue::from_static(protocol));
        }
        response
    }
}

fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|word| word.trim().to_owned()).collect()
}

/// The connection itself, once the answer has gone.
pub(super) async fn raw(upgrade: OnUpgrade) -> Option<Raw> {
    match upgrade.await {
        Ok(upgraded) => Some(TokioIo::new(upgraded)),
        Err(error) => {
            tracing::debug!(%error, "a connection was not upgraded");
            None
        }
    }
}

/// A WebSocket on a connection.
pub(super) async fn socket(raw: Raw) -> Socket {
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE)).max_frame_size(Some(MESSAGE));
    WebSocketStream::from_raw_socket(raw, Role::Server, Some(config)).await
}
