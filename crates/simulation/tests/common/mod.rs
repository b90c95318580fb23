//! What fleets are made of here: small engines with the baseline's scheduler, all alike.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::time::Duration;

use serving::SchedulerLimits;
use serving::baseline::{ContiguousPool, StaticScheduler};
use simulation::{LinearCost, Replica, ReplicaSpec};

const BLOCK_SIZE: usize = 16;
/// Blocks of a replica's pool.
pub(crate) const NUM_BLOCKS: usize = 256;

const COST: LinearCost = LinearCost {
    step: Duration::from_millis(5),
    token: Duration::from_micros(20),
    context_token: Duration::from_nanos(100),
};

/// An engine that runs so many sequences at once.
pub(crate) fn spec(max_num_seqs: usize) -> ReplicaSpec {
    let limits = SchedulerLimits::try_new(max_num_seqs, 512).expect("valid limits");
    ReplicaSpec::new(limits, BLOCK_SIZE)
}

pub(crate) fn replica(spec: ReplicaSpec) -> Replica {
    let pool = ContiguousPool::new(NUM_BLOCKS, BLOCK_SIZE);
    Replica::new(spec, Box::new(StaticScheduler::new(spec.limits, pool)), COST)
}

/// Replicas that run four sequences at once.
pub(crate) fn replicas(count: usize) -> Vec<Replica> {
    (0..count).map(|_| replica(spec(4))).collect()
}
