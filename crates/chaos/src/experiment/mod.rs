//! An experiment: a fault for a workload, what proves that it bites, and what must hold while it does.
//!
//! The file says it in YAML; `experiments/` holds the course's own. Times in it bound how long is waited, they are never what
//! is judged: slowness is a ratio to the same cluster's healthy self.

mod catalogue;
mod check;
mod clear;
mod engine_fault;
mod guard;
mod inject;
mod observe;
mod report;
mod run;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use catalogue::{builtin, find};
pub use check::{Answer, Check, MetricKey, PodView, Pods, Request, View};
pub use clear::{Cleared, clear};
pub use engine_fault::{EngineFault, FAULTED_LABEL, FAULTS_ANNOTATION};
pub use guard::{Cheat, Snapshot};
pub use report::{Event, Report, Stage, Verdict};
pub use run::{Injected, Options, inject, run};

use crate::api::SelectorMode;
use crate::go;

/// On every object that an experiment makes: the experiment's name. What has it is removed by [`clear`].
pub const EXPERIMENT_LABEL: &str = "llm-lab/experiment";

/// A fault, its proof, and what must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Experiment {
    /// What it is called: letters, digits and hyphens.
    pub name: String,
    /// One sentence for people.
    pub title: String,
    /// The Deployment that is hit.
    pub workload: String,
    /// What is broken.
    pub fault: FaultSpec,
    /// What holds before, and again after.
    pub healthy: Vec<Check>,
    /// What proves that the fault is there: all of it at once.
    pub bites: Vec<Check>,
    /// What must hold all the while; nothing, where the lesson is that nothing does.
    #[serde(default)]
    pub holds: Vec<Check>,
    /// How long it must hold, like `10s`.
    pub hold: String,
    /// How long to wait for each change of state, like `60s`.
    pub patience: String,
}

/// What is broken: a Chaos Mesh resource, or the engine itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FaultSpec {
    /// A resource that an executor on the cluster makes true.
    Chaos {
        /// Its kind, like `NetworkChaos`.
        kind: String,
        /// Its spec. A selector that is left out, or that names nodes only, selects the workload's pods; a mode that is left
        /// out is `one`. The same for what a `Schedule` makes.
        spec: Map<String, Value>,
    },
    /// A fault that the engine makes itself.
    Engine {
        /// Which.
        name: EngineFault,
        /// In how many of its pods.
        #[serde(default)]
        mode: SelectorMode,
    },
}

/// Why an experiment's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// It is not what an experiment looks like.
    #[error("{name}: {reason}")]
    Content {
        /// The file or the experiment.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// There is none of this name.
    #[error("no experiment is called {0:?}; `cargo xtask fault list` shows them")]
    Unknown(String),
}

impl Experiment {
    /// Reads one.
    ///
    /// # Errors
    /// [`ExperimentError::Content`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ExperimentError> {
        let content = |reason: String| ExperimentError::Content { name: name.to_owned(), reason };
        let experiment: Self =
            serde_saphyr::from_str(text).map_err(|error| content(error.to_string()))?;
        experiment.validate().map_err(content)?;
        Ok(experiment)
    }

    fn validate(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 40 || !self.name.chars().all(plain) {
            return Err(format!("name {:?}: 1 to 40 of a-z, 0-9 and -", self.name));
        }
        if self.bites.is_empty() {
            return Err("bites: a fault that nothing proves proves nothing".to_owned());
        }
        if self.healthy.is_empty() {
            return Err("healthy: say what holds without the fault".to_owned());
        }
        for text in [&self.hold, &self.patience] {
            go::duration(text).map_err(|error| error.to_string())?;
        }
        if let FaultSpec::Chaos { kind, .. } = &self.fault
            && crate::api::resource_of(kind).is_none()
        {
            return Err(format!(
                "fault.kind: {kind:?} is no kind of Chaos Mesh that is known here"
            ));
        }
        Ok(())
    }

    /// How long what holds must hold.
    #[must_use]
    pub fn hold(&self) -> Duration {
        go::duration(&self.hold).unwrap_or_default()
    }

    /// How long to wait for a change of state.
    #[must_use]
    pub fn patience(&self) -> Duration {
        go::duration(&self.patience).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
