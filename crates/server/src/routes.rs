//! Which path is served by what, and what every request passes through.

mod cors;
#[cfg(test)]
mod fuzz;
mod generate;
mod info;
mod text;
mod tgi;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;
use protocol::openai::RequestError;
use serde_json::json;

use crate::error::ApiError;
use crate::own_metrics::HttpRequest;
use crate::state::Server;
use crate::telemetry::panic_message;

/// All routes of a server.
pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/completions", post(generate::completions))
        .route("/v1/chat/completions", post(generate::chat))
        .route("/v1/models", get(info::models))
        .route("/health", get(info::health))
        .route("/ping", get(info::health).post(info::health))
        .route("/version", get(info::version))
        .route("/load", get(info::load))
        .route("/metrics", get(info::metrics))
        .route("/debug/timelines", get(info::timelines))
        .route("/tokenize", post(text::tokenize))
        .route("/detokenize", post(text::detokenize))
        .route("/generate", post(tgi::generate))
        .route("/generate_stream", post(tgi::generate_stream))
        .route("/info", get(tgi::info))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(catch_panic))
        .layer(from_fn(cors::allow_any_origin))
        .layer(from_fn_with_state(Arc::clone(&server), count))
        .with_state(server)
}

/// Counts a request under the path of its route.
async fn count(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let started = server.clock.now();
    let handler = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let length = |headers: &HeaderMap| {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        length.and_then(|length| length.parse().ok()).unwrap_or(0)
    };
    let request_bytes = length(request.headers());
    let response = next.run(request).await;
    server.telemetry.own.http(&HttpRequest {
        handler: handler.as_ref().map_or("none", MatchedPath::as_str),
        method: method_label(&method),
        status: response.status().as_u16(),
        request_bytes,
        response_bytes: response.body().size_hint().exact().unwrap_or(0),
        took: server.clock.now().saturating_sub(started),
    });
    response
}

/// A client can make up methods; a label cannot have any value.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

/// FastAPI's body for a path that is not there.
async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, axum::Json(json!({"detail": "Not Found"}))).into_response()
}

/// FastAPI's body for a method that a path does not take.
async fn method_not_allowed() -> Response {
    let body = axum::Json(json!({"detail": "Method Not Allowed"}));
    (StatusCode::METHOD_NOT_ALLOWED, body).into_response()
}

/// The last net: a handler that panics is a bug, and costs its own request only.
async fn catch_panic(request: Request, next: Next) -> Response {
    match std::panic::AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(reason = panic_message(panic.as_ref()), "a handler panicked");
            ApiError::Internal.into_response()
        }
    }
}

/// The body of a request that must be JSON, up to the server's limit.
async fn read_json(
    server: &Server,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, RequestError> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let media =
        text(header::CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default();
    if !media.trim().eq_ignore_ascii_case("application/json") {
        return Err(RequestError::NotAnnouncedAsJson);
    }
    let limit = server.config.max_body_bytes;
    let announced = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(RequestError::BodyTooLarge { limit });
    }
    let read = tokio::time::timeout(server.config.header_timeout, to_bytes(body, limit)).await;
    let read = read.map_err(|_| RequestError::BodyUnreadable)?;
    read.map_err(|error| {
        use std::error::Error as _;
        let too_large = error.source().is_some_and(|e| e.to_string().contains("length limit"));
        if too_large { RequestError::BodyTooLarge { limit } } else { RequestError::BodyUnreadable }
    })
}
