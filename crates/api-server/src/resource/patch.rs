//! Writes of parts: JSON patch, merge patch, strategic merge patch, server-side apply.

use apimachinery::apply::Writer;
use apimachinery::patch::{Patch, PatchType};
use apimachinery::{Meta, Status};
use object_store::{ObjectRef, Part, WriteOptions};
use serde_json::{Value, json};

use super::{Request, write};
use crate::answer::Answer;
use crate::{body, decode};

/// How often an apply starts again because its object came or went meanwhile.
const TRIES: usize = 5;

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
    let mut warnings = Vec::new();
    let written = request.server.store.update(&request.kind, &key, options, &mut |old| {
        let old = request.show().of_version(old);
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
    let (kind, typed) = (&request.kind, request.schema.typed());
    let decoded = decode::object(kind, typed, &request.headers, &request.body, validation)?;
    let mut config = decoded.object;
    write::place(request, &mut config)?;
    let key = request.key()?;
    if config.name().is_empty() {
        config.metadata_mut().insert("name".to_owned(), key.name.clone().into());
    }
    if config.name() != key.name {
        return Err(Status::bad_request("name in URL does not match name in the applied object"));
    }
    let options = WriteOptions { applied: true, ..options.clone() };
    for _ in 0..TRIES {
        match apply_once(request, &config, &options) {
            // It came or went between the look and the write.
            Err(status) if status.code == 404 && options.part == Part::Main => {}
            Err(status) if status.reason == apimachinery::Reason::AlreadyExists => {}
            Err(status) => return Err(status),
            Ok((code, written)) => {
                return write::finish(request, code, &written, &decoded.warnings, &options).await;
            }
        }
    }
    Err(Status::conflict(kind, &key.name, "the object comes and goes too quickly"))
}

fn apply_once(
    request: &Request,
    config: &Value,
    options: &WriteOptions,
) -> Result<(u16, ObjectRef), Status> {
    let store = &request.server.store;
    let key = request.key()?;
    let now = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let writer = Writer {
        kind: &request.kind,
        typed: request.schema.typed(),
        manager: options.manager.as_deref().unwrap_or(""),
        subresource: if options.part == Part::Status { "status" } else { "" },
        now: &now,
    };
    let force = request.query.is_on("force");
    let settled = |mut object: Value| {
        apimachinery::decode::settle(request.schema.typed(), &mut object)
            .map_err(|mismatch| Status::bad_request(mismatch.to_string()))?;
        Ok(object)
    };
    if store.get(&request.kind, &key).is_ok() || options.part == Part::Status {
        let written = store.update(&request.kind, &key, options, &mut |old| {
            let old = request.show().of_version(old);
            settled(writer.apply(&old, config, force)?)
        })?;
        return Ok((200, written));
    }
    if !config.uid().is_empty() {
        return Err(Status::conflict(
            &request.kind,
            &key.name,
            &format!(
                "uid mismatch: the provided object specified uid {}, and no existing object was found",
                config.uid()
            ),
        ));
    }
    let empty = json!({"apiVersion": request.kind.api_version(), "kind": request.kind.kind});
    let object = settled(writer.apply(&settled(empty)?, config, force)?)?;
    Ok((201, store.create(&request.kind, object, options)?))
}

fn unsupported() -> Status {
    let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, application/strategic-merge-patch+json";
    Status::new(415, apimachinery::Reason::UnsupportedMediaType, message)
}
