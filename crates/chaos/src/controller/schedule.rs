//! One schedule: makes an experiment when it is due, and keeps few that have ended.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::{Context, RETRY, Stop, child};
use crate::api::{ConcurrencyPolicy, MANAGED_BY_LABEL, PAUSE_ANNOTATION, Schedule, resource_of};
use crate::cron::{self, Due};

/// How often a schedule looks after what it made.
const HOUSEKEEPING: Duration = Duration::from_secs(2);
/// How many that have ended are kept, where the schedule does not say.
const HISTORY_LIMIT: usize = 1;

/// Follows all schedules until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: Stop) {
    let all: Api<Schedule> = Api::all(context.client.clone());
    Controller::new(all, watcher::Config::default())
        .graceful_shutdown_on(stop)
        .run(reconcile, |_, _: &kube::Error, _| Action::requeue(RETRY), context)
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!("schedule: {error}");
            }
        })
        .await;
}

/// What a schedule makes: the resource and the spec.
fn product(schedule: &Schedule) -> Option<(ApiResource, Value)> {
    let spec = &schedule.spec;
    if spec.kind == "Workflow" {
        let resource = resource_of("Workflow")?;
        return Some((resource, serde_json::to_value(spec.workflow.as_ref()?).ok()?));
    }
    let (resource, value) = spec.chaos.object().ok()??;
    (resource.kind == spec.kind).then_some((resource, value))
}

async fn reconcile(schedule: Arc<Schedule>, context: Arc<Context>) -> Result<Action, kube::Error> {
    if schedule.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let Some((resource, spec)) = product(&schedule) else {
        tracing::warn!(schedule = schedule.name_any(), "type {:?} has no spec", schedule.spec.kind);
        return Ok(Action::await_change());
    };
    let (name, namespace) = (schedule.name_any(), schedule.namespace().unwrap_or_default());
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &namespace, &resource);
    let mut children =
        child::list(&context.client, &namespace, &resource, MANAGED_BY_LABEL, &name).await?;
    let paused = schedule.annotations().get(PAUSE_ANNOTATION).is_some_and(|value| value == "true");
    for each in &children {
        child::pause(&api, each, paused).await?;
    }
    collect_garbage(&schedule, &api, &mut children, now).await?;
    let running = children.iter().filter(|each| !child::is_finished(each, now)).count();
    let created = schedule.creation_timestamp().map_or(now, |time| time.0);
    let last = schedule.status.as_ref().and_then(|status| status.last_schedule_time);
    let deadline = schedule.spec.starting_deadline_seconds;
    let deadline =
        deadline.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let due = match cron::due(&schedule.spec.schedule, last.unwrap_or(created), deadline, now) {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(schedule = name, "{error}");
            return Ok(Action::await_change());
        }
    };
    let wait = match due {
        Due::Now(_) if paused => HOUSEKEEPING,
        Due::Now(at) => {
            let forbidden = schedule.spec.concurrency_policy == ConcurrencyPolicy::Forbid;
            if !(forbidden && running > 0) {
                let metadata = ObjectMeta {
                    // One start has one name: made twice by mistake, it is there once.
                    name: Some(format!("{name}-{}", at.as_second())),
                    namespace: Some(namespace.clone()),
                    labels: Some(child::labels([(MANAGED_BY_LABEL, name.as_str())])),
                    owner_references: Some(child::owner(schedule.as_ref())),
                    ..ObjectMeta::default()
                };
                child::create(&api, &resource, metadata, spec).await?;
            }
            Duration::from_millis(1)
        }
        Due::In(wait) => wait,
        Due::Never => HOUSEKEEPING,
    };
    let started = match due {
        Due::Now(at) if !paused => Some(at),
        _ => last,
    };
    report(&schedule, &context, &children, started, now).await?;
    Ok(Action::requeue(if children.is_empty() { wait } else { wait.min(HOUSEKEEPING) }))
}

/// Deletes what has ended beyond the limit, oldest first.
async fn collect_garbage(
    schedule: &Schedule,
    api: &Api<DynamicObject>,
    children: &mut Vec<DynamicObject>,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let limit = schedule.spec.history_limit.map_or(HISTORY_LIMIT, |limit| limit as usize);
    let ended = children.iter().filter(|each| child::is_finished(each, now)).count();
    let mut surplus = ended.saturating_sub(limit);
    let mut kept = Vec::new();
    for each in children.drain(..) {
        if surplus > 0 && child::is_finished(&each, now) {
            surplus -= 1;
            match api.delete(&each.name_any(), &DeleteParams::background()).await {
                Err(kube::Error::Api(error)) if error.code == 404 => {}
                other => drop(other?),
            }
        } else {
            kept.push(each);
        }
    }
    *children = kept;
    Ok(())
}

async fn report(
    schedule: &Schedule,
    context: &Context,
    children: &[DynamicObject],
    started: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let active = children.iter().filter(|each| !child::is_finished(each, now));
    let active: Vec<Value> = active
        .filter_map(|each| {
            let types = each.types.as_ref();
            let reference = ObjectReference {
                api_version: types.map(|types| types.api_version.clone()),
                kind: types.map(|types| types.kind.clone()),
                name: each.metadata.name.clone(),
                namespace: each.metadata.namespace.clone(),
                uid: each.metadata.uid.clone(),
                ..ObjectReference::default()
            };
            serde_json::to_value(reference).ok()
        })
        .collect();
    let before = schedule.status.clone().unwrap_or_default();
    if before.active == active && before.last_schedule_time == started {
        return Ok(());
    }
    let namespace = schedule.namespace().unwrap_or_default();
    let api: Api<Schedule> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({
        "metadata": { "resourceVersion": schedule.resource_version() },
        "status": { "active": active, "time": started },
    });
    api.patch(&schedule.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}
