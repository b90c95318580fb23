//! Chaos Mesh resources, `chaos-mesh.org/v1alpha1`, as types.
//!
//! Field names, enums, required fields and bounds are those of the CRDs that Chaos Mesh 2.7 installs, so what is written
//! here is applied unchanged to a cluster where Chaos Mesh runs. Nothing here knows who executes a fault.

mod any;
mod http;
mod io;
mod network;
mod pod;
mod schedule;
mod selector;
mod status;
mod stress;
mod time;
mod workflow;

pub use any::{Chaos, Embedded, SELF, SelectorKey, TARGET, Targets, resource_of};
pub use http::*;
pub use io::*;
pub use network::*;
pub use pod::*;
pub use schedule::*;
pub use selector::*;
pub use status::*;
pub use stress::*;
pub use time::*;
pub use workflow::*;

/// The API group of all kinds.
pub const GROUP: &str = "chaos-mesh.org";
/// The only version of that group.
pub const VERSION: &str = "v1alpha1";
/// While this annotation is `true`, an experiment is paused: its faults are undone until it is gone.
pub const PAUSE_ANNOTATION: &str = "experiment.chaos-mesh.org/pause";
/// Holds an experiment's object until its faults are undone.
pub const RECORDS_FINALIZER: &str = "chaos-mesh/records";
/// With the value `forced`, a deleted object goes although its faults could not be undone.
pub const CLEAN_FINALIZER_ANNOTATION: &str = "chaos-mesh.chaos-mesh.org/cleanFinalizer";
/// On what a schedule made: the schedule's name.
pub const MANAGED_BY_LABEL: &str = "managed-by";
