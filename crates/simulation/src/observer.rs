//! Who watches a fleet while it runs: the same events that a live engine's recorder sees.

use serving::{Load, Recorder, RequestSummary, StepReport, Timeline};

use crate::{Limit, StepTime};

/// One step of one replica.
#[derive(Debug, Clone, Copy)]
pub struct ObservedStep<'a> {
    /// Whose.
    pub replica: usize,
    /// What the engine says.
    pub report: &'a StepReport,
    /// What it cost, faults included; `None` for a step that only preempted.
    pub time: Option<StepTime>,
    /// What bound it, as the replica's [`Binding`](crate::Binding) says; a step that only preempted lacked KV blocks.
    pub binds: Limit,
    /// The load at its end, with finished sequences removed.
    pub load: Load,
}

/// Sees what happens. Each method may stay as it is.
pub trait Observer {
    /// Whether [`request`](Self::request) wants timelines. Without, it gets empty ones, and a fleet is faster.
    fn wants_timelines(&self) -> bool {
        true
    }

    /// A step ended.
    fn step(&mut self, step: &ObservedStep<'_>) {
        let _ = step;
    }

    /// A request ended or was refused. `Flushed` follows each `Token` at once: there is no connection.
    fn request(&mut self, replica: usize, timeline: &Timeline, summary: &RequestSummary) {
        let _ = (replica, timeline, summary);
    }
}

/// Nobody watches.
impl Observer for () {
    fn wants_timelines(&self) -> bool {
        false
    }
}

/// One recorder a replica: each shows the metrics page that its pod would have.
impl Observer for Vec<Box<dyn Recorder>> {
    fn step(&mut self, step: &ObservedStep<'_>) {
        if let Some(recorder) = self.get_mut(step.replica) {
            recorder.step(step.report, &step.load);
        }
    }

    fn request(&mut self, replica: usize, timeline: &Timeline, summary: &RequestSummary) {
        if let Some(recorder) = self.get_mut(replica) {
            recorder.request(timeline, summary);
        }
    }
}
