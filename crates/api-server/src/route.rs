//! From a request to who answers it.

use std::sync::Arc;

use apimachinery::{Reason, Status};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use http::{Method, Request};

use crate::answer::{self, Answer, Response};
use crate::path::{self, Target};
use crate::query::Query;
use crate::server::Server;
use crate::{body, health, resource, version};

/// The longest path and query that is read.
const MAX_URI: usize = 64 * 1024;

/// Everything that the server answers.
pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new().fallback(handle).with_state(server)
}

/// A request, checked and taken apart.
pub(crate) struct Ask {
    pub(crate) server: Arc<Server>,
    pub(crate) parts: http::request::Parts,
    pub(crate) query: Query,
    pub(crate) body: Body,
}

impl Ask {
    /// The method.
    pub(crate) fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The whole body.
    ///
    /// # Errors
    /// 413, 400.
    pub(crate) async fn read_body(&mut self) -> Result<bytes::Bytes, Status> {
        let body = std::mem::replace(&mut self.body, Body::empty());
        body::read(body, self.server.config.limits.body_bytes).await
    }
}

async fn handle(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if let Err(status) = server.guard.check(&parts.headers, authority) {
        return answer::refusal(&status);
    }
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or(""));
    if path.len() + query.len() > MAX_URI {
        let status = Status::new(414, Reason::BadRequest, "the request's URI is too long");
        return answer::refusal(&status);
    }
    let Some(segments) = path::segments(path) else { return answer::path_not_found() };
    let query = Query::parse(query);
    let ask = Ask { server, parts, query, body };
    match dispatch(ask, &segments).await {
        Ok(response) => response,
        Err(status) => answer::refusal(&status),
    }
}

async fn dispatch(ask: Ask, segments: &[String]) -> Answer {
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["version"] => Ok(answer::json(200, &version::version())),
        [kind @ ("healthz" | "livez" | "readyz"), below @ ..] => {
            let stopping = *ask.server.stopping.borrow();
            Ok(health::check(kind, below, &ask.query, stopping))
        }
        ["api", version, _, ..] => resources(ask, "", version, &segments[2..]).await,
        ["apis", group, version, _, ..] => resources(ask, group, version, &segments[3..]).await,
        _ => Ok(answer::path_not_found()),
    }
}

async fn resources(ask: Ask, group: &str, version: &str, rest: &[String]) -> Answer {
    let target = Target::parse(group, version, rest).ok_or_else(answer::no_such_resource)?;
    resource::answer(ask, target).await
}
