//! The course's own faults, which the engine makes itself: the same on every cluster, and no privilege needed.
//!
//! They are switched by an annotation of the pod. A downward API volume writes it into the folder of `--debug-faults`, and the
//! kubelet renews that volume when the pod changes. A ConfigMap would take up to a minute and hit every pod; a port would
//! need a token, and an engine that hangs could not answer on it.

use serde::{Deserialize, Serialize};

/// The faults of a pod's engine that are on, by commas.
pub const FAULTS_ANNOTATION: &str = "llm-lab/faults";
/// On every pod whose annotation we set, since annotations cannot be selected by.
pub const FAULTED_LABEL: &str = "llm-lab/faulted";

/// What an engine can have, by the names that it knows them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineFault {
    /// A step begins and does not end, while health is fine.
    Hang,
    /// Metrics stay what they were.
    StaleMetrics,
    /// A metric has another name.
    RenamedMetric,
    /// Steps take several times as long: a slow replica.
    SlowSteps,
    /// Text becomes tokens late.
    SlowTokenizer,
    /// Most of the KV cache is held by nobody.
    KvStarvation,
    /// The model is not loaded while it is on. It needs pods that start, so it goes into the Deployment's template.
    SlowLoad,
}

impl EngineFault {
    /// The name that the engine knows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::StaleMetrics => "stale-metrics",
            Self::RenamedMetric => "renamed-metric",
            Self::SlowSteps => "slow-steps",
            Self::SlowTokenizer => "slow-tokenizer",
            Self::KvStarvation => "kv-starvation",
            Self::SlowLoad => "slow-load",
        }
    }

    /// Whether only a pod that starts can have it.
    #[must_use]
    pub fn needs_start(self) -> bool {
        self == Self::SlowLoad
    }
}
