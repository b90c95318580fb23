//! Responses.

use apimachinery::{Reason, Status};
use axum::body::Body;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;

/// What a handler returns.
pub(crate) type Response = http::Response<Body>;
/// What a handler returns, or its refusal.
pub(crate) type Answer = Result<Response, Status>;

/// A response of a media type.
pub(crate) fn body(code: u16, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Text.
pub(crate) fn text(code: u16, text: impl Into<String>) -> Response {
    body(code, "text/plain; charset=utf-8", text.into())
}

/// JSON.
pub(crate) fn json(code: u16, value: &Value) -> Response {
    body(code, "application/json", value.to_string())
}

/// JSON that is text already.
pub(crate) fn json_text(code: u16, text: Bytes) -> Response {
    body(code, "application/json", text)
}

/// A refusal.
pub(crate) fn refusal(status: &Status) -> Response {
    let mut response = json(status.code, &status.to_json());
    let headers = response.headers_mut();
    if status.code == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// It worked, and there is no more to say.
pub(crate) fn success(code: u16) -> Response {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code,
    });
    json(code, &status)
}

/// There is nothing at this path.
pub(crate) fn path_not_found() -> Response {
    text(404, "404 page not found\n")
}

/// There is no such resource.
pub(crate) fn no_such_resource() -> Status {
    let message = "the server could not find the requested resource";
    Status { details: Some(Box::default()), ..Status::new(404, Reason::NotFound, message) }
}

/// The resource has no such verb.
pub(crate) fn no_such_method() -> Status {
    let message = "the server does not allow this method on the requested resource";
    Status { details: Some(Box::default()), ..Status::new(405, Reason::MethodNotAllowed, message) }
}

/// Adds a warning that clients show to people.
pub(crate) fn warn(response: &mut Response, warning: &str) {
    let escaped: String = warning
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .flat_map(|one| matches!(one, '"' | '\\').then_some('\\').into_iter().chain([one]))
        .collect();
    if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{escaped}\"").as_bytes()) {
        response.headers_mut().append(http::header::WARNING, value);
    }
}
