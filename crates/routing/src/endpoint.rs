//! What can be chosen.

use std::fmt;

use crate::Scrape;

/// One replica of a model server, for as long as it lives: an address that comes back gets another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint {}", self.0)
    }
}

/// What a router knows of an endpoint when it has to choose.
///
/// Only endpoints that may get a request are shown: ready, not draining, not ejected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EndpointView {
    /// Which.
    pub id: EndpointId,
    /// Requests that this router sent there and that have not ended. Exact and never old, but blind for what other
    /// routers send.
    pub in_flight: u32,
    /// What the endpoint said of itself when it was last asked. `None` before the first answer.
    pub scrape: Option<Scrape>,
}

impl EndpointView {
    /// An endpoint of which nothing is known yet.
    #[must_use]
    pub fn unknown(id: EndpointId) -> Self {
        Self { id, in_flight: 0, scrape: None }
    }
}
