//! From a request to who answers it.

use std::sync::Arc;

use apimachinery::{Reason, Status};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use http::Request;

use crate::answer::{self, Answer, Response};
use crate::path::{self, Target};
use crate::query::Query;
use crate::server::Server;
use crate::{body, discovery, health, metrics, openapi, resource, reviews, version};

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
        [] => discovery::root(&ask.server),
        ["api"] => Ok(discovery::core(&ask.server, &ask.parts.headers)),
        ["apis"] => Ok(discovery::all(&ask.server, &ask.parts.headers)),
        ["apis", group] => discovery::group(&ask.server, group),
        ["api", version] => discovery::version(&ask.server, "", version),
        ["apis", group, version] => discovery::version(&ask.server, group, version),
        ["openapi", "v2"] => Ok(openapi::v2(&ask.server, &ask.parts.headers)),
        ["openapi", "v3"] => Ok(openapi::index(&ask.server)),
        ["openapi", "v3", "api", version] => {
            openapi::document(&ask.server, "", version, &ask.query)
        }
        ["openapi", "v3", "apis", group, version] => {
            openapi::document(&ask.server, group, version, &ask.query)
        }
        ["apis", "authorization.k8s.io" | "authentication.k8s.io", "v1", resource] => {
            let resource = (*resource).to_owned();
            reviews::review(ask, &resource).await
        }
        ["apis", "metrics.k8s.io", "v1beta1", rest @ ..] => metrics::usage(ask, rest).await,
        ["apis", "custom.metrics.k8s.io", "v1beta2", rest @ ..] => metrics::custom(ask, rest).await,
        ["apis", "external.metrics.k8s.io", "v1beta1", rest @ ..] => {
            metrics::external(ask, rest).await
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
