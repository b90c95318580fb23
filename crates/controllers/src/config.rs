//! What the controllers need to know of the cluster that they run in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::{Metrics, NoMetrics};

/// How long a node may be silent (kube-controller-manager's default since 1.32).
const NODE_GRACE: Duration = Duration::from_secs(50);

/// What the controllers need to know of the cluster that they run in.
#[derive(Clone)]
pub struct Config {
    /// Decides between nodes that are equally good, so that the same pods land on the same nodes.
    pub seed: u64,
    /// The certificate authority of the API server, in PEM: it goes into each namespace's `kube-root-ca.crt`.
    pub root_ca: Option<String>,
    /// Where volumes for claims are made. The directory of a claim is made by whoever mounts it.
    pub volume_directory: PathBuf,
    /// How long a node may be silent before it counts as unreachable.
    pub node_grace: Duration,
    /// What autoscalers read.
    pub metrics: Arc<dyn Metrics>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            root_ca: None,
            volume_directory: std::env::temp_dir().join("volumes"),
            node_grace: NODE_GRACE,
            metrics: Arc::new(NoMetrics),
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("seed", &self.seed)
            .field("volume_directory", &self.volume_directory)
            .finish_non_exhaustive()
    }
}
