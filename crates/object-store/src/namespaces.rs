//! What is special about namespaces: some stay, and one that goes takes nothing new.

use apimachinery::{Cause, Details, Kind, Meta, Status};
use serde_json::{Value, json};

/// Namespaces that a cluster cannot be without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

fn is_namespace(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Namespace"
}

/// Refuses to delete what a cluster cannot be without.
///
/// # Errors
/// 403.
pub(crate) fn check_deletion(kind: &Kind, name: &str) -> Result<(), Status> {
    if is_namespace(kind) && IMMORTAL.contains(&name) {
        return Err(Status::forbidden(kind, name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// Says in a namespace that it goes.
pub(crate) fn terminate(kind: &Kind, object: &mut Value) {
    if is_namespace(kind) {
        object["status"]["phase"] = json!("Terminating");
    }
}

/// Why an object cannot be made in a namespace that goes.
pub(crate) fn terminating(kind: &Kind, object: &Value) -> Status {
    let namespace = object.namespace();
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut status = Status::forbidden(kind, object.name(), &why);
    let details: &mut Details = status.details.get_or_insert_default();
    details.causes = vec![Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    }];
    status
}
