//! Removes whatever experiments left, also those that were killed: by label, and only what carries it.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{EXPERIMENT_LABEL, FAULTED_LABEL, FAULTS_ANNOTATION};
use crate::api::{CLEAN_FINALIZER_ANNOTATION, resource_of};

/// Pause between two looks at an object that is being deleted.
const POLL: Duration = Duration::from_millis(100);
/// Kinds that experiments make, those first that make others.
const KINDS: [&str; 8] = [
    "Workflow",
    "Schedule",
    "PodChaos",
    "NetworkChaos",
    "HTTPChaos",
    "StressChaos",
    "IOChaos",
    "TimeChaos",
];

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Cleared {
    /// Fault objects that are gone.
    pub faults: Vec<String>,
    /// Pods and Deployments that carry no engine fault any more.
    pub engines: Vec<String>,
    /// Fault objects whose executor did not undo them in time. They are gone, their fault may not be.
    pub forced: Vec<String>,
}

/// Removes all faults that experiments made in a namespace, and waits until they are undone, `patience` for each.
///
/// # Errors
/// What the cluster says.
pub async fn clear(
    client: &Client,
    namespace: &str,
    patience: Duration,
) -> Result<Cleared, kube::Error> {
    let mut cleared = Cleared::default();
    engines(client, namespace, &mut cleared).await?;
    for resource in KINDS.iter().filter_map(|kind| resource_of(kind)) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let labelled = ListParams::default().labels(EXPERIMENT_LABEL);
        let found = match api.list(&labelled).await {
            Ok(found) => found.items,
            // A cluster without Chaos Mesh has nothing of this kind.
            Err(kube::Error::Api(error)) if error.code == 404 => continue,
            Err(error) => return Err(error),
        };
        for object in found {
            remove(&api, &resource, &object.name_any(), patience, &mut cleared).await?;
        }
    }
    Ok(cleared)
}

/// Deletes one fault object and waits until it is gone.
async fn remove(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    name: &str,
    patience: Duration,
    cleared: &mut Cleared,
) -> Result<(), kube::Error> {
    let label = format!("{}/{name}", resource.kind);
    gone(api.delete(name, &DeleteParams::background()).await.map(|_| ()))?;
    if wait_until_gone(api, name, patience).await? {
        cleared.faults.push(label);
        return Ok(());
    }
    // Chaos Mesh's own way out, then ours: without an executor nobody else takes the finalizer off.
    let force = json!({ "metadata": { "annotations": { CLEAN_FINALIZER_ANNOTATION: "forced" } } });
    gone(api.patch(name, &PatchParams::default(), &Patch::Merge(&force)).await.map(|_| ()))?;
    if !wait_until_gone(api, name, patience.min(Duration::from_secs(5))).await? {
        let bare = json!({ "metadata": { "finalizers": null } });
        gone(api.patch(name, &PatchParams::default(), &Patch::Merge(&bare)).await.map(|_| ()))?;
    }
    cleared.forced.push(label);
    Ok(())
}

async fn wait_until_gone(
    api: &Api<DynamicObject>,
    name: &str,
    patience: Duration,
) -> Result<bool, kube::Error> {
    let deadline = Instant::now() + patience;
    while api.get_opt(name).await?.is_some() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(POLL).await;
    }
    Ok(true)
}

/// Takes the annotation off pods and templates that carry it.
async fn engines(
    client: &Client,
    namespace: &str,
    cleared: &mut Cleared,
) -> Result<(), kube::Error> {
    let labelled = ListParams::default().labels(FAULTED_LABEL);
    let marks = json!({
        "labels": { FAULTED_LABEL: null }, "annotations": { FAULTS_ANNOTATION: null },
    });
    let params = PatchParams::default();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    for each in deployments.list(&labelled).await? {
        let annotations = json!({ FAULTS_ANNOTATION: null });
        let patch = json!({
            "metadata": { "labels": { FAULTED_LABEL: null } },
            "spec": { "template": { "metadata": { "annotations": annotations } } },
        });
        let name = each.name_any();
        gone(deployments.patch(&name, &params, &Patch::Merge(&patch)).await.map(|_| ()))?;
        cleared.engines.push(format!("Deployment/{name}"));
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for each in pods.list(&labelled).await? {
        let patch = json!({ "metadata": marks });
        let name = each.name_any();
        gone(pods.patch(&name, &params, &Patch::Merge(&patch)).await.map(|_| ()))?;
        cleared.engines.push(format!("Pod/{name}"));
    }
    Ok(())
}

/// What is gone already is as good.
fn gone(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        other => other,
    }
}
