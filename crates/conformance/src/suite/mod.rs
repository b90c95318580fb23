//! The behaviours, by subject.

mod accounts;
mod apply;
mod definitions;
mod deletion;
mod deployments;
mod discovery;
mod kubectl;
mod lists;
mod metrics;
mod nodes;
mod patches;
mod scheduling;
mod services;
mod subresources;
mod validation;
mod versions;
mod watches;
mod workloads;

use crate::behaviour::Group;

/// All groups, in the order of a report.
pub const GROUPS: &[Group] = &[
    discovery::GROUP,
    versions::GROUP,
    lists::GROUP,
    watches::GROUP,
    patches::GROUP,
    apply::GROUP,
    validation::GROUP,
    subresources::GROUP,
    deletion::GROUP,
    definitions::GROUP,
    deployments::GROUP,
    workloads::GROUP,
    accounts::GROUP,
    services::GROUP,
    scheduling::GROUP,
    nodes::GROUP,
    metrics::GROUP,
];

/// What only the real `kubectl` can find out; needs `Settings::kubectl`.
pub const KUBECTL: Group = kubectl::GROUP;
