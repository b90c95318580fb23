//! `IOChaos`: files that are slow, fail or lie.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{ChaosStatus, ContainerSelector};

/// Files of a volume that are slow, fail or lie.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(group = "chaos-mesh.org", version = "v1alpha1", kind = "IOChaos", plural = "iochaos")]
#[kube(singular = "iochaos", namespaced, status = "IOChaosStatus")]
#[kube(derive = "PartialEq", doc = "Files of a volume that are slow, fail or lie")]
#[expect(clippy::duplicated_attributes, reason = "two columns may have one type")]
#[kube(printcolumn(name = "action", json_path = ".spec.action", type_ = "string"))]
#[kube(printcolumn(name = "duration", json_path = ".spec.duration", type_ = "string"))]
#[serde(rename_all = "camelCase")]
pub struct IOChaosSpec {
    /// The containers.
    #[serde(flatten)]
    pub selector: ContainerSelector,
    /// What happens to an operation.
    pub action: IoAction,
    /// Of `latency`: how late it is, like `100ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub delay: Option<String>,
    /// Of `fault`: the error number, like 5 (EIO).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int32")]
    pub errno: Option<u32>,
    /// Of `attrOverride`: the attributes that are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AttrOverride")]
    pub attr: Option<AttrOverride>,
    /// Of `mistake`: the wrong bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mistake")]
    pub mistake: Option<Mistake>,
    /// Hit only files that match this pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub path: Option<String>,
    /// Hit only these operations, like `read` and `fsync`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Percent of the operations that are hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "percent")]
    pub percent: Option<u8>,
    /// Where the volume is mounted.
    pub volume_path: String,
    /// How long, like `30s`; without it, until the object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub duration: Option<String>,
    /// Another cluster, registered with Chaos Mesh, in which the fault is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub remote_cluster: Option<String>,
}

/// What happens to an operation on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IoAction {
    /// It is late.
    Latency,
    /// It fails.
    Fault,
    /// It tells other attributes.
    AttrOverride,
    /// It reads or writes other bytes.
    Mistake,
}

/// Attributes that are told instead of a file's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AttrOverride {
    /// Inode number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int64")]
    pub ino: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int64")]
    pub size: Option<u64>,
    /// Blocks of 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int64")]
    pub blocks: Option<u64>,
    /// Time of the last access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timespec")]
    pub atime: Option<Timespec>,
    /// Time of the last change of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timespec")]
    pub mtime: Option<Timespec>,
    /// Time of the last change of an attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timespec")]
    pub ctime: Option<Timespec>,
    /// Kind of file, like `regularFile` or `directory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub kind: Option<String>,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::status::plain_integer")]
    pub perm: Option<u16>,
    /// Hard links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int32")]
    pub nlink: Option<u32>,
    /// Owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int32")]
    pub uid: Option<u32>,
    /// Group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int32")]
    pub gid: Option<u32>,
    /// Number of a device file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int32")]
    pub rdev: Option<u32>,
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Timespec {
    /// Whole seconds.
    pub sec: i64,
    /// Nanoseconds on top.
    pub nsec: i64,
}

/// Wrong bytes in what is read or written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mistake {
    /// What they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Filling")]
    pub filling: Option<Filling>,
    /// In how many places at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "positive")]
    pub max_occurrences: Option<i64>,
    /// How many bytes long each at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "positive")]
    pub max_length: Option<i64>,
}

/// What wrong bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Filling {
    /// Zeros.
    Zero,
    /// Anything.
    Random,
}

/// Where the experiment stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct IOChaosStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub chaos: ChaosStatus,
    /// Which generation of its rules each pod has (Chaos Mesh's own).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, i64>,
}

fn int32(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32" })
}

fn int64(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64" })
}

fn positive(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 1 })
}

fn percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "default": 100 })
}
