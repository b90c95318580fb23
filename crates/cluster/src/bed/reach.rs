//! Where a pod or a Service is reached from this machine.

use std::time::Duration;

use cluster_orders::End;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::{Bed, BedError};
use crate::{Forward, pod};

/// Forwarded ports at once.
const MOST_FORWARDS: usize = 64;
/// How long a Service's address may take to answer after a pod behind it is ready.
const SERVED_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(5);

impl Bed {
    /// Host and port that lead to a port of a pod or a Service.
    pub(super) async fn reach(&mut self, end: &End, port: u16) -> Result<String, BedError> {
        if self.embedded {
            return self.own_address(end, port).await;
        }
        let key = (end.clone(), port);
        if let Some(forward) = self.forwards.get(&key) {
            return Ok(forward.address().to_string());
        }
        if self.forwards.len() >= MOST_FORWARDS {
            return Err(BedError::Order(format!("{MOST_FORWARDS} ports are the most")));
        }
        let (pod, to) = match end {
            End::Pod(pod) => (pod.clone(), port),
            // As `kubectl port-forward` does: one of its pods, and always that one.
            End::Service(service) => self.behind(service, port).await?,
        };
        let forward = Forward::open(self.session.api(), pod, to).await;
        let forward = forward.map_err(|error| BedError::Order(error.to_string()))?;
        let address = forward.address().to_string();
        self.forwards.insert(key, forward);
        Ok(address)
    }

    /// The address that it has in the cluster, which is one of this machine's.
    async fn own_address(&self, end: &End, port: u16) -> Result<String, BedError> {
        let not_yet = |what: String| BedError::NotSo { why: what, pods: Vec::new() };
        match end {
            End::Pod(name) => {
                let pod = self.session.api::<Pod>().get(name).await?;
                let ip = pod::seen(&pod).ip;
                let ip = ip.ok_or_else(|| not_yet(format!("pod {name} has no address yet")))?;
                Ok(format!("{ip}:{port}"))
            }
            End::Service(name) => {
                let service = self.session.api::<Service>().get(name).await?;
                let ip = service.spec.and_then(|spec| spec.cluster_ip);
                let ip = ip.filter(|ip| !ip.is_empty() && ip != "None");
                let ip = ip.ok_or_else(|| not_yet(format!("service {name} has no address")))?;
                let address = format!("{ip}:{port}");
                // It listens while somebody is behind it, which takes a moment to get round. Nobody need be.
                let deadline = Instant::now() + SERVED_LIMIT;
                while TcpStream::connect(&address).await.is_err() && Instant::now() < deadline {
                    sleep(POLL).await;
                }
                Ok(address)
            }
        }
    }

    /// A ready pod behind a Service's port, and the port of the pod.
    async fn behind(&self, name: &str, port: u16) -> Result<(String, u16), BedError> {
        let wrong = |why: &str| BedError::Order(format!("service {name}: {why}"));
        let service = self.session.api::<Service>().get(name).await?;
        let spec = service.spec.unwrap_or_default();
        let selector = spec.selector.ok_or_else(|| wrong("it selects no pods"))?;
        let pairs: Vec<String> =
            selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labelled = ListParams::default().labels(&pairs.join(","));
        let pods = self.session.api::<Pod>().list(&labelled).await?.items;
        let pod = pods.iter().find(|pod| pod::is_ready(pod));
        let pod = pod.ok_or_else(|| wrong("no pod behind it is ready"))?;
        let mut ports = spec.ports.into_iter().flatten();
        let served = ports.find(|one| one.port == i32::from(port));
        let served = served.ok_or_else(|| wrong(&format!("it has no port {port}")))?;
        let number = match served.target_port {
            None => i32::from(port),
            Some(IntOrString::Int(number)) => number,
            Some(IntOrString::String(of)) => named_port(pod, &of)
                .ok_or_else(|| wrong(&format!("no container port is called {of}")))?,
        };
        let number = u16::try_from(number).map_err(|_| wrong("its target is no port"))?;
        Ok((pod.name_any(), number))
    }
}

fn named_port(pod: &Pod, name: &str) -> Option<i32> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
}
