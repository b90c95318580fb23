//! Applies objects, all in one namespace.

use cluster_orders::{Manifests, ObjectName};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};
use serde_json::Value;

use super::{Bed, BedError};
use crate::ManifestError;
use crate::manifest::read;

/// Who applies, in `managedFields`.
const MANAGER: &str = "llm-lab";
/// Groups and versions of kinds that people name without them.
const KNOWN: [(&str, &str); 15] = [
    ("Pod", "v1"),
    ("Service", "v1"),
    ("ConfigMap", "v1"),
    ("Secret", "v1"),
    ("Deployment", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("DaemonSet", "apps/v1"),
    ("Job", "batch/v1"),
    ("HorizontalPodAutoscaler", "autoscaling/v2"),
    ("PodChaos", CHAOS),
    ("NetworkChaos", CHAOS),
    ("HTTPChaos", CHAOS),
    ("StressChaos", CHAOS),
    ("Schedule", CHAOS),
    ("Workflow", CHAOS),
];
const CHAOS: &str = "chaos-mesh.org/v1alpha1";

impl Bed {
    /// Applies objects, and names them in full.
    pub(super) async fn apply(
        &mut self,
        manifests: &Manifests,
    ) -> Result<Vec<ObjectName>, BedError> {
        let mut objects = Vec::new();
        for value in read(&manifests.source, &self.environment.deploy)? {
            objects.push((name_of(&value)?, value));
        }
        objects.retain(|(name, _)| manifests.includes(name));
        let names: Vec<ObjectName> = objects.iter().map(|(name, _)| name.clone()).collect();
        if let Some(unmet) = manifests.unmet(&names) {
            return Err(BedError::Order(format!("there is no {unmet} in what is applied")));
        }
        for (name, mut value) in objects {
            let changed = manifests.change(&name, &mut value);
            changed.map_err(|error| BedError::Order(format!("{name}: {error}")))?;
            Manifests::images(&mut value, &self.images);
            value["metadata"]["namespace"] = self.session.namespace().into();
            let params = PatchParams::apply(MANAGER).force();
            let api = self.api_of(&name).await?;
            api.patch(&name.name, &params, &Patch::Apply(&value)).await?;
        }
        Ok(names)
    }

    /// The objects of an object's kind.
    pub(super) async fn api_of(
        &mut self,
        object: &ObjectName,
    ) -> Result<Api<DynamicObject>, BedError> {
        let resource = self.resource(object).await?;
        let client = self.session.client().clone();
        Ok(Api::namespaced_with(client, self.session.namespace(), &resource))
    }

    async fn resource(&mut self, object: &ObjectName) -> Result<ApiResource, BedError> {
        let known = || KNOWN.iter().find(|(kind, _)| *kind == object.kind).map(|(_, of)| *of);
        let api_version = match object.api_version.as_str() {
            "" => known().ok_or_else(|| {
                BedError::Order(format!("{object}: say its group and version, too"))
            })?,
            version => version,
        };
        let id = format!("{api_version}/{}", object.kind);
        if let Some(resource) = self.kinds.get(&id) {
            return Ok(resource.clone());
        }
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, &object.kind);
        let (resource, can) = pinned_kind(self.session.client(), &kind).await?;
        if can.scope == Scope::Cluster {
            let why = format!("{object} belongs to the whole cluster: a check may not make it");
            return Err(BedError::Order(why));
        }
        self.kinds.insert(id, resource.clone());
        Ok(resource)
    }
}

/// An object by its kind and name.
fn name_of(value: &Value) -> Result<ObjectName, ManifestError> {
    let text = |pointer: &str| {
        let found = value.pointer(pointer).and_then(Value::as_str);
        found.map(ToOwned::to_owned).ok_or_else(|| ManifestError::Content {
            place: value["kind"].as_str().unwrap_or("an object").to_owned(),
            why: format!("it has no {pointer}"),
        })
    };
    Ok(ObjectName {
        api_version: text("/apiVersion")?,
        kind: text("/kind")?,
        name: text("/metadata/name")?,
    })
}
