//! Writes of parts.

use apimachinery::Status;
use serde_json::Value;

use super::{Request, render, write};
use crate::answer::{self, Answer};
use crate::body;

/// PATCH.
pub(crate) async fn patch(request: &Request) -> Answer {
    let key = request.key()?;
    let patch: Value = serde_json::from_slice(&request.body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if body::media_type(&request.headers) != "application/merge-patch+json" {
        return Err(body::unsupported());
    }
    let options = write::options(request)?;
    let written = request.server.store.update(&request.kind, &key, &options, &mut |old| {
        let mut new = old.clone();
        json_patch::merge(&mut new, &patch);
        Ok(new)
    })?;
    Ok(answer::json_text(200, render::object(&request.kind, &written, request.form)))
}
