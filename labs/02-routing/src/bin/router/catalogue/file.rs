//! A catalogue as operators write it.

use std::collections::BTreeMap;

use lab02_routing::catalogue::{Feature, Tier};
use serde::Deserialize;
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) deployments: Vec<Spanned<Entry>>,
    #[serde(default)]
    pub(super) aliases: BTreeMap<String, Spanned<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) model: String,
    pub(super) version: String,
    /// What its replicas call the model; `model` where it is not said.
    pub(super) served_as: Option<String>,
    #[serde(default)]
    pub(super) endpoints: Vec<String>,
    pub(super) service: Option<String>,
    pub(super) features: Vec<Feature>,
    pub(super) context_tokens: u64,
    #[serde(default = "usual")]
    pub(super) tier: Tier,
    #[serde(default)]
    pub(super) price: PriceEntry,
    #[serde(default)]
    pub(super) adapters: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceEntry {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// The tier where none is said.
fn usual() -> Tier {
    Tier::Standard
}
