//! `Schedule`: an experiment again and again.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Embedded, WorkflowSpec};

/// An experiment that is made again and again.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(group = "chaos-mesh.org", version = "v1alpha1", kind = "Schedule", plural = "schedules")]
#[kube(singular = "schedule", namespaced, status = "ScheduleStatus")]
#[kube(derive = "PartialEq", doc = "An experiment that is made again and again")]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// When: five cron fields, `@hourly` and the like, or `@every 1h30m`. Times are UTC.
    pub schedule: String,
    /// How many seconds late a start may be before it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "starting_deadline")]
    pub starting_deadline_seconds: Option<i64>,
    /// Whether one may start while the last one runs.
    #[serde(default)]
    #[schemars(schema_with = "concurrency")]
    pub concurrency_policy: ConcurrencyPolicy,
    /// How many that have ended are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "history_limit")]
    pub history_limit: Option<u32>,
    /// The kind of what is made, like `PodChaos`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is made.
    #[serde(flatten)]
    pub chaos: Embedded,
    /// What is made, where that is a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WorkflowSpec")]
    pub workflow: Option<WorkflowSpec>,
}

/// Whether one may start while the last one runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ConcurrencyPolicy {
    /// No: that start is left out.
    #[default]
    Forbid,
    /// Yes.
    Allow,
}

/// Where the schedule stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleStatus {
    /// What it made that still runs: object references.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "references")]
    pub active: Vec<Value>,
    /// When it last made something.
    #[serde(default, rename = "time", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "nullable_time")]
    pub last_schedule_time: Option<Timestamp>,
}

fn starting_deadline(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer", "format": "int64", "nullable": true,
        "minimum": 0, "exclusiveMinimum": true,
    })
}

fn concurrency(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "default": "Forbid", "enum": ["Forbid", "Allow"] })
}

fn history_limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1 })
}

fn nullable_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}

fn references(_: &mut SchemaGenerator) -> Schema {
    let names = ["apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"];
    let properties: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), serde_json::json!({ "type": "string" })))
        .collect();
    json_schema!({ "type": "array", "items": { "type": "object", "properties": properties } })
}
