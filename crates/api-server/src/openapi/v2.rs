//! OpenAPI v2: one document for everything, as JSON or as the protobuf that kubectl asks for.

use apimachinery::Kind;
use apimachinery::schema::Dialect;
use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Map, Value, json};

use super::operations::{self, Style};
use super::{gnostic, types};
use crate::answer::{self, Response};
use crate::server::Server;
use crate::version::VERSION;

/// The media type of the protobuf form, and its older name.
const PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

/// `/openapi/v2`.
pub(crate) fn v2(server: &Server, headers: &HeaderMap) -> Response {
    let kinds = server.store.kinds();
    let kinds: Vec<&Kind> = kinds.iter().map(AsRef::as_ref).collect();
    let paths: Map<String, Value> =
        kinds.iter().flat_map(|kind| operations::paths(kind, Style::V2)).collect();
    let document = json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "definitions": types::types(&server.store, &kinds, Dialect::V2),
    });
    let accepts = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepts.flat_map(|value| value.split(',')).map(str::trim);
    if ranges.any(|range| PROTOBUF.contains(&range)) {
        return answer::body(200, PROTOBUF[1], gnostic::encode(&document));
    }
    answer::json(200, &document)
}
