//! When a job is over, and why.

use apimachinery::Meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::failure_policy::{Verdict, judge};
use crate::fields::{Fields, after, stamp};
use crate::{owner, pod};

/// How a job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) well: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

impl End {
    fn badly(reason: &str, message: impl Into<String>) -> Self {
        Self { well: false, reason: reason.to_owned(), message: message.into() }
    }

    /// The condition that says what is coming, and the one that says that it has come.
    pub(super) fn conditions(&self) -> (&'static str, &'static str) {
        if self.well { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") }
    }
}

/// What the pods come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) active: i64,
    pub(super) terminating: i64,
    pub(super) ready: i64,
    pub(super) succeeded: i64,
    pub(super) failed: i64,
}

/// The condition of a job that is over.
pub(super) fn finished(job: &Value) -> Option<&Value> {
    ["Complete", "Failed"]
        .iter()
        .find_map(|kind| pod::condition(job, kind).filter(|one| one.text("status") == "True"))
}

/// Whether a job ends, and how. `pods`: all of its pods.
pub(super) fn end(job: &Value, pods: &[&Value], counts: Counts, now: Timestamp) -> Option<End> {
    // What was decided stays decided while pods end.
    for (kind, well) in [("FailureTarget", false), ("SuccessCriteriaMet", true)] {
        if let Some(known) = pod::condition(job, kind).filter(|one| one.text("status") == "True") {
            let (reason, message) =
                (known.text("reason").to_owned(), known.text("message").to_owned());
            return Some(End { well, reason, message });
        }
    }
    let failed = pods.iter().filter(|pod| pod::phase(pod) == "Failed");
    for pod in failed {
        if let Verdict::FailJob(message) = judge(job, pod) {
            return Some(End::badly("PodFailurePolicy", message));
        }
    }
    let limit = job.int("spec/backoffLimit").unwrap_or(6);
    let restarts: i64 = pods
        .iter()
        .filter(|pod| pod::is_active(pod) && pod.text("spec/restartPolicy") == "OnFailure")
        .map(|pod| {
            pod.list("status/containerStatuses")
                .iter()
                .map(|one| one.count("restartCount"))
                .sum::<i64>()
        })
        .sum();
    if counts.failed > limit || (restarts > 0 && restarts >= limit) {
        return Some(End::badly(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        ));
    }
    if let Some(left) = until_deadline(job, now)
        && !left.is_positive()
    {
        return Some(End::badly(
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        ));
    }
    let met = match job.int("spec/completions") {
        Some(completions) => counts.succeeded >= completions,
        None => counts.succeeded > 0 && counts.active == 0,
    };
    met.then(|| End {
        well: true,
        reason: "CompletionsReached".to_owned(),
        message: "Reached expected number of succeeded pods".to_owned(),
    })
}

/// How long a job may go on.
pub(super) fn until_deadline(job: &Value, now: Timestamp) -> Option<jiff::SignedDuration> {
    let seconds = job.int("spec/activeDeadlineSeconds").filter(|_| !job.flag("spec/suspend"))?;
    Some(after(job.time("status/startTime")?, seconds).duration_since(now))
}

/// How long a job that is over is kept.
pub(super) fn until_forgotten(job: &Value, now: Timestamp) -> Option<jiff::SignedDuration> {
    let over = finished(job)?.time("lastTransitionTime")?;
    Some(after(over, job.int("spec/ttlSecondsAfterFinished")?).duration_since(now))
}

/// Sets a condition of a status.
pub(super) fn set(
    status: &mut Value,
    kind: &str,
    is: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let mut all = status.list("conditions").to_vec();
    let new = json!({
        "type": kind, "status": is, "reason": reason, "message": message,
        "lastProbeTime": stamp(now), "lastTransitionTime": stamp(now),
    });
    match all.iter_mut().find(|one| one["type"] == kind) {
        Some(known) if known["status"] == is => return,
        Some(known) => *known = new,
        None => all.push(new),
    }
    status["conditions"] = json!(all);
}

/// Whether a pod is one of a job's.
pub(super) fn owns(job: &Value, pod: &Value) -> bool {
    owner::is_controlled_by(pod, job.uid())
}
