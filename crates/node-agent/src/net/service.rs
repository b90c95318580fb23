//! Services: an address, a name, and a relay to whoever is ready behind it.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apimachinery::{Key, Meta};
use object_store::Selection;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::hosts::Named;
use super::relay::{self, Ends};
use super::{Net, source};
use crate::agent::Shared;

/// How long a client stays with its endpoint, unless the service says otherwise (3 hours).
const AFFINITY: u64 = 10800;
/// Clients that are remembered by one port.
const CLIENTS: usize = 4096;
/// Pause after an address could not be bound.
const RETRY: Duration = Duration::from_millis(500);

/// All services.
#[derive(Default)]
pub(super) struct Services {
    state: Mutex<BTreeMap<Key, Service>>,
}

/// A service as it is served.
struct Service {
    address: Option<Ipv4Addr>,
    ports: Vec<Port>,
    named: Named,
    portals: HashMap<(SocketAddr, String), Portal>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    name: String,
    number: u16,
    node_port: Option<u16>,
}

/// Where one address and port of a service leads.
struct Portal {
    targets: watch::Sender<Targets>,
    task: AbortHandle,
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who serves a port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Targets {
    endpoints: Vec<SocketAddr>,
    /// For so long a client stays with one.
    affinity: Option<Duration>,
}

/// An endpoint of a slice.
#[derive(Debug, Clone)]
struct Endpoint {
    address: Ipv4Addr,
    hostname: Option<String>,
    ready: bool,
    /// Terminating, but still serving.
    serving: bool,
    /// By the name of the service's port.
    ports: Vec<(String, u16)>,
}

impl Services {
    fn state(&self) -> MutexGuard<'_, BTreeMap<Key, Service>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names and addresses of all.
    pub(super) fn named(&self) -> Vec<Named> {
        self.state().values().map(|service| service.named.clone()).collect()
    }

    /// Variables that name the services of a namespace (as of Docker links).
    pub(super) fn variables(&self, namespace: &str) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        // The API server is named in every namespace.
        let is_meant = |key: &Key| {
            key.namespace == namespace || (key.namespace == "default" && key.name == "kubernetes")
        };
        for (key, service) in self.state().iter().filter(|(key, _)| is_meant(key)) {
            let Some(address) = service.address else { continue };
            let name = key.name.to_uppercase().replace('-', "_");
            let Some(first) = service.ports.first() else { continue };
            all.insert(format!("{name}_SERVICE_HOST"), address.to_string());
            all.insert(format!("{name}_SERVICE_PORT"), first.number.to_string());
            all.insert(format!("{name}_PORT"), format!("tcp://{address}:{}", first.number));
            for port in &service.ports {
                let number = port.number;
                if !port.name.is_empty() {
                    let port_name = port.name.to_uppercase().replace('-', "_");
                    all.insert(format!("{name}_SERVICE_PORT_{port_name}"), number.to_string());
                }
                let tcp = format!("{name}_PORT_{number}_TCP");
                all.insert(tcp.clone(), format!("tcp://{address}:{number}"));
                all.insert(format!("{tcp}_PROTO"), "tcp".to_owned());
                all.insert(format!("{tcp}_PORT"), number.to_string());
                all.insert(format!("{tcp}_ADDR"), address.to_string());
            }
        }
        all
    }
}

/// Keeps all services as their objects say, until the agent ends.
pub(super) async fn follow(shared: Arc<Shared>, net: Net) {
    let services = shared.store.kind("", "services");
    let slices = shared.store.kind("discovery.k8s.io", "endpointslices");
    loop {
        // From the beginning, and again whenever changes were missed.
        let revision = shared.store.revision();
        let mut keys: Vec<Key> = net.inner.services.state().keys().cloned().collect();
        let there = shared.store.select(&services, &Selection::default());
        keys.extend(there.iter().map(|service| service.key()));
        keys.sort();
        keys.dedup();
        for key in &keys {
            sync(&shared, &net, key);
        }
        let watch = |kind| shared.store.watch(kind, Selection::default(), Some(revision));
        let (Ok(mut of_services), Ok(mut of_slices)) = (watch(&services), watch(&slices)) else {
            continue;
        };
        loop {
            let key = tokio::select! {
                change = of_services.next() => match change {
                    Ok(change) => change.object.key(),
                    Err(_) => break,
                },
                change = of_slices.next() => match change {
                    Ok(change) => {
                        let slice = change.object.value();
                        let name = slice.label("kubernetes.io/service-name").unwrap_or("");
                        Key::namespaced(slice.namespace(), name)
                    }
                    Err(_) => break,
                },
            };
            sync(&shared, &net, &key);
        }
    }
}

/// Brings one service in line with its objects.
fn sync(shared: &Arc<Shared>, net: &Net, key: &Key) {
    let kind = shared.store.kind("", "services");
    let services = &net.inner.services;
    let Ok(object) = shared.store.get(&kind, key) else {
        let gone = services.state().remove(key);
        if gone.is_some() {
            net.inner.hosts.refresh(&services.named());
        }
        return;
    };
    let value = object.value();
    let endpoints = endpoints(shared, key);
    let service = services.state().remove(key);
    let known = service.is_some();
    let service = serve(net, value, &endpoints, service);
    let named = service.named.clone();
    let mut state = services.state();
    state.insert(key.clone(), service);
    drop(state);
    let all = services.named();
    if !known || all.contains(&named) {
        net.inner.hosts.refresh(&all);
    }
}

/// Endpoints of a service, from all of its slices.
fn endpoints(shared: &Shared, key: &Key) -> Vec<Endpoint> {
    let kind = shared.store.kind("discovery.k8s.io", "endpointslices");
    let name = key.name.clone();
    let selection = Selection::in_namespace(key.namespace.clone())
        .matching(move |slice| slice.label("kubernetes.io/service-name") == Some(&name));
    let slices = shared.store.select(&kind, &selection);
    let mut all = Vec::new();
    for slice in &slices {
        let ports = slice.value()["ports"].as_array().into_iter().flatten();
        let ports: Vec<(String, u16)> = ports
            .filter_map(|port| {
                let number = u16::try_from(port["port"].as_u64()?).ok()?;
                Some((port["name"].as_str().unwrap_or("").to_owned(), number))
            })
            .collect();
        for one in slice.value()["endpoints"].as_array().into_iter().flatten() {
            let is = |name: &str, default| one["conditions"][name].as_bool().unwrap_or(default);
            let Some(address) = one["addresses"][0].as_str().and_then(|text| text.parse().ok())
            else {
                continue;
            };
            let ready = is("ready", true);
            all.push(Endpoint {
                address,
                hostname: one["hostname"].as_str().map(str::to_owned),
                ready,
                serving: is("serving", ready),
                ports: ports.clone(),
            });
        }
    }
    all
}

/// Serves a service as it is now; what stays the same goes on undisturbed.
fn serve(net: &Net, service: &Value, endpoints: &[Endpoint], before: Option<Service>) -> Service {
    let spec = &service["spec"];
    let is_tcp = |port: &&Value| port["protocol"].as_str().is_none_or(|name| name == "TCP");
    let number =
        |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    let list = spec["ports"].as_array().into_iter().flatten();
    let ports: Vec<Port> = list
        .filter(is_tcp)
        .filter_map(|port| {
            // One on 127.0.0.1 is no virtual address but the API server's own: it is there already, on its target port.
            let own =
                (spec["clusterIP"] == "127.0.0.1").then(|| number(&port["targetPort"])).flatten();
            Some(Port {
                name: port["name"].as_str().unwrap_or("").to_owned(),
                number: own.or_else(|| number(&port["port"]))?,
                node_port: number(&port["nodePort"]),
            })
        })
        .collect();
    let address: Option<Ipv4Addr> = spec["clusterIP"].as_str().and_then(|text| text.parse().ok());
    let affinity = (spec["sessionAffinity"] == "ClientIP").then(|| {
        let seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_u64();
        Duration::from_secs(seconds.unwrap_or(AFFINITY))
    });
    let key = Key::of(service);
    let mut old = before.map(|mut before| std::mem::take(&mut before.portals)).unwrap_or_default();
    let mut portals = HashMap::new();
    for port in &ports {
        let targets = Targets { endpoints: usable(endpoints, &port.name), affinity };
        let virtual_address = address.map(|address| SocketAddr::from((address, port.number)));
        let on_node = port.node_port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        for at in virtual_address.into_iter().chain(on_node) {
            let id = (at, port.name.clone());
            let portal = match old.remove(&id) {
                Some(portal) => {
                    portal.targets.send_if_modified(|now| {
                        let differs = *now != targets;
                        now.clone_from(&targets);
                        differs
                    });
                    portal
                }
                None => {
                    let (sender, receiver) = watch::channel(targets.clone());
                    let task = tokio::spawn(portal(net.clone(), key.clone(), at, receiver));
                    Portal { targets: sender, task: task.abort_handle() }
                }
            };
            portals.insert(id, portal);
        }
    }
    Service { address, ports, named: named(&key, service, address, endpoints), portals }
}

/// Who may be sent connections for a port: the ready ones; without any, those that end but still serve (as kube-proxy).
fn usable(endpoints: &[Endpoint], port: &str) -> Vec<SocketAddr> {
    let pick = |fits: fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
        let fitting = endpoints.iter().filter(|one| fits(one));
        let at = fitting.flat_map(|one| {
            let numbers = one.ports.iter().filter(|(name, _)| name == port);
            numbers.map(|(_, number)| SocketAddr::from((one.address, *number)))
        });
        at.collect()
    };
    let ready = pick(|one| one.ready);
    if ready.is_empty() { pick(|one| one.serving) } else { ready }
}

fn named(key: &Key, service: &Value, address: Option<Ipv4Addr>, endpoints: &[Endpoint]) -> Named {
    let spec = &service["spec"];
    let publishes = spec["publishNotReadyAddresses"] == true;
    let ready = || endpoints.iter().filter(|one| one.ready || publishes);
    let addresses = if let Some(address) = address {
        vec![address]
    } else if spec["type"] == "ExternalName" {
        resolve(spec["externalName"].as_str().unwrap_or(""))
    } else {
        ready().map(|one| one.address).collect()
    };
    let pods = ready().filter_map(|one| Some((one.hostname.clone()?, one.address)));
    let pods = if address.is_none() { pods.collect() } else { Vec::new() };
    Named { name: key.name.clone(), namespace: key.namespace.clone(), addresses, pods }
}

/// Addresses of a name outside the cluster, as this machine knows them now.
fn resolve(name: &str) -> Vec<Ipv4Addr> {
    let found = (name, 0).to_socket_addrs().into_iter().flatten();
    let mut all: Vec<Ipv4Addr> = found
        .filter_map(|at| match at.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Serves one address and port of a service: refuses connections while nobody is behind it.
async fn portal(net: Net, service: Key, at: SocketAddr, mut targets: watch::Receiver<Targets>) {
    let next = AtomicUsize::new(0);
    let mut clients: HashMap<String, (SocketAddr, Instant)> = HashMap::new();
    let mut connections = JoinSet::new();
    let room = Arc::new(Semaphore::new(relay::CONNECTIONS));
    loop {
        if targets.borrow_and_update().endpoints.is_empty() {
            tokio::select! {
                changed = targets.changed() => if changed.is_err() { return },
                Some(_ended) = connections.join_next() => {}
            }
            continue;
        }
        let listener = match TcpListener::bind(at).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(service = %service.name, %at, %error, "the service's address cannot be bound");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        while !targets.borrow().endpoints.is_empty() {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                changed = targets.changed() => if changed.is_err() { return } else { continue },
                Some(_ended) = connections.join_next() => continue,
            };
            let Ok((client, from)) = accepted else {
                tokio::time::sleep(RETRY / 10).await;
                continue;
            };
            let now = targets.borrow().clone();
            let Some(to) = choose(&net, &now, &next, &mut clients, (from, at)) else { continue };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                relay::reset(&client);
                continue;
            };
            let net = net.clone();
            connections.spawn(async move {
                let _permit = permit;
                pass(net, client, from, at, to).await;
            });
        }
    }
}

/// The endpoint for a new connection: in turn, or the one that this client had.
fn choose(
    net: &Net,
    targets: &Targets,
    next: &AtomicUsize,
    clients: &mut HashMap<String, (SocketAddr, Instant)>,
    (from, at): (SocketAddr, SocketAddr),
) -> Option<SocketAddr> {
    let in_turn = || {
        let count = targets.endpoints.len();
        let index = next.fetch_add(1, Ordering::Relaxed).checked_rem(count)?;
        targets.endpoints.get(index).copied()
    };
    let Some(stay) = targets.affinity else { return in_turn() };
    // All clients have the same address here, so that a pod is known by its processes.
    let pod = net.inner.shared.get().and_then(std::sync::Weak::upgrade);
    let pod = pod.and_then(|shared| source::pod_of(&shared, from, at));
    let client =
        pod.map_or_else(|| from.ip().to_string(), |key| format!("{}/{}", key.namespace, key.name));
    let now = Instant::now();
    let known = clients
        .get(&client)
        .filter(|(to, seen)| targets.endpoints.contains(to) && now.duration_since(*seen) < stay);
    let to = known.map(|(to, _)| *to).or_else(in_turn)?;
    if clients.len() >= CLIENTS {
        clients.retain(|_, (_, seen)| now.duration_since(*seen) < stay);
        if clients.len() >= CLIENTS {
            clients.clear();
        }
    }
    clients.insert(client, (to, now));
    Some(to)
}

/// Passes a connection on: to a pod of ours straight to its program, by the same rules as its own relay.
async fn pass(net: Net, client: TcpStream, from: SocketAddr, at: SocketAddr, to: SocketAddr) {
    if let IpAddr::V4(address) = to.ip()
        && let Some(pod) = net.pod_at(address)
    {
        let ends = Ends { net, server: pod.key, from, at };
        relay::connection(ends, client, SocketAddr::from((pod.bind, to.port()))).await;
        return;
    }
    let mut client = client;
    match TcpStream::connect(to).await {
        Ok(mut served) => {
            let _one_side_cut = tokio::io::copy_bidirectional(&mut client, &mut served).await;
        }
        Err(_) => relay::reset(&client),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8, ready: bool, serving: bool) -> Endpoint {
        let ports = vec![("http".to_owned(), 8000), ("metrics".to_owned(), 9000)];
        Endpoint { address: Ipv4Addr::new(127, 16, 0, last), hostname: None, ready, serving, ports }
    }

    #[test]
    fn those_that_end_are_used_only_when_nobody_is_ready() {
        let at = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 16, 0, last), 8000));
        let both = [endpoint(1, true, true), endpoint(2, false, true), endpoint(3, false, false)];
        assert_eq!(usable(&both, "http"), [at(1)]);
        assert_eq!(usable(&both[1..], "http"), [at(2)]);
        assert_eq!(usable(&both, "grpc"), []);
    }
}
