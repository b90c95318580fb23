//! What an executor says of an experiment.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The state of an experiment, the same for all kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChaosStatus {
    /// What holds of the experiment as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Where it stands, target by target.
    pub experiment: ExperimentStatus,
}

/// One statement about the experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub kind: ConditionType,
    /// `True` or `False`.
    pub status: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub reason: Option<String>,
}

/// What a [`Condition`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionType {
    /// The targets are known.
    Selected,
    /// Every target has its fault.
    AllInjected,
    /// No target has its fault.
    AllRecovered,
    /// The experiment is paused.
    Paused,
}

/// Where an experiment stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentStatus {
    /// Whether the faults should be there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DesiredPhase")]
    pub desired_phase: Option<DesiredPhase>,
    /// One record a target, in a fixed order. Absent until targets are selected.
    #[serde(default, rename = "containerRecords", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<Record>")]
    pub records: Option<Vec<Record>>,
}

/// What all targets shall come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredPhase {
    /// Have the fault.
    Run,
    /// Be rid of it.
    Stop,
}

/// Where one target stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `namespace/pod`, or `namespace/pod/container`.
    pub id: String,
    /// Which selector found it: `.`, or `.Target` for the other end of a network fault.
    pub selector_key: String,
    /// Whether it has its fault.
    #[schemars(with = "String")]
    pub phase: Phase,
    /// How often it was given the fault.
    #[schemars(schema_with = "plain_integer")]
    pub injected_count: u64,
    /// How often it was freed of it.
    #[schemars(schema_with = "plain_integer")]
    pub recovered_count: u64,
    /// What was tried last, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<RecordEvent>,
}

/// Whether a target has its fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    /// It has not.
    #[default]
    #[serde(rename = "Not Injected")]
    NotInjected,
    /// An injection is under way (a state of Chaos Mesh's own executors).
    #[serde(rename = "Not Injected/Wait")]
    NotInjectedWait,
    /// It has.
    Injected,
    /// A recovery is under way (a state of Chaos Mesh's own executors).
    #[serde(rename = "Injected/Wait")]
    InjectedWait,
}

/// One attempt at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordEvent {
    /// How it ended.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub outcome: Outcome,
    /// What was tried.
    #[schemars(with = "String")]
    pub operation: Operation,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub message: Option<String>,
    /// When.
    #[schemars(schema_with = "date_time")]
    pub timestamp: Timestamp,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// As wanted.
    Succeeded,
    /// With an error.
    Failed,
}

/// What an executor does to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Gives it the fault.
    Apply,
    /// Frees it of the fault.
    Recover,
}

impl ChaosStatus {
    /// The condition of this type, if it was ever said.
    #[must_use]
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether this condition is `True`.
    #[must_use]
    pub fn holds(&self, kind: ConditionType) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == "True")
    }
}

/// A point of time in a schema: RFC 3339.
pub(super) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// An integer in a schema without a format, which is what Go's `int` becomes there.
pub(super) fn plain_integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer" })
}
