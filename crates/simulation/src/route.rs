//! Which replica gets a request.

use serving::Load;

use crate::Arrival;

/// What a router knows about a replica: its last metrics, and what it sent there itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaView {
    /// The load at the end of the last step: what a scrape would show.
    pub load: Load,
    /// Requests sent there that have not ended.
    pub outstanding: usize,
}

/// Chooses a replica for each request.
pub trait Route: Send {
    /// The index of a replica. There is at least one.
    fn choose(&mut self, arrival: &Arrival, replicas: &[ReplicaView]) -> usize;
}

/// One after the other, whatever they do: the baseline.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin {
    next: usize,
}

// === impl Route for RoundRobin ===

impl Route for RoundRobin {
    fn choose(&mut self, _arrival: &Arrival, replicas: &[ReplicaView]) -> usize {
        let chosen = self.next % replicas.len();
        self.next = chosen + 1;
        chosen
    }
}
