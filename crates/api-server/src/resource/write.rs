//! Writes of whole objects: create and replace.

use apimachinery::{Cause, Details, Kind, Meta, Reason, Status};
use http::header::USER_AGENT;
use object_store::{ObjectRef, Part, WriteOptions};
use serde_json::Value;

use super::Request;
use crate::answer::{self, Answer};
use crate::decode;

/// The longest name of a field manager.
const MANAGER: usize = 128;

/// POST.
pub(crate) async fn create(request: &Request) -> Answer {
    let (mut object, warnings) = read(request)?;
    place(request, &mut object)?;
    if !object.resource_version().is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Status::bad_request(message));
    }
    let options = options(request, "CreateOptions")?;
    let created = request.server.store.create(&request.kind, object, &options)?;
    finish(request, 201, &created, &warnings, &options).await
}

/// PUT. `part`: of the object itself, or of its status.
pub(crate) async fn replace(request: &Request, part: Part) -> Answer {
    let (mut object, warnings) = read(request)?;
    place(request, &mut object)?;
    let key = request.key()?;
    if object.name().is_empty() {
        object.metadata_mut().insert("name".to_owned(), key.name.clone().into());
    }
    if object.name() != key.name {
        let (is, url) = (object.name(), &key.name);
        return Err(Status::bad_request(format!(
            "the name of the object ({is}) does not match the name on the URL ({url})"
        )));
    }
    if object.resource_version().is_empty() && request.schema.is_custom() {
        let cause = Cause {
            reason: "FieldValueInvalid".to_owned(),
            message: "Invalid value: 0: must be specified for an update".to_owned(),
            field: "metadata.resourceVersion".to_owned(),
        };
        return Err(Status::invalid(&request.kind, &key.name, vec![cause]));
    }
    let options = options(request, "UpdateOptions")?.of(part);
    let written = request.server.store.replace(&request.kind, &object, &options)?;
    finish(request, 200, &written, &warnings, &options).await
}

/// Answers with what was written, once it is kept.
pub(crate) async fn finish(
    request: &Request,
    code: u16,
    object: &ObjectRef,
    warnings: &[String],
    options: &WriteOptions,
) -> Answer {
    if !options.dry_run {
        request.server.store.written(object.revision()).await?;
    }
    let mut response = answer::json_text(code, request.show().object(object));
    let more = apimachinery::validate::warnings(&request.kind, object.value());
    for warning in warnings.iter().chain(&more) {
        answer::warn(&mut response, warning);
    }
    Ok(response)
}

/// The object in the body, of the kind that the path names, and warnings about it.
fn read(request: &Request) -> Result<(Value, Vec<String>), Status> {
    let validation = decode::validation(&request.query)?;
    let (kind, typed) = (&request.kind, request.schema.typed());
    let decoded = decode::object(kind, typed, &request.headers, &request.body, validation)?;
    Ok((decoded.object, decoded.warnings))
}

/// Puts an object where the path says.
pub(crate) fn place(request: &Request, object: &mut Value) -> Result<(), Status> {
    let Some(namespace) = &request.namespace else { return Ok(()) };
    let own = object.namespace();
    if !own.is_empty() && own != namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({own} != {namespace})"
        )));
    }
    object.metadata_mut().insert("namespace".to_owned(), namespace.clone().into());
    Ok(())
}

/// How a request's write is meant. `what` is the name of its options in refusals.
pub(crate) fn options(request: &Request, what: &str) -> Result<WriteOptions, Status> {
    Ok(WriteOptions {
        manager: Some(manager(request, what)?),
        dry_run: dry_run(request, what)?,
        ..WriteOptions::default()
    })
}

/// Whether nothing shall be kept.
pub(crate) fn dry_run(request: &Request, what: &str) -> Result<bool, Status> {
    let asked = request.query.all("dryRun");
    if asked.iter().all(|one| matches!(*one, "All" | "")) {
        return Ok(asked.contains(&"All"));
    }
    let message = format!("Unsupported value: {asked:?}: supported values: \"All\"");
    Err(invalid(what, "dryRun", "FieldValueNotSupported", message))
}

/// 422 for a field of a request's options, like `PatchOptions`.
pub(crate) fn invalid(what: &str, field: &str, reason: &str, message: String) -> Status {
    let whole = format!("{what}.meta.k8s.io \"\" is invalid: {field}: {message}");
    let cause = Cause { reason: reason.to_owned(), message, field: field.to_owned() };
    let details = Details {
        group: "meta.k8s.io".to_owned(),
        kind: what.to_owned(),
        causes: vec![cause],
        ..Details::default()
    };
    Status { details: Some(Box::new(details)), ..Status::new(422, Reason::Invalid, whole) }
}

/// Who writes: as asked, or the first part of the client's name.
fn manager(request: &Request, what: &str) -> Result<String, Status> {
    if let Some(manager) = request.query.get("fieldManager") {
        if manager.len() > MANAGER {
            let message = format!("Too long: may not be more than {MANAGER} bytes");
            return Err(invalid(what, "fieldManager", "FieldValueTooLong", message));
        }
        if manager.chars().any(char::is_control) {
            let message =
                format!("Invalid value: {manager:?}: should only contain printable characters");
            return Err(invalid(what, "fieldManager", "FieldValueInvalid", message));
        }
        return Ok(manager.to_owned());
    }
    let agent = request.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    let name = agent.unwrap_or("").split('/').next().unwrap_or("");
    let name: String = name.chars().take(MANAGER).collect();
    Ok(if name.is_empty() { "unknown".to_owned() } else { name })
}

/// The kind of `autoscaling/v1` `Scale` and other types that are never stored.
pub(crate) fn passing_kind(group: &str, version: &str, kind: &str) -> Kind {
    Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: apimachinery::Scope::Namespaced,
        subresources: apimachinery::SubresourceSet::default(),
    }
}
