//! `Workflow`: experiments one after another, or at once.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Embedded;
use super::status::date_time;

/// Experiments one after another, or at once.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(group = "chaos-mesh.org", version = "v1alpha1", kind = "Workflow", plural = "workflows")]
#[kube(singular = "workflow", shortname = "wf", namespaced, status = "WorkflowStatus")]
#[kube(derive = "PartialEq", doc = "Experiments one after another, or at once")]
#[serde(rename_all = "camelCase")]
pub struct WorkflowSpec {
    /// The template that it starts with.
    pub entry: String,
    /// Its steps, by name.
    pub templates: Vec<Template>,
}

/// A step of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// What others call it by.
    pub name: String,
    /// `Serial`, `Parallel`, `Suspend`, `Task`, `StatusCheck`, `Schedule`, or a kind of fault.
    pub template_type: String,
    /// How long it lasts at most, like `30s`. A `Suspend` lasts this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub deadline: Option<String>,
    /// Of `Serial` and `Parallel`: the steps in it, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<String>,
    /// Of `Task`: the pod that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub task: Option<Value>,
    /// Of `Task`: what follows, by its outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditional_branches: Vec<ConditionalBranch>,
    /// Of `StatusCheck`: what is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub status_check: Option<Value>,
    /// Of `StatusCheck`: whether the workflow ends when it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub abort_with_status_check: Option<bool>,
    /// Of a kind of fault: the fault.
    #[serde(flatten)]
    pub chaos: Embedded,
    /// Of `Schedule`: what is made again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub schedule: Option<Value>,
}

/// What follows a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConditionalBranch {
    /// The step that follows.
    pub target: String,
    /// Under which condition; without one, always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub expression: Option<String>,
}

/// Where the workflow stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStatus {
    /// The name of the node that its entry became (Chaos Mesh's own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub entry_node: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub end_time: Option<Timestamp>,
    /// What holds of it: `Scheduled`, `Accomplished`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<WorkflowCondition>,
}

/// One statement about a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowCondition {
    /// `Scheduled` or `Accomplished`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub start_time: Option<Timestamp>,
}

/// Whatever Chaos Mesh takes there: no executor of ours looks inside.
fn opaque(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
