//! What a device can do, and what the host beside it costs.
//!
//! Knows no model. The figures of real devices are in `catalogue.rs`.

use std::time::Duration;

/// The host's part of serving: what passes on the CPU while the device waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Host {
    /// Each step: scheduling, building inputs, sampling, handing over.
    pub step: Duration,
    /// Each sequence of a step.
    pub sequence: Duration,
    /// Each kernel launched without a CUDA graph.
    pub launch: Duration,
    /// Each request, on its way in and out: HTTP, handing over between processes, the first chunk.
    pub request: Duration,
    /// Each token of a prompt, on its way in: tokenizing, hashing its blocks.
    pub prompt_token: Duration,
}

impl Host {
    /// How long a request is under way outside the engine's steps: part of its TTFT, and of no
    /// step.
    #[must_use]
    pub fn frontend(&self, prompt_tokens: usize) -> Duration {
        self.request + self.prompt_token.mul_f64(prompt_tokens as f64)
    }
}

/// How a device is wired to its peers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// What a ring all-reduce moves in bytes/s (NCCL calls it bus bandwidth).
    pub bandwidth: f64,
    /// The shortest all-reduce, however few bytes.
    pub latency: Duration,
}

impl Link {
    /// How long `peers` devices take to sum `bytes` bytes that each of them holds.
    ///
    /// A ring moves 2 (n - 1) / n of the bytes over each link:
    /// <https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md>.
    #[must_use]
    pub fn all_reduce(&self, bytes: f64, peers: usize) -> Duration {
        if peers < 2 {
            return Duration::ZERO;
        }
        let moved = 2.0 * (peers - 1) as f64 / peers as f64 * bytes;
        self.latency + Duration::from_secs_f64(moved / self.bandwidth)
    }
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
    /// Memory in bytes that a program can allocate.
    pub memory: f64,
    /// Part of `flops` that the matrix products of a model's layers reach. A little above 1 is
    /// possible: peaks are quoted at a boost clock that a cool card exceeds.
    pub compute_efficiency: f64,
    /// Part of `bandwidth` that streaming weights reaches, in (0, 1].
    pub bandwidth_efficiency: f64,
    /// A matrix product works on this many rows (tokens) at a time; what is missing to a multiple
    /// is computed for nothing. 1 where it does not matter.
    pub tile: usize,
    /// Each kernel's start and end on the device, in which neither arithmetic nor memory is busy.
    pub kernel: Duration,
    /// To peers of its kind in the same machine.
    pub link: Link,
    /// The host beside it.
    pub host: Host,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_all_reduce_of_one_costs_nothing() {
        let link = Link { bandwidth: 100e9, latency: Duration::from_micros(10) };
        assert_eq!(link.all_reduce(1e9, 1), Duration::ZERO);
        // 2 x 3/4 of 1 GB at 100 GB/s.
        assert_eq!(link.all_reduce(1e9, 4), Duration::from_micros(15_010));
    }

    #[test]
    fn the_frontend_grows_with_the_prompt() {
        let host = Host {
            step: Duration::ZERO,
            sequence: Duration::ZERO,
            launch: Duration::ZERO,
            request: Duration::from_millis(10),
            prompt_token: Duration::from_micros(10),
        };
        assert_eq!(host.frontend(1_000), Duration::from_millis(20));
    }
}
