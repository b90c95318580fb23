//! Verbs on the objects of a kind.

mod delete;
mod list;
mod patch;
mod render;
mod select;
mod watch;
mod write;

use std::sync::Arc;

use apimachinery::{Key, Kind, Status};
use http::Method;

use crate::answer::{Answer, no_such_method, no_such_resource};
use crate::negotiate::{self, Form};
use crate::path::Target;
use crate::query::Query;
use crate::route::Ask;
use crate::server::Server;

/// A request for objects of a kind.
pub(crate) struct Request {
    pub(crate) server: Arc<Server>,
    pub(crate) kind: Arc<Kind>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) query: Query,
    pub(crate) headers: http::HeaderMap,
    pub(crate) form: Form,
    pub(crate) body: bytes::Bytes,
}

impl Request {
    /// Where the object stands.
    ///
    /// # Errors
    /// 405 when the path names none.
    pub(crate) fn key(&self) -> Result<Key, Status> {
        let name = self.name.clone().ok_or_else(no_such_method)?;
        Ok(Key::namespaced(self.namespace.clone().unwrap_or_default(), name))
    }
}

/// Answers a request for a resource.
pub(crate) async fn answer(mut ask: Ask, target: Target) -> Answer {
    let kinds = ask.server.store.kinds();
    let kind = kinds
        .at(&target.group, &target.version, &target.resource)
        .filter(|kind| kind.is_namespaced() || target.namespace.is_none())
        .ok_or_else(no_such_resource)?;
    if kind.is_namespaced() && target.name.is_some() && target.namespace.is_none() {
        return Err(no_such_resource());
    }
    let form = negotiate::form(&ask.parts.headers)?;
    let body = ask.read_body().await?;
    let request = Request {
        server: ask.server,
        kind: Arc::clone(kind),
        namespace: target.namespace,
        name: target.name,
        query: ask.query,
        headers: ask.parts.headers,
        form,
        body,
    };
    if !target.below.is_empty() {
        return Err(no_such_resource());
    }
    let method = ask.parts.method;
    match (&method, request.name.is_some()) {
        (&Method::GET, false) if request.query.is_on("watch") => watch::watch(request),
        (&Method::GET, false) => list::list(&request),
        (&Method::GET, true) => list::get(&request),
        (&Method::POST, false) => write::create(&request).await,
        (&Method::PUT, true) => write::replace(&request).await,
        (&Method::PATCH, true) => patch::patch(&request).await,
        (&Method::DELETE, true) => delete::delete(&request).await,
        (&Method::DELETE, false) => delete::delete_collection(&request).await,
        _ => Err(no_such_method()),
    }
}
