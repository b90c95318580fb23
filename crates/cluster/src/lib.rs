//! Where labs run. A provider yields a kubeconfig; what the cluster behind it can do is asked of the cluster itself.
//!
//! Everything above this crate talks to a cluster through the `kube` crate alone, so that nothing differs between a laptop's
//! embedded cluster, kind, and a cloud.

mod access;
mod capabilities;
mod error;
mod forward;
mod manifest;
mod program;
mod provider;
mod target;
mod workload;

pub use access::{Access, Paths};
pub use capabilities::Capabilities;
pub use error::ClusterError;
pub use forward::Forward;
pub use manifest::{ManifestError, Run};
pub use provider::{Lack, Provider, State, provider};
pub use target::Target;
pub use workload::{RUN_LABEL, SESSION_LABEL, Workload, WorkloadError, sweep};
