//! What to do about an autoscaler.

use apimachinery::Meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::limits::{Memory, Sizes};
use super::metric::{Failure, Reading, Source};
use super::target::Target;
use crate::action::{Action, Event};
use crate::fields::{Fields, stamp};
use crate::metrics::Metrics;
use crate::resource::AUTOSCALERS;

/// What an autoscaler looks at.
pub(super) struct Input<'a> {
    pub(super) autoscaler: &'a Value,
    pub(super) target: Result<&'a Target, &'a String>,
    /// The pods of the target.
    pub(super) pods: &'a [&'a Value],
    pub(super) metrics: &'a dyn Metrics,
    pub(super) now: Timestamp,
}

/// The status that is written, and what is done and said.
struct Outcome<'a> {
    input: &'a Input<'a>,
    status: Value,
    actions: Vec<Action>,
}

/// What all metrics together come to.
struct Recommendation {
    replicas: i64,
    /// The metric that asked for most.
    metric: String,
    statuses: Vec<Value>,
}

/// What to do about an autoscaler.
pub(super) fn plan(input: &Input<'_>, memory: &mut Memory) -> Vec<Action> {
    let autoscaler = input.autoscaler;
    let status =
        if autoscaler["status"].is_object() { autoscaler["status"].clone() } else { json!({}) };
    let mut outcome = Outcome { input, status, actions: Vec::new() };
    let target = match input.target {
        Ok(target) => target,
        Err(why) => {
            let message =
                format!("the HPA controller was unable to get the target's current scale: {why}");
            outcome.condition("AbleToScale", "False", "FailedGetScale", &message);
            outcome.warn("FailedGetScale", why);
            return outcome.done();
        }
    };
    let able = "the HPA controller was able to get the target's current scale";
    outcome.condition("AbleToScale", "True", "SucceededGetScale", able);
    memory.begin(target.replicas, input.now);
    outcome.decide(target, memory);
    outcome.done()
}

impl Outcome<'_> {
    fn decide(&mut self, target: &Target, memory: &mut Memory) {
        let autoscaler = self.input.autoscaler;
        let current = target.replicas;
        let min = autoscaler.int("spec/minReplicas").unwrap_or(1);
        let max = autoscaler.int("spec/maxReplicas").unwrap_or(current).max(min);
        let mut statuses = Vec::new();
        let (desired, reason) = if current == 0 && min != 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.condition("ScalingActive", "False", "ScalingDisabled", message);
            (0, String::new())
        } else if current > max {
            (max, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < min {
            (min, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            let Some(recommendation) = self.recommend(target) else { return };
            statuses = recommendation.statuses;
            let reason = match recommendation.replicas {
                more if more > current => format!("{} above target", recommendation.metric),
                _ => "All metrics below target".to_owned(),
            };
            let sizes = Sizes { current, desired: recommendation.replicas, min, max };
            let limited = memory.limit(autoscaler.at("spec/behavior"), sizes, self.input.now);
            self.condition("AbleToScale", "True", limited.able.0, limited.able.1);
            let is = if limited.limited { "True" } else { "False" };
            self.condition("ScalingLimited", is, limited.reason.0, limited.reason.1);
            (limited.replicas, reason)
        };
        if desired != current {
            self.rescale(target, desired, &reason);
            memory.scaled(current, desired, self.input.now);
        }
        self.status["currentReplicas"] = json!(current);
        self.status["desiredReplicas"] = json!(desired);
        self.status["currentMetrics"] =
            if statuses.is_empty() { Value::Null } else { json!(statuses) };
    }

    fn rescale(&mut self, target: &Target, desired: i64, reason: &str) {
        let message = format!("New size: {desired}; reason: {reason}");
        let event = Event::normal(self.input.autoscaler, "SuccessfulRescale", message);
        self.actions.extend(target.scale(desired).map(|action| action.telling(event)));
        let message =
            format!("the HPA controller was able to update the target scale to {desired}");
        self.condition("AbleToScale", "True", "SucceededRescale", &message);
        self.status["lastScaleTime"] = json!(stamp(self.input.now));
    }

    /// What the metrics ask for; none: that cannot be said, which is then told.
    fn recommend(&mut self, target: &Target) -> Option<Recommendation> {
        let autoscaler = self.input.autoscaler;
        let source = Source {
            namespace: autoscaler.namespace(),
            scale: target,
            pods: self.input.pods,
            metrics: self.input.metrics,
            now: self.input.now,
        };
        let specs = autoscaler.list("spec/metrics");
        let mut best: Option<Reading> = None;
        let mut failures: Vec<Failure> = Vec::new();
        let mut statuses = Vec::new();
        for spec in specs {
            match source.read(spec) {
                Ok(reading) => {
                    statuses.push(reading.status.clone());
                    if best
                        .as_ref()
                        .is_none_or(|best| best.replicas == 0 || reading.replicas > best.replicas)
                    {
                        best = Some(reading);
                    }
                }
                Err(failure) => {
                    self.warn(failure.reason, &failure.message);
                    failures.push(failure);
                    // Whose place in the list stays, as in Kubernetes.
                    statuses.push(json!({"type": ""}));
                }
            }
        }
        // What is not known might have asked for more: with anything missing it does not shrink.
        let usable = best.filter(|best| failures.is_empty() || best.replicas >= target.replicas);
        match (usable, failures.first()) {
            (Some(best), _) => {
                let message = format!(
                    "the HPA was able to successfully calculate a replica count from {}",
                    best.name
                );
                self.condition("ScalingActive", "True", "ValidMetricFound", &message);
                Some(Recommendation { replicas: best.replicas, metric: best.name, statuses })
            }
            (None, first) => {
                if let Some(first) = first {
                    let message = format!(
                        "the HPA was unable to compute the replica count: {}",
                        first.message
                    );
                    self.condition("ScalingActive", "False", first.reason, &message);
                    let summary = format!(
                        "invalid metrics ({} invalid out of {}), first error is: {}",
                        failures.len(),
                        specs.len(),
                        first.summary
                    );
                    self.warn("FailedComputeMetricsReplicas", &summary);
                }
                self.status["currentReplicas"] = json!(target.replicas);
                self.status["desiredReplicas"] = json!(self.status.count("desiredReplicas"));
                self.status["currentMetrics"] =
                    if statuses.is_empty() { Value::Null } else { json!(statuses) };
                None
            }
        }
    }

    fn condition(&mut self, kind: &str, is: &str, reason: &str, message: &str) {
        let mut all = self.status.list("conditions").to_vec();
        let known = all.iter_mut().find(|one| one["type"] == kind);
        let since = known
            .as_ref()
            .filter(|one| one["status"] == is)
            .map(|one| one["lastTransitionTime"].clone());
        let new = json!({
            "type": kind, "status": is, "reason": reason, "message": message,
            "lastTransitionTime": since.unwrap_or_else(|| json!(stamp(self.input.now))),
        });
        match known {
            Some(known) => *known = new,
            None => all.push(new),
        }
        self.status["conditions"] = json!(all);
    }

    fn warn(&mut self, reason: &str, message: &str) {
        self.actions.push(Action::Tell(Event::warning(self.input.autoscaler, reason, message)));
    }

    fn done(self) -> Vec<Action> {
        let mut actions = self.actions;
        let mut status = self.status;
        for field in ["currentReplicas", "desiredReplicas"] {
            status[field] = json!(status.count(field));
        }
        if status["currentMetrics"].is_null()
            && let Some(map) = status.as_object_mut()
        {
            map.remove("currentMetrics");
        }
        actions.extend(Action::status(AUTOSCALERS, self.input.autoscaler, status));
        actions
    }
}
