//! What is below an object: its scale, its eviction, its binding, its streams.

mod binding;
mod eviction;
mod scale;

use apimachinery::{Status, Subresource};
use http::Method;
use object_store::Part;

use crate::answer::{Answer, no_such_method, no_such_resource};
use crate::resource::{Request, get, patch, replace};
use crate::streams;

/// Answers a request for what is below an object.
pub(crate) async fn answer(request: &mut Request, method: &Method, below: &[String]) -> Answer {
    let [name] = below else { return Err(no_such_resource()) };
    let found = request.kind.subresources.iter().find(|one| one.path() == name);
    let Some(found) = found else { return Err(unknown(request, name)) };
    match (found, method) {
        (Subresource::Status, &Method::GET) => get(request),
        (Subresource::Status, &Method::PUT) => replace(request, Part::Status).await,
        (Subresource::Status, &Method::PATCH) => patch(request, Part::Status).await,
        (Subresource::Scale, &Method::GET) => scale::get(request),
        (Subresource::Scale, &Method::PUT) => scale::replace(request).await,
        (Subresource::Scale, &Method::PATCH) => scale::patch(request).await,
        (Subresource::Eviction, &Method::POST) => eviction::evict(request).await,
        (Subresource::Binding, &Method::POST) => binding::bind(request).await,
        (Subresource::Finalize, &Method::PUT) => replace(request, Part::Whole).await,
        (Subresource::Token, &Method::POST) => {
            Err(Status::not_implemented("tokens of service accounts"))
        }
        (Subresource::Log, &Method::GET) => streams::log(request).await,
        (Subresource::Exec, &Method::GET | &Method::POST) => streams::exec(request, false).await,
        (Subresource::Attach, &Method::GET | &Method::POST) => streams::exec(request, true).await,
        (Subresource::PortForward, &Method::GET | &Method::POST) => streams::forward(request).await,
        _ => Err(no_such_method()),
    }
}

/// What Kubernetes has below this kind and we have not is said to be missing; anything else does not exist.
fn unknown(request: &Request, name: &str) -> Status {
    let known = matches!(
        (request.kind.group.as_str(), request.kind.plural.as_str(), name),
        ("", "pods", "ephemeralcontainers" | "proxy" | "resize")
            | ("", "nodes" | "services", "proxy")
            | ("", "replicationcontrollers", "scale")
    );
    if known {
        return Status::not_implemented(format_args!("{}/{name}", request.kind.plural));
    }
    no_such_resource()
}
