//! A request's body: read within its bound, and decoded.

use apimachinery::{Reason, Status};
use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::decode;

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 when it is longer, 400 when the client breaks off.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, Status> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {limit}");
            Err(Status::new(413, Reason::RequestEntityTooLarge, message))
        }
        Err(error) => Err(Status::bad_request(format!("the request's body broke off: {error}"))),
    }
}

/// A body's media type, without parameters; JSON when there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match value.split(';').next().unwrap_or("").trim() {
        "" => "application/json",
        media_type => media_type,
    }
}

/// The object that a body holds; none when it is empty.
///
/// # Errors
/// 400 for a body that is no JSON object, 415 for a media type that is not known.
pub(crate) fn object(headers: &HeaderMap, body: &Bytes) -> Result<Option<Value>, Status> {
    if body.is_empty() {
        return Ok(None);
    }
    let text = decode::json(headers, body)?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| {
        Status::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
    })?;
    if value.is_object() {
        return Ok(Some(value));
    }
    Err(Status::bad_request("couldn't get version/kind; json parse error: the body is no object"))
}

/// 415 for a media type that is not known.
pub(crate) fn unsupported() -> Status {
    let message = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    Status::new(415, Reason::UnsupportedMediaType, message)
}

/// 415 for a protobuf body that cannot be read, with the way around.
pub(crate) fn unsupported_because(why: &str) -> Status {
    let message = format!(
        "{why}: send JSON instead, with kubectl by `-o yaml --dry-run=client | kubectl apply -f -`"
    );
    Status::new(415, Reason::UnsupportedMediaType, message)
}
