//! Writes of parts: JSON patch, merge patch, strategic merge patch, server-side apply.

use apimachinery::Status;
use apimachinery::patch::{Patch, PatchType};
use object_store::{ObjectRef, Part, WriteOptions};

use super::{Request, write};
use crate::answer::Answer;
use crate::{body, decode};

/// PATCH. `part`: of the object itself, or of its status.
pub(crate) async fn patch(request: &Request, part: Part) -> Answer {
    let media_type = body::media_type(&request.headers);
    let how = PatchType::of_media_type(media_type).ok_or_else(unsupported)?;
    let options = write::options(request, "PatchOptions")?.of(part);
    if how == PatchType::Apply {
        return apply(request, &options).await;
    }
    if request.query.has("force") {
        let message = "Forbidden: may not be specified for non-apply patch".to_owned();
        return Err(write::invalid("PatchOptions", "force", "FieldValueForbidden", message));
    }
    let (written, warnings) = patch_with(request, how, &options)?;
    write::finish(request, 200, &written, &warnings, &options).await
}

fn patch_with(
    request: &Request,
    how: PatchType,
    options: &WriteOptions,
) -> Result<(ObjectRef, Vec<String>), Status> {
    let validation = decode::validation(&request.query)?;
    let patch = Patch::read(how, &request.body, request.schema.is_custom())?;
    let key = request.key()?;
    // Not under the store's lock: what a table shows is read from the store.
    let show = request.show();
    let mut warnings = Vec::new();
    let written = request.server.store.update(&request.kind, &key, options, &mut |old| {
        let old = show.of_version(old);
        let patched = patch.apply(&request.kind, request.schema.typed(), &old, validation)?;
        warnings = patched.warnings;
        Ok(patched.object)
    })?;
    Ok((written, warnings))
}

async fn apply(request: &Request, options: &WriteOptions) -> Answer {
    if request.query.get("fieldManager").is_none() {
        let message = "Required value: is required for apply patch".to_owned();
        return Err(write::invalid("PatchOptions", "fieldManager", "FieldValueRequired", message));
    }
    let validation = decode::validation(&request.query)?;
    let key = request.key()?;
    let text = decode::json(&request.headers, &request.body)?;
    let namespace = request.namespace.as_deref().unwrap_or("");
    let config =
        apimachinery::decode::config(&request.kind, &key.name, namespace, &text, validation)?;
    let force = request.query.is_on("force");
    let store = &request.server.store;
    let (written, new) = store.apply(&request.kind, &key, &config.object, force, options)?;
    let code = if new { 201 } else { 200 };
    write::finish(request, code, &written, &config.warnings, options).await
}

fn unsupported() -> Status {
    let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, application/strategic-merge-patch+json";
    Status::new(415, apimachinery::Reason::UnsupportedMediaType, message)
}
