//! Objects that a schedule or a workflow makes, of any kind of fault.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::api::{ChaosStatus, ConditionType, DesiredPhase, PAUSE_ANNOTATION, Phase};
use crate::{go, phase};

/// The owner reference to what makes a child.
pub(super) fn owner(parent: &impl Resource<DynamicType = ()>) -> Vec<OwnerReference> {
    parent.controller_owner_ref(&()).into_iter().collect()
}

/// Makes a child. One that is there already is success.
pub(super) async fn create(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    metadata: ObjectMeta,
    spec: Value,
) -> Result<(), kube::Error> {
    let mut child = DynamicObject::new("", resource).data(json!({ "spec": spec }));
    child.metadata = metadata;
    match api.create(&PostParams::default(), &child).await {
        Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// The children with this label, oldest first.
pub(super) async fn list(
    client: &Client,
    namespace: &str,
    resource: &ApiResource,
    label: &str,
    value: &str,
) -> Result<Vec<DynamicObject>, kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    let params = ListParams::default().labels(&format!("{label}={value}"));
    let mut children = api.list(&params).await?.items;
    children.sort_by_key(|child| (child.creation_timestamp().map(|time| time.0), child.name_any()));
    Ok(children)
}

/// Labels of a child.
pub(super) fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Whether a child has done what it does.
pub(super) fn is_finished(child: &DynamicObject, now: Timestamp) -> bool {
    if let Some(workflow) = child.data.pointer("/status/endTime") {
        return !workflow.is_null();
    }
    let status = child.data.get("status").cloned().unwrap_or_default();
    let status: ChaosStatus = serde_json::from_value(status).unwrap_or_default();
    let action = child.data.pointer("/spec/action").and_then(Value::as_str);
    if matches!(action, Some("pod-kill" | "container-kill")) {
        return status.holds(ConditionType::AllInjected);
    }
    let records = status.experiment.records.as_deref().unwrap_or_default();
    let duration = child.data.pointer("/spec/duration").and_then(Value::as_str);
    let Some(Ok(duration)) = duration.map(go::duration) else { return false };
    let facts = phase::Facts {
        created: child.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        deleted: false,
        paused: false,
        one_shot: false,
        duration: Some(duration),
    };
    phase::desired(&facts, now).0 == DesiredPhase::Stop
        && records.iter().all(|record| record.phase == Phase::NotInjected)
}

/// Pauses a child, or lets it go on.
pub(super) async fn pause(
    api: &Api<DynamicObject>,
    child: &DynamicObject,
    paused: bool,
) -> Result<(), kube::Error> {
    let is = child.annotations().get(PAUSE_ANNOTATION).is_some_and(|value| value == "true");
    if is == paused {
        return Ok(());
    }
    let value = paused.then_some("true");
    let patch = json!({ "metadata": { "annotations": { PAUSE_ANNOTATION: value } } });
    api.patch(&child.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}
