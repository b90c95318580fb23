//! Who an endpoint is: what tells a new replica at an old address from the one that was there.
//!
//! Knows no cluster: whoever tells of members also says which of them are the same as before.

use std::net::SocketAddr;

use routing::EndpointId;
use tokio::sync::watch;

/// One replica of a model server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Who it is, for as long as it lives. A pod keeps it whatever its readiness; its successor gets another one, also at the same
    /// address, and nothing of what was known of the old one, nor its connections.
    pub id: EndpointId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it may get requests, if it is well besides. One that may not (it starts, it drains) is remembered all the same; one
    /// that is no member any more is forgotten.
    pub takes_requests: bool,
}

impl Member {
    /// Members of a list that never changes, as a command line has it: the first is endpoint 0.
    #[must_use]
    pub fn fixed(addresses: &[SocketAddr]) -> Vec<Self> {
        let member = |(id, address): (u32, &SocketAddr)| Self {
            id: EndpointId(id),
            address: *address,
            takes_requests: true,
        };
        (0..).zip(addresses).map(member).collect()
    }
}

/// Who says which endpoints there are.
#[derive(Clone)]
pub struct Membership {
    pub(crate) members: watch::Sender<Vec<Member>>,
}

impl Membership {
    /// There are these, and no others. One that is missing gets nothing new, may end what it has, and is then forgotten for good.
    pub fn set(&self, members: Vec<Member>) {
        self.members.send_replace(members);
    }
}
