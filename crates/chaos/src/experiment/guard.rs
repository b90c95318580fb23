//! Ways to pass an experiment without surviving its fault, by name.

use serde::Serialize;

/// What decides whether the experiment is still the one that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The workload's uid; nothing when it is not there.
    pub workload: Option<String>,
    /// How many replicas it asks for.
    pub replicas: i32,
    /// The fault object's uid; nothing when it is not there. Nothing at all for a fault inside the engine.
    pub fault: Option<Option<String>>,
    /// The fault object's spec as text. Its generation would not do: without a status subresource, as in Chaos Mesh's kinds, it
    /// counts what the executor writes too.
    pub spec: String,
    /// Whether the fault is paused, or being deleted.
    pub suspended: bool,
    /// Whether all targets have the fault.
    pub injected: bool,
    /// Pods that carry an engine fault.
    pub faulted: usize,
}

/// A way to cheat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Cheat {
    /// No workload, no fault.
    #[error("the workload was deleted")]
    WorkloadDeleted,
    /// A new workload has no fault.
    #[error("the workload was deleted and made again")]
    WorkloadReplaced,
    /// Fewer pods to hit.
    #[error("the workload was scaled from {from} to {to}")]
    ScaledDown {
        /// Before.
        from: i32,
        /// Now.
        to: i32,
    },
    /// No fault object, no fault.
    #[error("the fault object was deleted")]
    FaultDeleted,
    /// Another object is another fault.
    #[error("the fault object was deleted and made again")]
    FaultReplaced,
    /// Another spec is another fault.
    #[error("the fault object's spec was changed")]
    FaultChanged,
    /// A paused fault is none.
    #[error("the fault object was paused or is being deleted")]
    FaultSuspended,
    /// Something took the fault away from a target.
    #[error("the fault object says that not all of its targets have the fault any more")]
    FaultLifted,
    /// Somebody removed the annotation, or all the pods that had it.
    #[error("no pod carries the engine's fault any more")]
    EngineFaultRemoved,
}

impl Snapshot {
    /// What was done since `self` that makes `now` another experiment.
    #[must_use]
    pub fn cheat(&self, now: &Self) -> Option<Cheat> {
        match (&self.workload, &now.workload) {
            (Some(_), None) => return Some(Cheat::WorkloadDeleted),
            (Some(before), Some(after)) if before != after => return Some(Cheat::WorkloadReplaced),
            _ => {}
        }
        if now.replicas < self.replicas {
            return Some(Cheat::ScaledDown { from: self.replicas, to: now.replicas });
        }
        match (&self.fault, &now.fault) {
            (Some(Some(_)), Some(None)) => return Some(Cheat::FaultDeleted),
            (Some(Some(before)), Some(Some(after))) if before != after => {
                return Some(Cheat::FaultReplaced);
            }
            _ => {}
        }
        if now.suspended && !self.suspended {
            return Some(Cheat::FaultSuspended);
        }
        if self.fault.is_some() && now.spec != self.spec {
            return Some(Cheat::FaultChanged);
        }
        if self.injected && !now.injected {
            return Some(Cheat::FaultLifted);
        }
        (self.faulted > 0 && now.faulted == 0).then_some(Cheat::EngineFaultRemoved)
    }
}
