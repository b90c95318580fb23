//! Where an experiment stands, and what is to be done next: a state machine of values.
//!
//! The rules are Chaos Mesh's: a duration counts from the object's creation, a pause and a deletion mean that faults go, what
//! happens once is never undone. Who does it, and how, is not known here.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{
    Chaos, ChaosStatus, Condition, ConditionType, DesiredPhase, Operation, Outcome,
    PAUSE_ANNOTATION, Phase, Record, RecordEvent,
};
use crate::go::{self, NotationError};

/// How many attempts a record keeps.
pub const MAX_EVENTS: usize = 8;

/// What of an object decides whether its faults should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleted: bool,
    /// Whether its annotation says pause.
    pub paused: bool,
    /// Whether it happens once.
    pub one_shot: bool,
    /// How long its faults last.
    pub duration: Option<Duration>,
}

impl Facts {
    /// Those of an object.
    ///
    /// # Errors
    /// If its duration cannot be read.
    pub fn of(chaos: &impl Chaos) -> Result<Self, NotationError> {
        let meta = chaos.meta();
        let pause = meta.annotations.as_ref().and_then(|all| all.get(PAUSE_ANNOTATION));
        Ok(Self {
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleted: meta.deletion_timestamp.is_some(),
            paused: pause.is_some_and(|value| value == "true"),
            one_shot: chaos.is_one_shot(),
            duration: chaos
                .duration()
                .filter(|text| !text.is_empty())
                .map(go::duration)
                .transpose()?,
        })
    }
}

/// What all targets shall come to now, and after how long that changes by itself.
#[must_use]
pub fn desired(facts: &Facts, now: Timestamp) -> (DesiredPhase, Option<Duration>) {
    if facts.deleted {
        return (DesiredPhase::Stop, None);
    }
    if facts.one_shot {
        return (DesiredPhase::Run, None);
    }
    let left = match facts.duration {
        None => None,
        Some(duration) => {
            let age = Duration::try_from(now.duration_since(facts.created)).unwrap_or_default();
            match duration.checked_sub(age) {
                Some(left) if !left.is_zero() => Some(left),
                _ => return (DesiredPhase::Stop, None),
            }
        }
    };
    if facts.paused { (DesiredPhase::Stop, left) } else { (DesiredPhase::Run, left) }
}

/// What a target needs to come to what is desired, if anything.
///
/// An attempt that was begun is finished before it is undone.
#[must_use]
pub fn next(phase: Phase, desired: DesiredPhase) -> Option<Operation> {
    match (desired, phase) {
        (DesiredPhase::Run, Phase::Injected) | (DesiredPhase::Stop, Phase::NotInjected) => None,
        (_, Phase::NotInjected | Phase::NotInjectedWait) => Some(Operation::Apply),
        (_, Phase::Injected | Phase::InjectedWait) => Some(Operation::Recover),
    }
}

/// Notes in a record how an attempt ended.
pub fn note(record: &mut Record, operation: Operation, result: Result<(), String>, now: Timestamp) {
    let outcome = match (&result, operation) {
        (Ok(()), Operation::Apply) => {
            record.phase = Phase::Injected;
            record.injected_count += 1;
            Outcome::Succeeded
        }
        (Ok(()), Operation::Recover) => {
            record.phase = Phase::NotInjected;
            record.recovered_count += 1;
            Outcome::Succeeded
        }
        (Err(_), _) => Outcome::Failed,
    };
    let message = result.err();
    // The same failure again is no news: it would push out what came before, and wake everybody who watches.
    let again = record.events.last().is_some_and(|last| {
        outcome == Outcome::Failed
            && (last.outcome, last.operation) == (outcome, operation)
            && last.message == message
    });
    if again {
        return;
    }
    if record.events.len() >= MAX_EVENTS {
        record.events.remove(0);
    }
    record.events.push(RecordEvent { outcome, operation, message, timestamp: now });
}

/// Whether no target has its fault any more: the object may go.
#[must_use]
pub fn is_clean(status: &ChaosStatus) -> bool {
    let records = status.experiment.records.as_deref().unwrap_or_default();
    records.iter().all(|record| record.phase == Phase::NotInjected)
}

/// What holds of these records. `trouble` is why targets were not selected, or why a fault could not be made.
#[must_use]
pub fn conditions(
    records: Option<&[Record]>,
    paused: bool,
    trouble: Option<&str>,
) -> Vec<Condition> {
    let all = |phase: Phase| records.is_some_and(|all| all.iter().all(|each| each.phase == phase));
    let injected = all(Phase::Injected);
    let said = |kind: ConditionType, holds: bool, reason: Option<&str>| Condition {
        kind,
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.filter(|_| !holds).map(ToOwned::to_owned),
    };
    vec![
        said(ConditionType::Selected, records.is_some(), trouble),
        said(ConditionType::AllInjected, injected, trouble.filter(|_| records.is_some())),
        said(ConditionType::AllRecovered, all(Phase::NotInjected), None),
        said(ConditionType::Paused, paused, None),
    ]
}

#[cfg(test)]
mod tests;
