//! The watch: kube's watcher, its errors bounded by a growing pause, its objects turned into plain data.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;

use crate::{Conditions, Event, Family, Slice, SliceEndpoint, SlicePort};

/// The label that names a slice's Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Events that may wait for whoever reads them. A reader that is slower slows the watch down.
const EVENTS: usize = 256;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The slices of a Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The pods of an inference pool: those that carry all labels, one slice a pod.
    Pool {
        /// The pool's namespace, and theirs.
        namespace: String,
        /// Its selector.
        labels: BTreeMap<String, String>,
        /// Its target ports: each is a replica of its own.
        ports: Vec<u16>,
    },
    /// The same, as an InferencePool says it, whatever it says next.
    InferencePool {
        /// Its namespace, and its pods'.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// A client of the cluster that a kubeconfig names, or, without one, of the cluster around.
///
/// # Errors
/// [`kube_connect::ConnectError`].
pub async fn client(
    kubeconfig: Option<&std::path::Path>,
) -> Result<Client, kube_connect::ConnectError> {
    kube_connect::client(kube_connect::config(kubeconfig, None).await?)
}

/// Starts to watch; ends when nobody reads any more. Needs a runtime, and the right to list and watch.
#[must_use]
pub fn watch(client: Client, source: Source) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        match source {
            Source::Service { namespace, name } => {
                let api: Api<EndpointSlice> = Api::namespaced(client, &namespace);
                let config = watcher::Config::default().labels(&format!("{SERVICE_LABEL}={name}"));
                pass(watcher(api, config), slice, &events).await;
            }
            Source::Pool { namespace, labels, ports } => {
                let api: Api<Pod> = Api::namespaced(client, &namespace);
                let config = pods_with(&labels);
                pass(watcher(api, config), |pod| pod_slice(pod, &ports), &events).await;
            }
            Source::InferencePool { namespace, name } => {
                crate::inference::follow_pool(client, namespace, name, events).await;
            }
        }
    });
    receiver
}

/// Those that carry all of the labels.
pub(crate) fn pods_with(labels: &BTreeMap<String, String>) -> watcher::Config {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    watcher::Config::default().labels(&labels.join(","))
}

/// Hands events on until nobody reads.
pub(crate) async fn pass<K: ResourceExt>(
    stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
    read: impl Fn(K) -> Slice,
    events: &mpsc::Sender<Event>,
) {
    // Pauses from 0.8 s to 30 s, as client-go's reflector makes them.
    let mut stream = pin!(stream.default_backoff());
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            () = events.closed() => return,
        };
        let event = match next {
            None => return,
            Some(Ok(watcher::Event::Init)) => Event::ListBegins,
            Some(Ok(watcher::Event::InitApply(object))) => Event::Listed(read(object)),
            Some(Ok(watcher::Event::InitDone)) => Event::ListEnds,
            Some(Ok(watcher::Event::Apply(object))) => Event::Applied(read(object)),
            Some(Ok(watcher::Event::Delete(object))) => Event::Deleted(object.name_any()),
            Some(Err(error)) => {
                tracing::warn!(%error, "the watch was cut, and begins again");
                Event::Lost
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

fn slice(object: EndpointSlice) -> Slice {
    let name = object.name_any();
    let family = match object.address_type.as_str() {
        "IPv4" => Family::Ipv4,
        "IPv6" => Family::Ipv6,
        _ => Family::Fqdn,
    };
    let ports = object.ports.unwrap_or_default().into_iter().map(|port| SlicePort {
        name: port.name.unwrap_or_default(),
        number: port.port.and_then(|number| u16::try_from(number).ok()),
    });
    let endpoints = object.endpoints.into_iter().map(|endpoint| {
        let conditions = endpoint.conditions.unwrap_or_default();
        let zones = endpoint.hints.and_then(|hints| hints.for_zones).unwrap_or_default();
        SliceEndpoint {
            addresses: endpoint.addresses,
            conditions: Conditions {
                ready: conditions.ready,
                serving: conditions.serving,
                terminating: conditions.terminating,
            },
            pod: endpoint.target_ref.and_then(|target| target.uid),
            zone: endpoint.zone,
            for_zones: zones.into_iter().map(|zone| zone.name).collect(),
        }
    });
    Slice { name, family, ports: ports.collect(), endpoints: endpoints.collect() }
}

/// A pod as the one slice that it would be in: conditions as Kubernetes' own endpoint slice controller finds them.
pub(crate) fn pod_slice(pod: Pod, ports: &[u16]) -> Slice {
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let (name, pod_uid) = (pod.name_any(), pod.uid());
    let status = pod.status.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let serving = conditions.iter().any(|each| each.type_ == "Ready" && each.status == "True");
    // A pod that has ended keeps its last address in its status.
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let address = status.pod_ip.filter(|ip| !ip.is_empty() && !ended);
    let v6 = address.as_ref().is_some_and(|ip| ip.contains(':'));
    let ports = ports.iter().map(|number| SlicePort { name: String::new(), number: Some(*number) });
    let endpoint = address.map(|address| SliceEndpoint {
        addresses: vec![address],
        conditions: Conditions {
            ready: Some(serving && !terminating),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        pod: pod_uid,
        zone: None,
        for_zones: Vec::new(),
    });
    Slice {
        name,
        family: if v6 { Family::Ipv6 } else { Family::Ipv4 },
        ports: ports.collect(),
        endpoints: endpoint.into_iter().collect(),
    }
}
