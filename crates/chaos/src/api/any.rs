//! What the six kinds of faults have in common.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::core::ApiResource;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, to_value};

use super::{
    ChaosStatus, ContainerSelector, HTTPChaos, HTTPChaosSpec, IOChaos, IOChaosSpec, NetworkChaos,
    NetworkChaosSpec, PodChaos, PodChaosAction, PodChaosSpec, PodSelector, StressChaos,
    StressChaosSpec, TimeChaos, TimeChaosSpec,
};

/// The selector of what is hit.
pub const SELF: &str = ".";
/// The selector of the far end of a link.
pub const TARGET: &str = ".Target";

/// A selector's name in records.
pub type SelectorKey = &'static str;

/// One selector of an experiment.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// Its name in records.
    pub key: SelectorKey,
    /// The pods.
    pub pods: &'a PodSelector,
    /// The containers of each pod, empty for the first; nothing where pods are hit as a whole.
    pub containers: Option<&'a [String]>,
}

impl<'a> Targets<'a> {
    fn pods(key: SelectorKey, pods: &'a PodSelector) -> Self {
        Self { key, pods, containers: None }
    }

    fn containers(selector: &'a ContainerSelector) -> Self {
        let containers = Some(selector.container_names.as_slice());
        Self { key: SELF, pods: &selector.pods, containers }
    }
}

/// An object that is an experiment: a fault, whom it hits, and for how long.
pub trait Chaos:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Whom it hits, selector by selector.
    fn targets(&self) -> Vec<Targets<'_>>;

    /// How long, in Go's syntax; without it, until the object is deleted.
    fn duration(&self) -> Option<&str>;

    /// Whether it happens once and cannot be undone: it has no duration and no pause.
    fn is_one_shot(&self) -> bool {
        false
    }

    /// The cluster in which Chaos Mesh shall make the fault, if not this one.
    fn remote_cluster(&self) -> Option<&str>;

    /// What was said of it last.
    fn status(&self) -> Option<&ChaosStatus>;
}

macro_rules! chaos {
    ($kind:ident, $this:ident => $targets:expr $(, one_shot = $one_shot:expr)?) => {
        impl Chaos for $kind {
            fn targets(&self) -> Vec<Targets<'_>> {
                let $this = &self.spec;
                $targets
            }

            fn duration(&self) -> Option<&str> {
                self.spec.duration.as_deref()
            }

            $(fn is_one_shot(&self) -> bool {
                let $this = &self.spec;
                $one_shot
            })?

            fn remote_cluster(&self) -> Option<&str> {
                self.spec.remote_cluster.as_deref().filter(|name| !name.is_empty())
            }

            fn status(&self) -> Option<&ChaosStatus> {
                self.status.as_ref().map(|status| &status.chaos)
            }
        }
    };
}

chaos!(PodChaos, spec => match spec.action {
    PodChaosAction::ContainerKill => vec![Targets::containers(&spec.selector)],
    PodChaosAction::PodKill | PodChaosAction::PodFailure => {
        vec![Targets::pods(SELF, &spec.selector.pods)]
    }
}, one_shot = spec.action != PodChaosAction::PodFailure);
chaos!(NetworkChaos, spec => {
    let far = spec.target.as_ref().map(|target| Targets::pods(TARGET, target));
    std::iter::once(Targets::pods(SELF, &spec.selector)).chain(far).collect()
});
chaos!(HTTPChaos, spec => vec![Targets::pods(SELF, &spec.selector)]);
chaos!(StressChaos, spec => vec![Targets::containers(&spec.selector)]);
chaos!(IOChaos, spec => vec![Targets::containers(&spec.selector)]);
chaos!(TimeChaos, spec => vec![Targets::containers(&spec.selector)]);

/// A fault inside a schedule or a workflow: one of these.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Embedded {
    /// Pods that die.
    #[serde(default, rename = "podChaos", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PodChaosSpec")]
    pub pod: Option<PodChaosSpec>,
    /// Links that are slow or cut.
    #[serde(default, rename = "networkChaos", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NetworkChaosSpec")]
    pub network: Option<NetworkChaosSpec>,
    /// Requests that are cut, late or changed.
    #[serde(default, rename = "httpChaos", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HTTPChaosSpec")]
    pub http: Option<HTTPChaosSpec>,
    /// CPU or memory that is eaten.
    #[serde(default, rename = "stressChaos", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "StressChaosSpec")]
    pub stress: Option<StressChaosSpec>,
    /// Files that are slow or fail.
    #[serde(default, rename = "ioChaos", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IOChaosSpec")]
    pub io: Option<IOChaosSpec>,
    /// Clocks that are wrong.
    #[serde(default, rename = "timeChaos", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TimeChaosSpec")]
    pub time: Option<TimeChaosSpec>,
}

impl Embedded {
    /// The kind of the one fault that it holds; nothing if it holds none, or several.
    #[must_use]
    pub fn kind(&self) -> Option<&'static str> {
        let held = [
            ("PodChaos", self.pod.is_some()),
            ("NetworkChaos", self.network.is_some()),
            ("HTTPChaos", self.http.is_some()),
            ("StressChaos", self.stress.is_some()),
            ("IOChaos", self.io.is_some()),
            ("TimeChaos", self.time.is_some()),
        ];
        let mut held = held.iter().filter(|(_, held)| *held);
        match (held.next(), held.next()) {
            (Some((kind, _)), None) => Some(kind),
            _ => None,
        }
    }

    /// The resource that holds the one fault, and the fault as its spec.
    ///
    /// # Errors
    /// If a spec cannot be written as JSON, which would be a bug.
    pub fn object(&self) -> Result<Option<(ApiResource, Value)>, serde_json::Error> {
        Ok(match self {
            Self { pod: Some(spec), .. } => Some((resource::<PodChaos>(), to_value(spec)?)),
            Self { network: Some(spec), .. } => Some((resource::<NetworkChaos>(), to_value(spec)?)),
            Self { http: Some(spec), .. } => Some((resource::<HTTPChaos>(), to_value(spec)?)),
            Self { stress: Some(spec), .. } => Some((resource::<StressChaos>(), to_value(spec)?)),
            Self { io: Some(spec), .. } => Some((resource::<IOChaos>(), to_value(spec)?)),
            Self { time: Some(spec), .. } => Some((resource::<TimeChaos>(), to_value(spec)?)),
            _ => None,
        })
    }
}

fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

/// The resource of a kind of fault, by the kind's name.
#[must_use]
pub fn resource_of(kind: &str) -> Option<ApiResource> {
    Some(match kind {
        "PodChaos" => resource::<PodChaos>(),
        "NetworkChaos" => resource::<NetworkChaos>(),
        "HTTPChaos" => resource::<HTTPChaos>(),
        "StressChaos" => resource::<StressChaos>(),
        "IOChaos" => resource::<IOChaos>(),
        "TimeChaos" => resource::<TimeChaos>(),
        "Schedule" => resource::<super::Schedule>(),
        "Workflow" => resource::<super::Workflow>(),
        _ => return None,
    })
}
