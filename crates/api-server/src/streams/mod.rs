//! A pod's streams: its log, commands in it, connections to its ports.

mod channels;
mod exec;
mod forward;
mod log;
mod upgrade;
mod websocket;

pub(crate) use exec::exec;
pub(crate) use forward::forward;
pub(crate) use log::log;

use apimachinery::{Meta, Status};
use object_store::ObjectRef;
use serde_json::Value;

use crate::resource::Request;

/// The pod that a request names, and that has a node.
fn pod(request: &Request) -> Result<ObjectRef, Status> {
    let pod = request.server.store.get(&request.kind, &request.key()?)?;
    match pod.value()["spec"]["nodeName"].as_str() {
        Some(node) if !node.is_empty() => Ok(pod),
        _ => Err(Status::bad_request(format!(
            "pod {} does not have a host assigned",
            pod.value().name()
        ))),
    }
}

/// The container that a request means: the one it names, or the only one.
fn container(pod: &Value, named: Option<&str>) -> Result<String, Status> {
    let names = |field: &str| -> Vec<&str> {
        let all = pod["spec"][field].as_array().into_iter().flatten();
        all.filter_map(|container| container["name"].as_str()).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    match (named, main.as_slice()) {
        (Some(name), _) if main.contains(&name) || init.contains(&name) => Ok(name.to_owned()),
        (Some(name), _) => Err(Status::bad_request(format!(
            "container {name} is not valid for pod {}",
            pod.name()
        ))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => {
            let mut message = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                pod.name(),
                main.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}
