//! `StressChaos`: neighbours that eat CPU and memory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::status::date_time;
use super::{ChaosStatus, ContainerSelector};

/// CPU or memory that something else eats in a container.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "chaos-mesh.org",
    version = "v1alpha1",
    kind = "StressChaos",
    plural = "stresschaos"
)]
#[kube(singular = "stresschaos", namespaced, status = "StressChaosStatus")]
#[kube(derive = "PartialEq", doc = "CPU or memory that something else eats in a container")]
#[kube(printcolumn(name = "duration", json_path = ".spec.duration", type_ = "string"))]
#[serde(rename_all = "camelCase")]
pub struct StressChaosSpec {
    /// The containers.
    #[serde(flatten)]
    pub selector: ContainerSelector,
    /// What eats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Stressors")]
    pub stressors: Option<Stressors>,
    /// Options of `stress-ng` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub stressng_stressors: Option<String>,
    /// How long, like `30s`; without it, until the object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub duration: Option<String>,
    /// Another cluster, registered with Chaos Mesh, in which the fault is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub remote_cluster: Option<String>,
}

/// What eats; at least one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Stressors {
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MemoryStressor")]
    pub memory: Option<MemoryStressor>,
    /// CPU time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CpuStressor")]
    pub cpu: Option<CpuStressor>,
}

/// Workers that keep memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStressor {
    /// How many.
    #[schemars(schema_with = "workers")]
    pub workers: u32,
    /// How much each keeps: bytes with a unit like `256MB`, or a percentage of what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub size: Option<String>,
    /// How soon the kernel kills them when memory ends: -1000 is never, 1000 is first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "oom_score")]
    pub oom_score_adj: Option<i32>,
    /// Further options of the stress program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// Workers that burn CPU time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CpuStressor {
    /// How many.
    #[schemars(schema_with = "workers")]
    pub workers: u32,
    /// How much of a core each burns, in percent; by default all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "percentage")]
    pub load: Option<u8>,
    /// Further options of the stress program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// Where the experiment stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StressChaosStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub chaos: ChaosStatus,
    /// The stress programs that run (Chaos Mesh's own).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, StressInstance>,
}

/// A stress program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StressInstance {
    /// What it is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub uid: Option<String>,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub start_time: Option<Timestamp>,
    /// What its memory part is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub memory_uid: Option<String>,
    /// When that was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub memory_start_time: Option<Timestamp>,
}

fn workers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "maximum": 8192 })
}

fn percentage(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "maximum": 100 })
}

fn oom_score(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": -1000, "maximum": 1000, "default": 0 })
}
