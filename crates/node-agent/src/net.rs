//! Addresses of pods and services on loopback, the relays behind them, and faults of the links between pods.
//!
//! On Linux every `127.x.y.z` is local without being set up. A pod advertises one address and binds another; between them
//! stands a relay for each declared port, and that is where faults bite. Elsewhere only `127.0.0.1` exists: see [`AddressPlan`].

mod address;
pub mod faults;
mod hosts;
mod http_fault;
mod line;
mod listeners;
mod relay;
mod service;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use apimachinery::Key;
use k8s_openapi::api::core::v1::Pod;
use object_store::ObjectRef;
use tokio::task::AbortHandle;

pub use address::AddressPlan;
pub(crate) use address::PodAddress;
use faults::Faults;
use listeners::Listeners;
use service::Services;

use crate::agent::Shared;
use crate::config::Config;

/// The network of a cluster. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Net {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    plan: AddressPlan,
    /// Pods that are reachable, by their advertised address.
    pods: Mutex<HashMap<Ipv4Addr, Reachable>>,
    pub(crate) faults: Faults,
    listeners: Listeners,
    services: Services,
    hosts: hosts::Hosts,
    /// The rest of the agent: whose a process is.
    shared: OnceLock<Weak<Shared>>,
}

/// A pod as relays see it.
#[derive(Debug, Clone)]
pub(crate) struct Reachable {
    pub(crate) key: Key,
    /// Where its programs listen.
    pub(crate) bind: Ipv4Addr,
}

impl Net {
    /// Claims a block of addresses.
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        let plan = AddressPlan::claim(config.address_cell)?;
        let hosts = hosts::Hosts::new(config.state_dir.join("hosts"))?;
        let inner = Inner {
            plan,
            pods: Mutex::default(),
            faults: Faults::default(),
            listeners: Listeners::default(),
            services: Services::default(),
            hosts,
            shared: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes the rest of the agent known.
    pub(crate) fn know(&self, shared: &Arc<Shared>) {
        let _known_already = self.inner.shared.set(Arc::downgrade(shared));
    }

    pub(crate) fn plan(&self) -> &AddressPlan {
        &self.inner.plan
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Addresses for a new pod. With the node's network there is one, its own.
    pub(crate) fn allocate(&self, host_network: bool, host_ip: &str) -> io::Result<PodAddress> {
        if host_network {
            let address: Ipv4Addr = host_ip.parse().unwrap_or(Ipv4Addr::LOCALHOST);
            return Ok(PodAddress::shared(address));
        }
        self.inner.plan.allocate()
    }

    /// Makes a pod's declared ports reachable, for as long as what is returned lives.
    pub(crate) fn expose(&self, object: &ObjectRef, address: &PodAddress, pod: &Pod) -> Exposed {
        let key = object.key();
        let reachable = Reachable { key: key.clone(), bind: address.bind };
        self.pods().insert(address.advertised, reachable);
        let mut relays = Vec::new();
        if address.advertised != address.bind {
            for port in declared(pod) {
                let at = SocketAddr::from((address.advertised, port));
                let to = SocketAddr::from((address.bind, port));
                let relay = relay::pod_port(self.clone(), key.clone(), at, to);
                relays.push(tokio::spawn(relay).abort_handle());
            }
        }
        let hosts = self.inner.hosts.pod(object.value(), address.advertised, &self.inner.services);
        Exposed { net: self.clone(), address: address.advertised, relays, hosts }
    }

    /// `*_SERVICE_HOST` and the like, for a pod of a namespace.
    pub(crate) fn service_variables(&self, namespace: &str) -> BTreeMap<String, String> {
        self.inner.services.variables(namespace)
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, Reachable>> {
        self.inner.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pod that advertises an address.
    pub(crate) fn pod_at(&self, address: Ipv4Addr) -> Option<Reachable> {
        self.pods().get(&address).cloned()
    }
}

/// TCP ports that a pod's containers declare.
fn declared(pod: &Pod) -> Vec<u16> {
    let spec = pod.spec.iter();
    let sidecars = |spec: &k8s_openapi::api::core::v1::PodSpec| {
        let init = spec.init_containers.clone().unwrap_or_default();
        init.into_iter().chain(spec.containers.clone())
    };
    let ports = spec.flat_map(sidecars).flat_map(|one| one.ports.unwrap_or_default());
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|name| name == "TCP"));
    let mut all: Vec<u16> =
        tcp.filter_map(|port| u16::try_from(port.container_port).ok()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A pod that can be reached. Dropping it ends that.
pub(crate) struct Exposed {
    net: Net,
    address: Ipv4Addr,
    relays: Vec<AbortHandle>,
    hosts: Option<PathBuf>,
}

impl Exposed {
    /// The pod's `/etc/hosts`.
    pub(crate) fn hosts_file(&self) -> Option<PathBuf> {
        self.hosts.clone()
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        self.relays.iter().for_each(AbortHandle::abort);
        self.net.pods().remove(&self.address);
        if let Some(file) = &self.hosts {
            self.net.inner.hosts.forget(file);
        }
    }
}

/// Follows services until the agent ends.
pub(crate) async fn serve(shared: Arc<Shared>) {
    let net = shared.net.clone();
    let watching = tokio::spawn(listeners::watch(net.clone()));
    let _watching = AbortOnDrop(watching.abort_handle());
    service::follow(shared, net).await;
}

/// Another address on which one of a pod's own processes listens.
pub(crate) fn listener_of(shared: &Shared, pod: &Key, port: u16) -> Option<Ipv4Addr> {
    source::listener_of(shared, pod, port)
}

/// Ends a task with whoever holds it.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
