//! What a cluster file says about nodes, images and limits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// What the agent needs to know. The cluster file's part of it can be parsed; the rest has defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where logs and volumes of pods are kept.
    pub state_dir: PathBuf,
    /// The nodes.
    pub nodes: Vec<NodeConfig>,
    /// Which image is which local program; the first that fits is taken.
    pub images: Vec<Image>,
    /// A folder of more images, which may change at any time: `*.json` files, each an [`Image`]. They are looked at where
    /// `images` has nothing that fits.
    pub more_images: Option<PathBuf>,
    /// How long things take.
    pub timing: Timing,
    /// How much is kept of what containers print.
    pub logs: LogLimits,
    /// Which block of loopback's addresses; none: the first that no other cluster has.
    pub address_cell: Option<u8>,
    /// What pods present to the API server: the content of projected service account tokens.
    pub token: Option<String>,
    /// The program above each pod; none: this one. Its `main` must begin with [`maybe_run_supervisor`](crate::maybe_run_supervisor).
    pub supervisor: Option<PathBuf>,
    /// Whether programs may get a view of the file system of their own, where the machine allows it.
    pub private_views: bool,
}

impl Config {
    /// One node without a name for itself, no images, everything else by default.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            nodes: vec![NodeConfig::named("node-0")],
            images: Vec::new(),
            more_images: None,
            timing: Timing::default(),
            logs: LogLimits::default(),
            address_cell: None,
            token: None,
            supervisor: None,
            private_views: true,
        }
    }
}

/// A simulated node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Its name.
    pub name: String,
    /// `topology.kubernetes.io/region`.
    pub region: Option<String>,
    /// `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Whether it may be taken away: label and taint `llm-lab/spot`.
    #[serde(default)]
    pub spot: bool,
    /// Its GPUs.
    pub gpu: Option<Gpu>,
    /// CPUs, as a quantity.
    #[serde(default = "cpu")]
    pub cpu: String,
    /// Memory, as a quantity.
    #[serde(default = "memory")]
    pub memory: String,
    /// Most pods.
    #[serde(default = "pods")]
    pub pods: u32,
    /// More labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints.
    #[serde(default)]
    pub taints: Vec<Taint>,
}

fn cpu() -> String {
    "8".to_owned()
}

fn memory() -> String {
    "32Gi".to_owned()
}

fn pods() -> u32 {
    110
}

impl NodeConfig {
    /// A plain node.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            region: None,
            zone: None,
            spot: false,
            gpu: None,
            cpu: cpu(),
            memory: memory(),
            pods: pods(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
        }
    }
}

/// GPUs of a node: `nvidia.com/gpu` and the labels that NVIDIA's GPU feature discovery sets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// The product, like `NVIDIA-H100-80GB-HBM3`.
    pub product: String,
    /// How many.
    pub count: u32,
    /// Memory of one, in MiB.
    pub memory_mib: Option<u64>,
}

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// What an image name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The image's name; `*` stands for anything. Tag, digest and registry may be left out.
    pub pattern: String,
    /// The program: what the image's ENTRYPOINT is. A path, or a name in the agent's `PATH`.
    pub program: PathBuf,
    /// Its arguments unless the container has its own: what the image's CMD is.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables that the image sets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// First pause before a container is restarted again; it doubles (kubelet: 10 s).
    pub backoff: Duration,
    /// Longest pause (kubelet: 5 min). After twice as long without an end, the first holds again.
    pub max_backoff: Duration,
    /// How often a node renews its Lease (kubelet: 10 s).
    pub heartbeat: Duration,
    /// Warning that a spot node gets (2 min on AWS).
    pub spot_notice: Duration,
    /// How often CPU and memory are measured.
    pub metrics: Duration,
    /// What one second of a probe's period takes (1 s). Less makes tests quick.
    pub probe_second: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff: Duration::from_secs(10),
            max_backoff: Duration::from_secs(300),
            heartbeat: Duration::from_secs(10),
            spot_notice: Duration::from_secs(120),
            metrics: Duration::from_secs(5),
            probe_second: Duration::from_secs(1),
        }
    }
}

/// How much is kept of what a container prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of one file (kubelet's `containerLogMaxSize`: 10 MiB).
    pub max_bytes: u64,
    /// Files (kubelet's `containerLogMaxFiles`: 5).
    pub max_files: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { max_bytes: 10 << 20, max_files: 5 }
    }
}
