//! Writes of whole objects: create and replace.

use apimachinery::{Meta, Status};
use http::header::USER_AGENT;
use object_store::WriteOptions;
use serde_json::Value;

use super::{Request, render};
use crate::answer::{self, Answer};
use crate::body;

/// The longest name of a field manager.
const MANAGER: usize = 128;

/// POST.
pub(crate) async fn create(request: &Request) -> Answer {
    let mut object = decode(request)?;
    place(request, &mut object)?;
    if !object.resource_version().is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Status::bad_request(message));
    }
    let created = request.server.store.create(&request.kind, object, &options(request)?)?;
    Ok(answer::json_text(201, render::object(&request.kind, &created, request.form)))
}

/// PUT.
pub(crate) async fn replace(request: &Request) -> Answer {
    let mut object = decode(request)?;
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
    let written = request.server.store.replace(&request.kind, &object, &options(request)?)?;
    Ok(answer::json_text(200, render::object(&request.kind, &written, request.form)))
}

/// The object in the body, of the kind that the path names.
fn decode(request: &Request) -> Result<Value, Status> {
    let object = body::object(&request.headers, &request.body)?;
    let object = object.ok_or_else(|| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): the body is empty",
            request.kind.kind
        ))
    })?;
    let (expected, kind) = (request.kind.api_version(), &request.kind.kind);
    match object["apiVersion"].as_str() {
        Some(is) if !is.is_empty() && is != expected => Err(Status::bad_request(format!(
            "the API version in the data ({is}) does not match the expected API version ({expected})"
        ))),
        _ => match object["kind"].as_str() {
            Some(is) if !is.is_empty() && is != kind => Err(Status::bad_request(format!(
                "{is} in version {expected:?} cannot be handled as a {kind}"
            ))),
            _ => Ok(object),
        },
    }
}

/// Puts an object where the path says.
fn place(request: &Request, object: &mut Value) -> Result<(), Status> {
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

/// How a request's write is meant.
pub(crate) fn options(request: &Request) -> Result<WriteOptions, Status> {
    Ok(WriteOptions {
        manager: Some(manager(request)?),
        dry_run: dry_run(request)?,
        ..WriteOptions::default()
    })
}

/// Whether nothing shall be kept.
pub(crate) fn dry_run(request: &Request) -> Result<bool, Status> {
    match request.query.get("dryRun") {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(Status::bad_request(format!(
            "dryRun: Unsupported value: {other:?}: supported values: \"All\""
        ))),
    }
}

/// Who writes: as asked, or the first part of the client's name.
fn manager(request: &Request) -> Result<String, Status> {
    if let Some(manager) = request.query.get("fieldManager") {
        if manager.len() > MANAGER || manager.chars().any(char::is_control) {
            return Err(Status::bad_request(format!(
                "fieldManager: may not be longer than {MANAGER} bytes, and must be printable"
            )));
        }
        return Ok(manager.to_owned());
    }
    let agent = request.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    let name = agent.unwrap_or("").split('/').next().unwrap_or("");
    let name: String = name.chars().take(MANAGER).collect();
    Ok(if name.is_empty() { "unknown".to_owned() } else { name })
}
