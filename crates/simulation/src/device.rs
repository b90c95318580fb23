//! What a device can do.

use std::time::Duration;

/// The host's part of a step: what passes on the CPU while the device waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Host {
    /// Each step: scheduling, building inputs, sampling, handing over.
    pub step: Duration,
    /// Each sequence of a step.
    pub sequence: Duration,
    /// Each kernel launched without a CUDA graph.
    pub launch: Duration,
}

/// One accelerator (or CPU) and the host beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceSpec {
    /// `h100`, `rtx4090`, ...
    pub name: String,
    /// Peak dense arithmetic in FLOP/s at the precision served (bf16 unless said otherwise).
    pub flops: f64,
    /// Peak memory bandwidth in bytes/s.
    pub bandwidth: f64,
    /// Memory in bytes.
    pub memory: f64,
    /// Part of `flops` that large matrix products reach, in (0, 1].
    pub compute_efficiency: f64,
    /// Part of `bandwidth` that streaming weights reaches, in (0, 1].
    pub bandwidth_efficiency: f64,
    /// The host beside it.
    pub host: Host,
}
