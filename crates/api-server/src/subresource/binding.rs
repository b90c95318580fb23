//! Puts a pod on a node: what a scheduler does.

use apimachinery::schema::{Typed, builtin};
use apimachinery::{Meta, Reason, Status};
use object_store::Part;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::decode;
use crate::resource::{Request, passing_kind, write_options};

/// POST.
pub(super) async fn bind(request: &Request) -> Answer {
    let key = request.key()?;
    let validation = decode::validation(&request.query)?;
    let kind = passing_kind("", "v1", "Binding");
    let typed =
        builtin().of_kind("v1", "Binding").map_or_else(Typed::any, |one| Typed::new(&one.schema));
    let binding = decode::object(&kind, typed, &request.headers, &request.body, validation)?.object;
    if binding.name() != key.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let target = &binding["target"];
    let is_node = matches!(target["kind"].as_str(), None | Some("" | "Node"));
    let node = target["name"].as_str().unwrap_or("");
    if !is_node || node.is_empty() {
        return Err(Status::bad_request("the target of a Binding must be a node, by its name"));
    }
    let options = write_options(request, "CreateOptions")?.of(Part::Whole);
    let store = &request.server.store;
    let now = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let written = store.update(&request.kind, &key, &options, &mut |pod| {
        refuse(request, pod, &binding, node)?;
        let mut new = pod.clone();
        new["spec"]["nodeName"] = json!(node);
        set_scheduled(&mut new, &now);
        Ok(new)
    })?;
    if !options.dry_run {
        store.written(written.revision()).await?;
    }
    Ok(answer::success(201))
}

/// Why a pod cannot be bound.
fn refuse(request: &Request, pod: &Value, binding: &Value, node: &str) -> Result<(), Status> {
    let (kind, name) = (&request.kind, pod.name());
    let conflict = |why: String| {
        Err(Status::about(
            409,
            Reason::Conflict,
            format!("Operation cannot be fulfilled on pods/binding {name:?}: {why}"),
            kind,
            name,
        ))
    };
    let uid = binding.uid();
    if !uid.is_empty() && uid != pod.uid() {
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({})",
            pod.uid()
        ));
    }
    if pod.is_terminating() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    match pod["spec"]["nodeName"].as_str() {
        Some(taken) if !taken.is_empty() => {
            conflict(format!("pod {name} is already assigned to node {taken:?}"))
        }
        _ if node.is_empty() => conflict("no node".to_owned()),
        _ => Ok(()),
    }
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let condition = json!({
        "type": "PodScheduled", "status": "True",
        "lastProbeTime": null, "lastTransitionTime": now,
    });
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let Some(all) = pod["status"]["conditions"].as_array_mut() else { return };
    match all.iter_mut().find(|one| one["type"] == "PodScheduled") {
        Some(old) => *old = condition,
        None => all.push(condition),
    }
}
