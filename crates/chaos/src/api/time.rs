//! `TimeChaos`: clocks that are wrong.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ChaosStatus, ContainerSelector};

/// Clocks that a container reads wrong.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(group = "chaos-mesh.org", version = "v1alpha1", kind = "TimeChaos", plural = "timechaos")]
#[kube(singular = "timechaos", namespaced, status = "TimeChaosStatus")]
#[kube(derive = "PartialEq", doc = "Clocks that a container reads wrong")]
#[kube(printcolumn(name = "duration", json_path = ".spec.duration", type_ = "string"))]
#[serde(rename_all = "camelCase")]
pub struct TimeChaosSpec {
    /// The containers.
    #[serde(flatten)]
    pub selector: ContainerSelector,
    /// By how much they are wrong, like `-10m`.
    pub time_offset: String,
    /// Which clocks, like `CLOCK_REALTIME`, which is the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clock_ids: Vec<String>,
    /// How long, like `30s`; without it, until the object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub duration: Option<String>,
    /// Another cluster, registered with Chaos Mesh, in which the fault is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub remote_cluster: Option<String>,
}

/// Where the experiment stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TimeChaosStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub chaos: ChaosStatus,
}
