//! What a cluster can do, asked of the cluster itself: the same questions whoever made it.

use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;

use crate::ClusterError;

/// What an embedded cluster's version ends with.
const EMBEDDED: &str = "+embedded";
/// The resource by which nodes offer NVIDIA's devices.
const GPU: &str = "nvidia.com/gpu";

/// What a cluster can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Its version, like `v1.34.3`.
    pub version: String,
    /// It is the course's own: pods are processes of this machine, and files of this machine are theirs.
    pub embedded: bool,
    /// Nodes that are ready.
    pub ready_nodes: usize,
    /// Nodes altogether.
    pub nodes: usize,
    /// GPUs that nodes offer; on the embedded cluster they are declared, not there.
    pub gpus: u64,
    /// Chaos Mesh resources are served, so faults can be injected.
    pub chaos: bool,
    /// Faults of single packets (loss, reordering, corruption): what Chaos Mesh does in the kernel and our own cluster does not.
    pub packet_faults: bool,
    /// `kubectl top` and autoscaling by CPU work.
    pub metrics: bool,
    /// The Gateway API's kinds are served. Whether a gateway runs is not known.
    pub gateway_api: bool,
}

impl Capabilities {
    /// Asks a cluster.
    ///
    /// # Errors
    /// [`ClusterError::Unreachable`].
    pub async fn ask(client: &Client) -> Result<Self, ClusterError> {
        let version = client.apiserver_version().await?.git_version;
        let groups = client.list_api_groups().await?;
        let serves = |name: &str| groups.groups.iter().any(|group| group.name == name);
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items;
        let embedded = version.ends_with(EMBEDDED);
        let chaos = serves("chaos-mesh.org");
        Ok(Self {
            embedded,
            ready_nodes: nodes.iter().filter(|node| is_ready(node)).count(),
            nodes: nodes.len(),
            gpus: nodes.iter().map(gpus).sum(),
            chaos,
            packet_faults: chaos && !embedded,
            metrics: serves("metrics.k8s.io"),
            gateway_api: serves("gateway.networking.k8s.io"),
            version,
        })
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

fn gpus(node: &Node) -> u64 {
    let offered = node.status.as_ref().and_then(|status| status.allocatable.as_ref()?.get(GPU));
    offered.and_then(|quantity| quantity.0.parse().ok()).unwrap_or(0)
}
