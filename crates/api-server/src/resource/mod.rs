//! Verbs on the objects of a kind.

mod delete;
mod list;
mod patch;
mod render;
mod select;
mod watch;
mod write;

pub(crate) use delete::read_options as delete_options;
pub(crate) use list::get;
pub(crate) use patch::patch;
pub(crate) use write::{dry_run, options as write_options, passing_kind, replace};

use std::sync::Arc;

use apimachinery::{Key, Kind, Status};
use http::Method;
use object_store::{Part, SchemaRef};
use render::Show;

use crate::answer::{Answer, no_such_method, no_such_resource};
use crate::negotiate::{self, Form};
use crate::path::Target;
use crate::query::Query;
use crate::route::Ask;
use crate::server::Server;
use crate::subresource;
use crate::table::{Include, Table};

/// A request for objects of a kind.
pub(crate) struct Request {
    pub(crate) server: Arc<Server>,
    pub(crate) kind: Arc<Kind>,
    pub(crate) schema: SchemaRef,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) query: Query,
    pub(crate) headers: http::HeaderMap,
    pub(crate) form: Form,
    pub(crate) body: bytes::Bytes,
    /// What the connection becomes, if the client wants something else than HTTP.
    pub(crate) upgrade: Option<hyper::upgrade::OnUpgrade>,
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

    /// How its objects are shown.
    pub(crate) fn show(&self) -> Show {
        let store = &self.server.store;
        let table = (self.form == Form::Table).then(|| {
            let include = Include::parse(self.query.get("includeObject"));
            Arc::new(Table::of(store, &self.kind, include))
        });
        Show { kind: Arc::clone(&self.kind), form: self.form, table, now: store.now() }
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
    let mut request = Request {
        schema: ask.server.store.schema(kind),
        server: ask.server,
        kind: Arc::clone(kind),
        namespace: target.namespace,
        name: target.name,
        query: ask.query,
        headers: ask.parts.headers,
        form,
        body,
        upgrade: ask.parts.extensions.remove(),
    };
    let method = ask.parts.method;
    if !target.below.is_empty() {
        return subresource::answer(&mut request, &method, &target.below).await;
    }
    match (&method, request.name.is_some()) {
        (&Method::GET, false) if request.query.is_on("watch") => watch::watch(request),
        (&Method::GET, false) => list::list(&request),
        (&Method::GET, true) => get(&request),
        (&Method::POST, false) => write::create(&request).await,
        (&Method::PUT, true) => write::replace(&request, Part::Main).await,
        (&Method::PATCH, true) => patch(&request, Part::Main).await,
        (&Method::DELETE, true) => delete::delete(&request).await,
        (&Method::DELETE, false) => delete::delete_collection(&request).await,
        _ => Err(no_such_method()),
    }
}

/// 422 for a number of replicas below 0.
pub(crate) fn invalid_scale(name: &str, replicas: i64) -> Status {
    let cause = apimachinery::Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
        field: "spec.replicas".to_owned(),
    };
    Status::invalid(&passing_kind("autoscaling", "v1", "Scale"), name, vec![cause])
}
