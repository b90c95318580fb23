//! Makes a fault, and says what is there of it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client, Resource, ResourceExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::guard::Snapshot;
use super::observe::Workload;
use super::{
    EXPERIMENT_LABEL, EngineFault, Experiment, FAULTED_LABEL, FAULTS_ANNOTATION, FaultSpec,
};
use crate::api::{ChaosStatus, ConditionType, PAUSE_ANNOTATION, SelectorMode, resource_of};
use crate::select::choose;

/// Why a fault was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    /// The cluster.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// The executor, or nobody who executes.
    #[error("{0}")]
    Refused(String),
}

/// A fault that was made.
pub(super) struct Made {
    object: Option<(Api<DynamicObject>, String)>,
    workload: Workload,
}

/// Makes the fault of an experiment.
pub(super) async fn make(
    client: &Client,
    namespace: &str,
    experiment: &Experiment,
    workload: &Workload,
) -> Result<Made, MakeError> {
    let object = match &experiment.fault {
        FaultSpec::Chaos { kind, spec } => {
            let resource = resource_of(kind)
                .ok_or_else(|| MakeError::Refused(format!("{kind} is not known here")))?;
            let spec = complete(spec.clone(), kind, namespace, experiment, workload).await?;
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), namespace, &resource);
            let name = format!("experiment-{}", experiment.name);
            create(&api, &resource, &name, &experiment.name, spec).await?;
            Some((api, name))
        }
        FaultSpec::Engine { name, mode } => {
            annotate(workload, *name, *mode).await?;
            None
        }
    };
    Ok(Made { object, workload: workload.clone() })
}

async fn create(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    name: &str,
    experiment: &str,
    spec: Value,
) -> Result<(), MakeError> {
    let mut object = DynamicObject::new(name, resource).data(json!({ "spec": spec }));
    let labels = [(EXPERIMENT_LABEL.to_owned(), experiment.to_owned())];
    object.metadata = ObjectMeta { labels: Some(labels.into()), ..object.metadata };
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => Err(MakeError::Refused(format!(
            "this cluster does not know {}: install Chaos Mesh, or its definitions with `cargo xtask fault crds --apply` \
             where an executor runs",
            resource.kind
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Fills in what a spec leaves out: whom it hits, and an end, so that a fault goes even when nobody is left to remove it.
async fn complete(
    mut spec: Map<String, Value>,
    kind: &str,
    namespace: &str,
    experiment: &Experiment,
    workload: &Workload,
) -> Result<Value, kube::Error> {
    match kind {
        "Workflow" => {}
        // What it makes again and again stands inside it, and says itself how long it lasts.
        "Schedule" => {
            let made = spec.iter_mut().find(|(key, _)| key.ends_with("Chaos"));
            if let Some((_, Value::Object(made))) = made {
                aim(made, namespace, &workload.labels().await?);
            }
        }
        _ => {
            aim(&mut spec, namespace, &workload.labels().await?);
            let action = spec.get("action").and_then(Value::as_str).unwrap_or_default();
            if !matches!(action, "pod-kill" | "container-kill") && !spec.contains_key("duration") {
                let most = experiment.hold() + 3 * experiment.patience();
                spec.insert("duration".to_owned(), json!(format!("{}s", most.as_secs().max(1))));
            }
        }
    }
    Ok(Value::Object(spec))
}

/// Says whom a fault hits, as far as it does not: one pod, in this namespace, with these labels. A selector that names
/// labels or pods is left as it is; one that names nodes only, like those of a zone, means the workload's pods there.
fn aim(spec: &mut Map<String, Value>, namespace: &str, labels: &BTreeMap<String, String>) {
    spec.entry("mode").or_insert_with(|| json!("one"));
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    let Value::Object(selector) = selector else { return };
    let named = ["labelSelectors", "expressionSelectors", "pods", "fieldSelectors"];
    if !named.iter().any(|key| selector.contains_key(*key)) {
        selector.insert("labelSelectors".to_owned(), json!(labels));
    }
    selector.entry("namespaces").or_insert_with(|| json!([namespace]));
}

/// Switches an engine's fault on.
async fn annotate(
    workload: &Workload,
    fault: EngineFault,
    mode: SelectorMode,
) -> Result<(), MakeError> {
    let params = PatchParams::default();
    let annotations = json!({ FAULTS_ANNOTATION: fault.as_str() });
    let labels = json!({ FAULTED_LABEL: "true" });
    if fault.needs_start() {
        let patch = json!({
            "metadata": { "labels": labels },
            "spec": { "template": { "metadata": { "annotations": annotations } } },
        });
        workload.api().patch(workload.name(), &params, &Patch::Merge(&patch)).await?;
        return Ok(());
    }
    let mut names: Vec<String> = workload.pods().await?.iter().map(ResourceExt::name_any).collect();
    names.sort();
    // The same pods of the same workload every time: an experiment can be repeated.
    let seed = names
        .iter()
        .flat_map(|name| name.bytes())
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let chosen = choose(names.len(), mode, "", &mut StdRng::seed_from_u64(seed));
    let chosen = chosen.map_err(|error| MakeError::Refused(error.to_string()))?;
    let patch = json!({ "metadata": { "labels": labels, "annotations": annotations } });
    for index in chosen {
        workload.pods_api().patch(&names[index], &params, &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

impl Made {
    /// What is there now.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, kube::Error> {
        let deployment = self.workload.get().await?;
        let mut snapshot = Snapshot {
            workload: deployment.as_ref().and_then(ResourceExt::uid),
            replicas: deployment.and_then(|each| each.spec?.replicas).unwrap_or(0),
            ..Snapshot::default()
        };
        let Some((api, name)) = &self.object else {
            let labelled = ListParams::default().labels(FAULTED_LABEL);
            snapshot.faulted = self.workload.pods_api().list(&labelled).await?.items.len()
                + self.workload.api().list(&labelled).await?.items.len();
            return Ok(snapshot);
        };
        let object = api.get_opt(name).await?;
        snapshot.fault = Some(object.as_ref().and_then(ResourceExt::uid));
        if let Some(object) = object {
            let status = status(&object);
            snapshot.spec = object.data.get("spec").map(ToString::to_string).unwrap_or_default();
            snapshot.suspended = object.meta().deletion_timestamp.is_some()
                || object.annotations().get(PAUSE_ANNOTATION).is_some_and(|value| value == "true");
            snapshot.injected = status.holds(ConditionType::AllInjected);
        }
        Ok(snapshot)
    }

    /// Whether the executor says that all targets have the fault, or why they have not.
    pub(super) async fn is_injected(&self) -> Result<Result<(), String>, kube::Error> {
        let Some((api, name)) = &self.object else { return Ok(Ok(())) };
        let Some(object) = api.get_opt(name).await? else {
            return Ok(Err("the fault object is gone".to_owned()));
        };
        // Workflows and schedules have no records of their own: what they make has.
        if object.data.get("spec").is_some_and(|spec| spec.get("selector").is_none()) {
            return Ok(Ok(()));
        }
        let status = status(&object);
        if status.holds(ConditionType::AllInjected) {
            return Ok(Ok(()));
        }
        let reasons = [ConditionType::Selected, ConditionType::AllInjected];
        let reason = reasons.iter().find_map(|kind| status.condition(*kind)?.reason.clone());
        let records = status.experiment.records.unwrap_or_default();
        let event = records.iter().find_map(|record| record.events.last()?.message.clone());
        let nobody = || format!("nobody has made the fault of {name} yet: does Chaos Mesh run?");
        Ok(Err(reason.or(event).unwrap_or_else(nobody)))
    }
}

fn status(object: &DynamicObject) -> ChaosStatus {
    let status = object.data.get("status").cloned().unwrap_or_default();
    serde_json::from_value(status).unwrap_or_default()
}

/// Pause between two looks.
pub(super) const POLL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn aimed(spec: &Value) -> Value {
        let mut spec = spec.as_object().cloned().unwrap_or_default();
        let labels = BTreeMap::from([("app".to_owned(), "engine".to_owned())]);
        aim(&mut spec, "lab", &labels);
        Value::Object(spec)
    }

    #[test]
    fn a_fault_hits_the_workload_unless_it_says_whom() {
        let all = json!({ "namespaces": ["lab"], "labelSelectors": { "app": "engine" } });
        assert_eq!(aimed(&json!({})), json!({ "mode": "one", "selector": all }));
        let router = json!({ "labelSelectors": { "app": "router" } });
        let spec = aimed(&json!({ "mode": "all", "selector": router }));
        assert_eq!(spec["selector"]["labelSelectors"], router["labelSelectors"]);
        assert_eq!(spec["mode"], "all");
    }

    #[test]
    fn a_zone_means_the_workloads_pods_there() {
        let zone = json!({ "topology.kubernetes.io/zone": "lab-1b" });
        let spec = aimed(&json!({ "selector": { "nodeSelectors": zone } }));
        assert_eq!(spec["selector"]["labelSelectors"], json!({ "app": "engine" }));
        assert_eq!(spec["selector"]["nodeSelectors"], zone);
    }
}
