//! One workflow: makes and removes its faults as its timetable says.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::{Context, RETRY, Stop, child};
use crate::api::{Workflow, WorkflowCondition, WorkflowStatus};
use crate::timeline::{Step, timeline};

/// On what a workflow made: the workflow's name.
const WORKFLOW_LABEL: &str = "chaos-mesh.org/workflow";
/// How often a workflow looks after what it made.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// Follows all workflows until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: Stop) {
    let all: Api<Workflow> = Api::all(context.client.clone());
    Controller::new(all, watcher::Config::default())
        .graceful_shutdown_on(stop)
        .run(reconcile, |_, _: &kube::Error, _| Action::requeue(RETRY), context)
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!("workflow: {error}");
            }
        })
        .await;
}

async fn reconcile(workflow: Arc<Workflow>, context: Arc<Context>) -> Result<Action, kube::Error> {
    if workflow.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let mut status = workflow.status.clone().unwrap_or_default();
    if status.end_time.is_some() {
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let start = *status.start_time.get_or_insert(now);
    let table = match timeline(&workflow.spec) {
        Ok(table) => table,
        Err(error) => {
            status.conditions = conditions(false, false, &error.to_string(), start);
            report(&workflow, &context, status).await?;
            return Ok(Action::await_change());
        }
    };
    // The start is written down before anything is made, so that a restart does not begin anew.
    if workflow.status.as_ref().and_then(|status| status.start_time).is_none() {
        status.conditions = conditions(true, false, "", start);
        report(&workflow, &context, status).await?;
        return Ok(Action::requeue(Duration::from_millis(1)));
    }
    let age = Duration::try_from(now.duration_since(start)).unwrap_or_default();
    let mut wait = HOUSEKEEPING;
    for step in &table.steps {
        let edges = [Some(step.from), step.until];
        let next = edges.into_iter().flatten().filter_map(|edge| edge.checked_sub(age));
        wait = next.filter(|left| !left.is_zero()).chain([wait]).min().unwrap_or(wait);
        place(&workflow, &context, step, age).await?;
    }
    if table.end.is_some_and(|end| end <= age) {
        status.end_time = Some(now);
        status.conditions = conditions(true, true, "", start);
        report(&workflow, &context, status).await?;
        return Ok(Action::await_change());
    }
    Ok(Action::requeue(wait))
}

/// Makes a step's fault while it is on, and removes it after.
async fn place(
    workflow: &Workflow,
    context: &Context,
    step: &Step<'_>,
    age: Duration,
) -> Result<(), kube::Error> {
    let Ok(Some((resource, spec))) = step.template.chaos.object() else { return Ok(()) };
    let namespace = workflow.namespace().unwrap_or_default();
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &namespace, &resource);
    let parent = workflow.name_any();
    let name = format!("{parent}-{}-{}", step.template.name, step.number);
    if age < step.from {
        return Ok(());
    }
    if step.until.is_some_and(|until| until <= age) {
        return match api.delete(&name, &DeleteParams::background()).await {
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
            other => other.map(|_| ()),
        };
    }
    if api.get_opt(&name).await?.is_some() {
        return Ok(());
    }
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: Some(namespace),
        labels: Some(child::labels([(WORKFLOW_LABEL, parent.as_str())])),
        owner_references: Some(child::owner(workflow)),
        ..ObjectMeta::default()
    };
    child::create(&api, &resource, metadata, spec).await
}

fn conditions(
    scheduled: bool,
    accomplished: bool,
    reason: &str,
    since: Timestamp,
) -> Vec<WorkflowCondition> {
    let said = |kind: &str, holds: bool| WorkflowCondition {
        kind: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: if holds { String::new() } else { reason.to_owned() },
        start_time: Some(since),
    };
    vec![said("Scheduled", scheduled), said("Accomplished", accomplished)]
}

/// Workflows alone have a status subresource.
async fn report(
    workflow: &Workflow,
    context: &Context,
    status: WorkflowStatus,
) -> Result<(), kube::Error> {
    if workflow.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let namespace = workflow.namespace().unwrap_or_default();
    let api: Api<Workflow> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({
        "metadata": { "resourceVersion": workflow.resource_version() },
        "status": status,
    });
    let params = PatchParams::default();
    api.patch_status(&workflow.name_any(), &params, &Patch::Merge(&patch)).await?;
    Ok(())
}
