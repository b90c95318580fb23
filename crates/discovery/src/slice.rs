//! What an EndpointSlice says, without Kubernetes' types.
//!
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>.

/// A part of the replicas of one Service. A Service has as many slices as its replicas need: at most 100 replicas each by
/// default, one address family each, and one set of ports each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The object's name, by which later events speak of it.
    pub name: String,
    /// What its addresses are.
    pub family: Family,
    /// The ports of every replica in it.
    pub ports: Vec<SlicePort>,
    /// The replicas.
    pub endpoints: Vec<SliceEndpoint>,
}

/// What addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `10.1.2.3`
    Ipv4,
    /// `fd00::1`
    Ipv6,
    /// Names, which a router would have to look up.
    Fqdn,
}

/// One port of every replica of a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlicePort {
    /// The Service's name for it; a Service with one port may leave it empty.
    pub name: String,
    /// The number at the pod. `None`: not known, so it cannot be used.
    pub number: Option<u16>,
}

/// A replica, as one slice shows it. Another slice may show the same one, in an older or a newer state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Up to 100 addresses that are all the same to a client: the first is enough.
    pub addresses: Vec<String>,
    /// What the replica is up to.
    pub conditions: Conditions,
    /// The UID of the pod. It changes when the pod does, even if name and address do not.
    pub pod: Option<String>,
    /// The zone of its node.
    pub zone: Option<String>,
    /// Zones whose clients should use it. Empty: nobody said.
    pub for_zones: Vec<String>,
}

/// Three answers of Kubernetes, each of which may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// It can take requests. `None` counts as true. Always false while it terminates, unless the Service publishes
    /// addresses that are not ready.
    pub ready: Option<bool>,
    /// Its probe passes, whether it terminates or not. `None` counts as `ready`.
    pub serving: Option<bool>,
    /// Its pod is being deleted. `None` counts as false.
    pub terminating: Option<bool>,
}
