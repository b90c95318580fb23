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
use crate::autoscaling_v1;
use crate::decode;
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
    /// The kind that is shown, if it is another than the one that is stored.
    pub(crate) shown: Option<Arc<Kind>>,
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

    /// Makes a request for the older form of an autoscaler one for the form that is stored, but for how it is shown.
    fn translate_autoscaler(&mut self, method: &Method) -> Result<(), Status> {
        self.shown = Some(Arc::clone(&self.kind));
        self.kind = self.server.store.kind("autoscaling", "horizontalpodautoscalers");
        self.schema = self.server.store.schema(&self.kind);
        if matches!(*method, Method::POST | Method::PUT) {
            let text = decode::json(&self.headers, &self.body)?;
            let mut object: serde_json::Value = serde_json::from_slice(&text)
                .map_err(|error| Status::bad_request(format!("json parse error: {error}")))?;
            if object.is_object() {
                autoscaling_v1::to_stored(&mut object);
            }
            self.body = object.to_string().into();
            let json = http::HeaderValue::from_static("application/json");
            self.headers.insert(http::header::CONTENT_TYPE, json);
        } else if *method == Method::PATCH {
            return Err(Status::not_implemented("patches of autoscaling/v1: use autoscaling/v2"));
        }
        Ok(())
    }

    /// How its objects are shown.
    pub(crate) fn show(&self) -> Show {
        let store = &self.server.store;
        let table = (self.form == Form::Table).then(|| {
            let include = Include::parse(self.query.get("includeObject"));
            Arc::new(Table::of(store, &self.kind, include))
        });
        let kind = Arc::clone(self.shown.as_ref().unwrap_or(&self.kind));
        let is_custom = self.schema.is_custom();
        Show { kind, form: self.form, is_custom, table, now: store.now() }
    }
}

/// Answers a request for a resource.
pub(crate) async fn answer(mut ask: Ask, target: Target) -> Answer {
    let kinds = ask.server.store.kinds();
    let (group, version, plural) = (&target.group, &target.version, &target.resource);
    let kind = kinds
        .at(group, version, plural)
        .cloned()
        .or_else(|| autoscaling_v1::kind(&kinds, group, version, plural))
        .filter(|kind| kind.is_namespaced() || target.namespace.is_none())
        .ok_or_else(no_such_resource)?;
    if kind.is_namespaced() && target.name.is_some() && target.namespace.is_none() {
        return Err(no_such_resource());
    }
    let form = negotiate::form(&ask.parts.headers)?;
    let body = ask.read_body().await?;
    let mut request = Request {
        schema: ask.server.store.schema(&kind),
        server: ask.server,
        kind,
        namespace: target.namespace,
        name: target.name,
        query: ask.query,
        headers: ask.parts.headers,
        form,
        body,
        shown: None,
        upgrade: ask.parts.extensions.remove(),
    };
    let method = ask.parts.method;
    if autoscaling_v1::is(&request.kind) {
        request.translate_autoscaler(&method)?;
    }
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
