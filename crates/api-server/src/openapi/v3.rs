//! OpenAPI v3: a document for each group and version.

use std::collections::BTreeMap;

use apimachinery::Kind;
use apimachinery::schema::Dialect;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, ETAG};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::operations::{self, Style};
use super::types;
use crate::answer::{self, Answer, Response};
use crate::query::Query;
use crate::server::Server;
use crate::version::VERSION;

/// `/openapi/v3`: where the documents are, each with a hash of its content.
pub(crate) fn index(server: &Server) -> Response {
    let kinds = server.store.kinds();
    let mut versions: BTreeMap<String, Vec<&Kind>> = BTreeMap::new();
    for kind in kinds.iter() {
        versions.entry(place(&kind.group, &kind.version)).or_default().push(kind);
    }
    let paths: Map<String, Value> = versions
        .into_iter()
        .map(|(place, kinds)| {
            let hash = hash(&text(server, &kinds));
            let url = format!("/openapi/v3/{place}?hash={hash}");
            (place, json!({"serverRelativeURL": url}))
        })
        .collect();
    answer::json(200, &json!({"paths": paths}))
}

/// `/openapi/v3/api/v1` and the like.
pub(crate) fn document(server: &Server, group: &str, version: &str, query: &Query) -> Answer {
    let kinds = server.store.kinds();
    let kinds: Vec<&Kind> = kinds
        .iter()
        .map(AsRef::as_ref)
        .filter(|kind| kind.group == group && kind.version == version)
        .collect();
    if kinds.is_empty() {
        return Ok(answer::path_not_found());
    }
    let text = text(server, &kinds);
    let hash = hash(&text);
    let mut response = answer::json_text(200, text.into());
    let headers = response.headers_mut();
    if query.get("hash") == Some(&hash) {
        headers
            .insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    }
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}

fn place(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn text(server: &Server, kinds: &[&Kind]) -> String {
    let paths: Map<String, Value> =
        kinds.iter().flat_map(|kind| operations::paths(kind, Style::V3)).collect();
    let schemas = types::types(&server.store, kinds, Dialect::V3);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    })
    .to_string()
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02X}")).collect()
}
