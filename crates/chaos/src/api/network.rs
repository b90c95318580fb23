//! `NetworkChaos`: links that are slow, thin, lossy or cut.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{ChaosStatus, PodSelector};

/// Links of pods that are slow, thin, lossy or cut.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "chaos-mesh.org",
    version = "v1alpha1",
    kind = "NetworkChaos",
    plural = "networkchaos"
)]
#[kube(singular = "networkchaos", namespaced, status = "NetworkChaosStatus")]
#[kube(derive = "PartialEq", doc = "Links of pods that are slow, thin, lossy or cut")]
#[expect(clippy::duplicated_attributes, reason = "two columns may have one type")]
#[kube(printcolumn(name = "action", json_path = ".spec.action", type_ = "string"))]
#[kube(printcolumn(name = "duration", json_path = ".spec.duration", type_ = "string"))]
#[serde(rename_all = "camelCase")]
pub struct NetworkChaosSpec {
    /// The pods at the near end of the links.
    #[serde(flatten)]
    pub selector: PodSelector,
    /// What happens on the links.
    pub action: NetworkChaosAction,
    /// How long, like `30s`; without it, until the object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub duration: Option<String>,
    /// Of `delay`, and of `netem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Delay")]
    pub delay: Option<Delay>,
    /// Of `loss`, and of `netem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Loss")]
    pub loss: Option<Loss>,
    /// Of `duplicate`, and of `netem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duplicate")]
    pub duplicate: Option<Duplicate>,
    /// Of `corrupt`, and of `netem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Corrupt")]
    pub corrupt: Option<Corrupt>,
    /// Of `bandwidth`: a token bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Bandwidth")]
    pub bandwidth: Option<Bandwidth>,
    /// Of `netem`: a rate without a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rate")]
    pub rate: Option<Rate>,
    /// Which way packets are hit, seen from the selected pods.
    #[serde(default)]
    #[schemars(schema_with = "direction")]
    pub direction: Direction,
    /// The pods at the far end; without them, everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PodSelector")]
    pub target: Option<PodSelector>,
    /// The network device that is hit in the selected pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub device: Option<String>,
    /// The network device that is hit in the target pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub target_device: Option<String>,
    /// Far ends outside the cluster: addresses, networks, host names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_targets: Vec<String>,
    /// Another cluster, registered with Chaos Mesh, in which the fault is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub remote_cluster: Option<String>,
}

/// What happens on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkChaosAction {
    /// Several of the next four at once.
    Netem,
    /// Packets come late.
    Delay,
    /// Packets are lost.
    Loss,
    /// Packets come twice.
    Duplicate,
    /// Packets come with flipped bits.
    Corrupt,
    /// No packet passes.
    Partition,
    /// Few bytes pass.
    Bandwidth,
}

/// Which way packets go that are hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the selected pods to the targets.
    #[default]
    To,
    /// From the targets to the selected pods.
    From,
    /// Both ways.
    Both,
}

/// How late packets come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Delay {
    /// By how much, like `200ms`.
    #[schemars(regex(pattern = DURATION_PATTERN))]
    pub latency: String,
    /// By how much that varies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub jitter: Option<String>,
    /// How much one packet's delay depends on the last one's, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub correlation: Option<String>,
    /// Which packets overtake others instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reorder")]
    pub reorder: Option<Reorder>,
}

/// Which packets overtake others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Reorder {
    /// Percent of the packets.
    pub reorder: String,
    /// How much that depends on the last packet, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub correlation: Option<String>,
    /// Every how many packets.
    #[schemars(schema_with = "super::status::plain_integer")]
    pub gap: i64,
}

/// How many packets are lost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Loss {
    /// Percent of them.
    pub loss: String,
    /// How much that depends on the last packet, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub correlation: Option<String>,
}

/// How many packets come twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Duplicate {
    /// Percent of them.
    pub duplicate: String,
    /// How much that depends on the last packet, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub correlation: Option<String>,
}

/// How many packets come with flipped bits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Corrupt {
    /// Percent of them.
    pub corrupt: String,
    /// How much that depends on the last packet, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub correlation: Option<String>,
}

/// A token bucket, as of `tc-tbf`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Bandwidth {
    /// How fast it fills, like `1mbps`. `bps` is bytes a second, `bit` is bits a second.
    pub rate: String,
    /// Bytes that may wait for tokens.
    #[schemars(schema_with = "one_or_more")]
    pub limit: u32,
    /// Bytes that the bucket holds.
    #[schemars(schema_with = "one_or_more")]
    pub buffer: u32,
    /// The fastest that it may empty, in bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "peak_rate")]
    pub peakrate: Option<u64>,
    /// Bytes that may leave at once under a peak rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "min_burst")]
    pub minburst: Option<u32>,
}

/// A rate, as of `tc-netem`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// Like `1mbps`. `bps` is bytes a second, `bit` is bits a second.
    pub rate: String,
}

/// Where the experiment stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NetworkChaosStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub chaos: ChaosStatus,
    /// Which generation of its rules each pod has (Chaos Mesh's own).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, i64>,
}

/// A duration in Go's syntax, without a sign and with one unit.
const DURATION_PATTERN: &str = r"^[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h)$";

fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": DURATION_PATTERN })
}

fn direction(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "default": "to", "enum": ["to", "from", "both"] })
}

fn one_or_more(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1 })
}

fn peak_rate(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 0 })
}

fn min_burst(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 0 })
}
