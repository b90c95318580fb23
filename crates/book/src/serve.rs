//! Shows the book to a browser on this machine, and to nobody else.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::BookError;
use crate::live::{Live, watch};

/// What is served: the latest build, and where the learner's progress is kept.
#[derive(Clone)]
pub struct Site {
    live: Live,
    state: Arc<Path>,
}

impl Site {
    /// A site of a book already built in `out`. `state` is `.lab/state.json`, which need not exist.
    #[must_use]
    pub fn new(out: PathBuf, state: &Path) -> Self {
        Self { live: Live::new(out), state: state.into() }
    }

    /// Builds again whenever a source below `root` or `code` changes, for as long as the process runs.
    pub fn rebuild_on_change(&self, root: PathBuf, code: Vec<PathBuf>) {
        watch(self.live.clone(), root, code);
    }
}

/// Listens on the loopback address; port 0 takes any free one.
///
/// # Errors
/// [`BookError::Listen`] where the port is taken.
pub async fn listen(port: u16) -> Result<TcpListener, BookError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|cause| BookError::Listen { port, cause })
}

/// The routes: every file of the book, and `/-/live`, which the pages ask for changes and progress.
pub fn router(site: Site) -> Router {
    Router::new()
        .route("/-/live", get(live))
        .fallback(get(file))
        .layer(middleware::from_fn(only_this_machine))
        .with_state(site)
}

/// Refuses names that only a hostile page could have made this address known by (DNS rebinding).
async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let name = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name));
    match name {
        None | Some("127.0.0.1" | "localhost") => next.run(request).await,
        Some(_) => StatusCode::MISDIRECTED_REQUEST.into_response(),
    }
}

/// The number of the build, and the state file as the grader wrote it (`null` without one).
async fn live(State(site): State<Site>) -> Response {
    let state: Option<serde_json::Value> =
        tokio::fs::read(&site.state).await.ok().and_then(|text| serde_json::from_slice(&text).ok());
    let error = site.live.error();
    axum::Json(serde_json::json!({ "build": site.live.build(), "error": error, "state": state }))
        .into_response()
}

async fn file(State(site): State<Site>, request: Request) -> Response {
    let Some(path) = safe_path(request.uri().path()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let root = site.live.out();
    let mut full = root.join(path);
    if full.is_dir() {
        full.push("index.html");
    }
    // A link inside the folder must not lead out of it either.
    let is_inside = full.canonicalize().is_ok_and(|real| real.starts_with(&root));
    let body = if is_inside { tokio::fs::read(&full).await.ok() } else { None };
    match body {
        Some(bytes) => {
            let headers =
                [(header::CONTENT_TYPE, media_type(&full)), (header::CACHE_CONTROL, "no-cache")];
            (headers, Body::from(bytes)).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The relative path that a URL path names; `None` where it tries to leave the folder.
fn safe_path(url: &str) -> Option<PathBuf> {
    let decoded = percent_decode(url.trim_start_matches('/'))?;
    if decoded.contains(['\\', '\0']) {
        return None;
    }
    let path = PathBuf::from(decoded);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_folder() {
        assert_eq!(safe_path("/lab-1/a%20b.html"), Some(PathBuf::from("lab-1/a b.html")));
        for path in
            ["/../x", "/a/../../x", "/%2e%2e/x", "/..%2fx", "//etc/passwd/..", "/a%5c..", "/%zz"]
        {
            assert_eq!(safe_path(path), None, "{path}");
        }
    }
}
