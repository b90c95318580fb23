//! The watch of one object by its name: whether it is there, and what of it somebody wants to know.

use std::pin::pin;

use futures_util::StreamExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

/// What is known of an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Known<T> {
    /// Nothing: nobody has answered yet.
    #[default]
    Unknown,
    /// It is not there.
    Absent,
    /// It says this.
    Present(T),
}

/// Objects of a kind in a namespace.
pub(crate) fn api(
    client: &Client,
    namespace: &str,
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Follows the object of this name; what is told is always its last state. An error says nothing about it. Ends when nobody looks
/// any more.
pub(crate) fn follow<T: PartialEq + Send + Sync + 'static>(
    api: Api<DynamicObject>,
    name: &str,
    read: impl Fn(&DynamicObject) -> T + Send + 'static,
) -> watch::Receiver<Known<T>> {
    let (told, receiver) = watch::channel(Known::Unknown);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let name = name.to_owned();
    tokio::spawn(async move {
        let mut objects = pin!(watcher(api, config).default_backoff());
        let mut listed = Known::Absent;
        loop {
            let next = tokio::select! {
                next = objects.next() => next,
                () = told.closed() => return,
            };
            let now = match next {
                None => return,
                Some(Ok(watcher::Event::Init)) => {
                    listed = Known::Absent;
                    continue;
                }
                Some(Ok(watcher::Event::InitApply(object))) => {
                    listed = Known::Present(read(&object));
                    continue;
                }
                Some(Ok(watcher::Event::InitDone)) => std::mem::replace(&mut listed, Known::Absent),
                Some(Ok(watcher::Event::Apply(object))) => Known::Present(read(&object)),
                Some(Ok(watcher::Event::Delete(_))) => Known::Absent,
                Some(Err(error)) => {
                    tracing::warn!(%error, %name, "an object cannot be watched");
                    continue;
                }
            };
            told.send_if_modified(|last| {
                let changed = *last != now;
                if changed {
                    *last = now;
                }
                changed
            });
        }
    });
    receiver
}
