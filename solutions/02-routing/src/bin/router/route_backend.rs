//! One backend of a route, followed: whether it is there, and its replicas.

use std::net::SocketAddr;

use discovery::{Client, Event, Family, Known, ServicePorts, Source};
use sol02_routing::route_plan::{BackendNo, Target};
use sol02_routing::slices::{EndpointTable, Key, Wanted, in_zone};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// What is new of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// It does not exist, or has no such port.
    Missing,
    /// It has these, and no others: who, where, and whether they may get requests.
    Replicas(Vec<(Key, SocketAddr, bool)>),
}

/// Where a backend is looked for.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) zone: Option<String>,
}

/// The watch of a backend. Ends when it is dropped.
pub(crate) struct Watched(JoinHandle<()>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to follow a backend.
pub(crate) fn begin(
    place: Place,
    target: Target,
    no: BackendNo,
    news: mpsc::Sender<(BackendNo, News)>,
) -> Watched {
    Watched(tokio::spawn(async move {
        let mut presence = Presence::of(&place, &target);
        let mut replicas: Option<Replicas> = None;
        loop {
            tokio::select! {
                is = presence.changed() => match is {
                    None => return,
                    Some(Is::Unknown) => {}
                    Some(Is::Missing) => {
                        replicas = None;
                        if news.send((no, News::Missing)).await.is_err() {
                            return;
                        }
                    }
                    Some(Is::There(port)) => {
                        if replicas.as_ref().is_none_or(|known| known.port != port) {
                            replicas = Some(Replicas::begin(&place, &target, port));
                        }
                    }
                },
                found = next(&mut replicas, place.zone.as_deref()) => {
                    if let Some(found) = found
                        && news.send((no, News::Replicas(found))).await.is_err()
                    {
                        return;
                    }
                }
            }
        }
    }))
}

/// Whether a backend is there.
enum Is {
    Unknown,
    Missing,
    /// It is; a Service's port has this name.
    There(Option<String>),
}

/// Who says whether a backend is there.
enum Presence {
    Service(watch::Receiver<Known<ServicePorts>>, u16),
    Pool(watch::Receiver<Known<()>>),
}

// === impl Presence ===

impl Presence {
    fn of(place: &Place, target: &Target) -> Self {
        let (client, namespace) = (&place.client, &place.namespace);
        match target {
            Target::Service(name, port) => {
                Self::Service(discovery::watch_service(client, namespace, name), *port)
            }
            Target::Pool(name) => Self::Pool(discovery::watch_pool(client, namespace, name)),
        }
    }

    /// Waits for a change. `None`: there will be none.
    async fn changed(&mut self) -> Option<Is> {
        match self {
            Self::Service(ports, number) => {
                ports.changed().await.ok()?;
                Some(match &*ports.borrow_and_update() {
                    Known::Unknown => Is::Unknown,
                    Known::Absent => Is::Missing,
                    Known::Present(ports) => match ports.get(number) {
                        Some(name) => Is::There(Some(name.clone())),
                        None => Is::Missing,
                    },
                })
            }
            Self::Pool(pool) => {
                pool.changed().await.ok()?;
                Some(match &*pool.borrow_and_update() {
                    Known::Unknown => Is::Unknown,
                    Known::Absent => Is::Missing,
                    Known::Present(()) => Is::There(None),
                })
            }
        }
    }
}

/// The replicas of a backend that is there.
struct Replicas {
    port: Option<String>,
    table: EndpointTable,
    events: mpsc::Receiver<Event>,
}

// === impl Replicas ===

impl Replicas {
    fn begin(place: &Place, target: &Target, port: Option<String>) -> Self {
        let namespace = place.namespace.clone();
        let source = match target {
            Target::Service(name, _) => Source::Service { namespace, name: name.clone() },
            Target::Pool(name) => Source::InferencePool { namespace, name: name.clone() },
        };
        let wanted = Wanted { port: port.clone(), family: Family::Ipv4 };
        let events = discovery::watch(place.client.clone(), source);
        Self { port, table: EndpointTable::new(wanted), events }
    }
}

/// Waits for news of the replicas. `None`: nothing is known of them yet.
async fn next(
    replicas: &mut Option<Replicas>,
    zone: Option<&str>,
) -> Option<Vec<(Key, SocketAddr, bool)>> {
    let Some(Replicas { table, events, .. }) = replicas else {
        return std::future::pending().await;
    };
    match events.recv().await {
        Some(event) => table.apply(event),
        None => return std::future::pending().await,
    }
    if !table.is_synced() {
        return None;
    }
    let near: Vec<_> = in_zone(table.ready().collect(), zone).iter().map(|near| near.id).collect();
    let all = table.replicas().iter();
    let each = all.map(|each| (each.key.clone(), each.seen.address, near.contains(&each.id)));
    Some(each.collect())
}
