//! `PodChaos`: pods and containers that die.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ChaosStatus, ContainerSelector};

/// Pods or containers that die or stay down.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(group = "chaos-mesh.org", version = "v1alpha1", kind = "PodChaos", plural = "podchaos")]
#[kube(singular = "podchaos", namespaced, status = "PodChaosStatus")]
#[kube(derive = "PartialEq", doc = "Pods or containers that die or stay down")]
#[serde(rename_all = "camelCase")]
pub struct PodChaosSpec {
    /// What is hit. The containers count for `container-kill` alone.
    #[serde(flatten)]
    pub selector: ContainerSelector,
    /// What happens to it.
    pub action: PodChaosAction,
    /// How long a `pod-failure` lasts, like `30s` or `1m30s`; without it, until the object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub duration: Option<String>,
    /// Seconds that a killed pod has to end by itself; 0 is at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "grace_period")]
    pub grace_period: Option<i64>,
    /// Another cluster, registered with Chaos Mesh, in which the fault is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub remote_cluster: Option<String>,
}

/// What happens to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PodChaosAction {
    /// It is deleted, once.
    PodKill,
    /// It does not run until the fault ends.
    PodFailure,
    /// A container of it is killed, once.
    ContainerKill,
}

/// Where the experiment stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PodChaosStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub chaos: ChaosStatus,
}

fn grace_period(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "integer", "format": "int64", "minimum": 0 })
}
