//! The faults of a fleet by the names that experiments on a cluster have, as far as virtual time can have them.
//!
//! Knows no connections: what breaks sockets, retries or readiness is not here.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Fault, FaultKind, Fleet};

/// How many times as long a slow replica's steps take: as the experiment on a cluster has it.
const SLOW: f64 = 4.0;

/// What goes wrong in a fleet. Where one replica is hit, it is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// One replica's steps take four times as long.
    SlowReplica,
    /// One replica's steps do not end. It takes requests all the while.
    HungEngine,
    /// Every other replica, from the second on, neither steps nor shows its page.
    ZonePartition,
    /// One replica's page answers with what it said before.
    StaleMetrics,
    /// One replica's page does not answer.
    SilentMetrics,
}

/// No trouble is called that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no trouble is called {0:?}; known: {known}", known = Trouble::ALL.map(Trouble::name).join(", "))]
pub struct UnknownTrouble(pub String);

// === impl Trouble ===

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SlowReplica,
        Self::HungEngine,
        Self::ZonePartition,
        Self::StaleMetrics,
        Self::SilentMetrics,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowReplica => "slow-replica",
            Self::HungEngine => "hung-engine",
            Self::ZonePartition => "zone-partition",
            Self::StaleMetrics => "stale-metrics",
            Self::SilentMetrics => "silent-metrics",
        }
    }

    /// A fleet that has it from one time until another.
    #[must_use]
    pub fn strike(self, fleet: Fleet, from: Duration, until: Duration) -> Fleet {
        let fault = |kind| Fault { from, until, kind };
        match self {
            Self::SlowReplica => fleet.with_fault(0, fault(FaultKind::Slow { factor: SLOW })),
            Self::HungEngine => fleet.with_fault(0, fault(FaultKind::Stall)),
            Self::ZonePartition => {
                let cut = (0..fleet.replicas()).skip(1).step_by(2);
                cut.fold(fleet, |fleet, replica| {
                    let fleet = fleet.with_fault(replica, fault(FaultKind::Stall));
                    fleet.with_silence(replica, from, until)
                })
            }
            Self::StaleMetrics => fleet.with_stale_page(0, from, until),
            Self::SilentMetrics => fleet.with_silence(0, from, until),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Trouble {
    type Err = UnknownTrouble;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|trouble| trouble.name() == text);
        found.ok_or_else(|| UnknownTrouble(text.to_owned()))
    }
}
