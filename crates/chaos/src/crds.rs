//! The custom resource definitions of Chaos Mesh's kinds, for clusters where Chaos Mesh itself is not installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceSubresources,
};
use kube::CustomResourceExt;

use crate::api::{
    HTTPChaos, IOChaos, NetworkChaos, PodChaos, Schedule, StressChaos, TimeChaos, Workflow,
};

/// What stands above the definitions in [`manifest`].
const HEAD: &str =
    "# Kinds of Chaos Mesh, chaos-mesh.org/v1alpha1, for clusters without Chaos Mesh.
# Generated from crates/chaos: cargo run -p chaos --example crds > clusters/chaos-mesh/crds.yaml
";

/// One definition a kind, by name.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        without_status(HTTPChaos::crd()),
        without_status(IOChaos::crd()),
        without_status(NetworkChaos::crd()),
        without_status(PodChaos::crd()),
        without_status(Schedule::crd()),
        without_status(StressChaos::crd()),
        without_status(TimeChaos::crd()),
        Workflow::crd(),
    ]
}

/// Chaos Mesh writes the status of all kinds but workflows through the object itself, so its definitions have no status
/// subresource. With one, its controllers' writes, and ours, would be dropped.
fn without_status(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        version.subresources = Some(CustomResourceSubresources::default());
    }
    crd
}

/// All definitions as one YAML text of several documents.
///
/// # Errors
/// If a definition cannot be written as YAML, which would be a bug.
pub fn manifest() -> Result<String, serde_saphyr::ser::Error> {
    let mut text = HEAD.to_owned();
    for crd in all() {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&crd)?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}
