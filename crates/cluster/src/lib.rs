//! Where labs run. A provider yields a kubeconfig; what the cluster behind it can do is asked of the cluster itself.
//!
//! Everything above this crate talks to a cluster through the `kube` crate alone, so that nothing differs between a laptop's
//! embedded cluster, kind, and a cloud.

mod access;
mod bed;
mod capabilities;
mod environment;
mod error;
mod forward;
mod manifest;
mod pod;
mod program;
mod provider;
mod session;

pub use access::{Access, Paths};
pub use bed::{Bed, BedError};
pub use capabilities::Capabilities;
pub use cluster_cli::Target;
pub use environment::{Environment, EnvironmentError, go_home, variable};
pub use error::ClusterError;
pub use forward::Forward;
pub use manifest::ManifestError;
pub use provider::{Lack, Provider, State, provider};
pub use session::{SESSION_LABEL, Session, sweep};
