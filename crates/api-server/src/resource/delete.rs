//! Deletions.

use apimachinery::{Kind, Meta, Status};
use object_store::{DeleteOptions, List, ListOptions, Object, Preconditions, Propagation};
use serde_json::{Value, json};

use super::{Request, select, write};
use crate::answer::{self, Answer};
use crate::body;

/// DELETE of one object.
pub(crate) async fn delete(request: &Request) -> Answer {
    let key = request.key()?;
    let options = options(request)?;
    let (object, gone) = request.server.store.delete(&request.kind, &key, &options)?;
    if gone && !returns_object(&request.kind) {
        return Ok(answer::json(200, &success(&request.kind, &object)));
    }
    Ok(answer::json_text(200, request.show().object(&object)))
}

/// DELETE of all that are meant.
pub(crate) async fn delete_collection(request: &Request) -> Answer {
    let selection = select::selection(request)?;
    let options = options(request)?;
    let store = &request.server.store;
    let all = store.list(&request.kind, &selection, &ListOptions::default())?;
    let mut items = Vec::with_capacity(all.items.len());
    for item in &all.items {
        match store.delete(&request.kind, &item.key(), &options) {
            Ok((object, _)) => items.push(object),
            // Somebody else was quicker.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let list = List { revision: store.revision(), items, next: None, remaining: None };
    Ok(answer::json_text(200, request.show().list(&list, None)))
}

/// Kinds of which a deletion shows the object, and not only that it worked.
fn returns_object(kind: &Kind) -> bool {
    let kinds = ["Pod", "Service", "ServiceAccount", "PersistentVolumeClaim", "PersistentVolume"];
    kinds.contains(&kind.kind.as_str()) && kind.group.is_empty()
}

fn success(kind: &Kind, object: &Object) -> Value {
    let mut details =
        json!({"name": object.value().name(), "kind": kind.plural, "uid": object.value().uid()});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// What a deletion asks for: in its body, or in its query.
pub(crate) fn options(request: &Request) -> Result<DeleteOptions, Status> {
    let given = body::object(&request.headers, &request.body)?.unwrap_or(Value::Null);
    read_options(request, &given)
}

/// What a deletion asks for: as an object says it, or the request's query.
pub(crate) fn read_options(request: &Request, given: &Value) -> Result<DeleteOptions, Status> {
    let query = &request.query;
    let grace = given["gracePeriodSeconds"].as_i64().or(query.number("gracePeriodSeconds")?);
    let propagation = given["propagationPolicy"].as_str().or(query.get("propagationPolicy"));
    let propagation = match (propagation, given["orphanDependents"].as_bool()) {
        (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
        (None, None) => None,
        (Some(other), _) => {
            return Err(Status::bad_request(format!(
                "invalid propagationPolicy {other:?}: must be Background, Foreground or Orphan"
            )));
        }
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let preconditions = Preconditions {
        uid: text(&given["preconditions"]["uid"]),
        resource_version: text(&given["preconditions"]["resourceVersion"]),
    };
    let in_body = given["dryRun"].as_array().is_some_and(|all| all.iter().any(|one| one == "All"));
    let dry_run = in_body || write::dry_run(request, "DeleteOptions")?;
    Ok(DeleteOptions { grace_period_seconds: grace, propagation, preconditions, dry_run })
}
