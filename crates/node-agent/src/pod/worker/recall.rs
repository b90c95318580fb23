//! What a pod's task knows before anything runs.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use serde_json::Value;

use crate::pod::container::{Container, State, Terminated, idle};
use crate::pod::plan::Role;

/// The containers of a pod as they stand before anything runs. What ran in an earlier life of the cluster has ended with it.
pub(super) fn containers(pod: &Pod, object: &Value) -> Vec<Container> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let idle = idle(spec.init_containers.as_ref().is_some_and(|all| !all.is_empty()));
    let one = |spec: &Spec, role| {
        let mut container = Container::new(Arc::new(spec.clone()), role, idle);
        let list = if role == Role::Main { "containerStatuses" } else { "initContainerStatuses" };
        let all = object["status"][list].as_array().into_iter().flatten();
        if let Some(before) = all.into_iter().find(|one| one["name"] == spec.name.as_str()) {
            recall(&mut container, before);
        }
        container
    };
    let init = spec.init_containers.iter().flatten().map(|spec| {
        let is_sidecar = spec.restart_policy.as_deref() == Some("Always");
        one(spec, if is_sidecar { Role::Sidecar } else { Role::Init })
    });
    init.chain(spec.containers.iter().map(|spec| one(spec, Role::Main))).collect()
}

/// Takes over what an earlier agent wrote about a container.
fn recall(container: &mut Container, before: &Value) {
    container.restarts =
        before["restartCount"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
    let time = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let ran = &before["state"]["running"];
    let ended = &before["state"]["terminated"];
    let how = if ran.is_object() {
        // Exit status and reason of the kubelet for a container that vanished with its node.
        let (code, reason) = (137, "ContainerStatusUnknown".to_owned());
        let message = "The container could not be located when the pod was terminated".to_owned();
        let started = time(&ran["startedAt"]);
        let id = before["containerID"].as_str().unwrap_or("").to_owned();
        let finished = Timestamp::now();
        Terminated { code, signal: None, reason, message, started, finished, id }
    } else if ended.is_object() {
        Terminated {
            code: ended["exitCode"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(255),
            signal: None,
            reason: ended["reason"].as_str().unwrap_or("Error").to_owned(),
            message: ended["message"].as_str().unwrap_or("").to_owned(),
            started: time(&ended["startedAt"]),
            finished: time(&ended["finishedAt"]).unwrap_or(Timestamp::UNIX_EPOCH),
            id: ended["containerID"].as_str().unwrap_or("").to_owned(),
        }
    } else {
        return;
    };
    container.begun = true;
    container.id.clone_from(&how.id);
    container.state = State::Terminated(how);
}

pub(super) fn start_time(object: &Value) -> Option<Timestamp> {
    object["status"]["startTime"].as_str()?.parse().ok()
}
