//! Which pods and containers an experiment may hit, and how many of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many of the selected pods are hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SelectorMode {
    /// One of them, by chance.
    #[default]
    One,
    /// All of them, ready or not.
    All,
    /// `value` of them, or all where there are fewer.
    Fixed,
    /// `value` percent of them, rounded down.
    FixedPercent,
    /// Up to `value` percent of them; how many is by chance.
    RandomMaxPercent,
}

/// How a key relates to a list of values in a [`Requirement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label is absent, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// One expression over labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it relates to the values. A string in the schema, as in Kubernetes' own `LabelSelectorRequirement`.
    #[schemars(with = "String")]
    pub operator: Operator,
    /// The values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What a pod must be like to be selected: all conditions at once. An empty one selects every pod of the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSelectorSpec {
    /// Its namespace is one of these; by default that of the experiment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Its node is one of these, or one that `nodeSelectors` matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// It is one of these, by namespace. Where this is set, nothing else is looked at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pods: BTreeMap<String, Vec<String>>,
    /// Its node has these labels, or is named in `nodes`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selectors: BTreeMap<String, String>,
    /// Its fields have these values, as in a field selector: `metadata.name`, `spec.nodeName`, `status.phase`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub field_selectors: BTreeMap<String, String>,
    /// It has these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub label_selectors: BTreeMap<String, String>,
    /// Its labels satisfy these expressions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expression_selectors: Vec<Requirement>,
    /// It has these annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotation_selectors: BTreeMap<String, String>,
    /// It is in one of these phases: Pending, Running, Succeeded, Failed, Unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_phase_selectors: Vec<String>,
}

/// Which pods, and how many of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSelector {
    /// What a pod must be like.
    pub selector: PodSelectorSpec,
    /// How many of those that are like it.
    pub mode: SelectorMode,
    /// The number, or the percentage from 0 to 100, that some modes need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub value: Option<String>,
}

/// Which pods, how many of them, and which of their containers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSelector {
    /// The pods.
    #[serde(flatten)]
    pub pods: PodSelector,
    /// The containers; by default the first of each pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub container_names: Vec<String>,
}
