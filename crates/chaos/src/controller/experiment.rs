//! One experiment: select, inject, recover, say so.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Context, RETRY, Stop};
use crate::api::{
    CLEAN_FINALIZER_ANNOTATION, ChaosStatus, DesiredPhase, Operation, RECORDS_FINALIZER, Record,
};
use crate::fault::{Fault, Faulty, container_of, pod_of};
use crate::phase::{self, Facts};
use crate::select;
use crate::{InjectError, Injection, Target};

/// Executes all experiments of one kind until `stop`.
pub(super) async fn run<K: Faulty>(context: Arc<Context>, stop: Stop) {
    let all: Api<K> = Api::all(context.client.clone());
    Controller::new(all, watcher::Config::default())
        .graceful_shutdown_on(stop)
        .run(reconcile::<K>, on_error, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(kind = %K::kind(&()), "reconcile: {error}");
            }
        })
        .await;
}

fn on_error<K: Faulty>(_: Arc<K>, _: &kube::Error, _: Arc<Context>) -> Action {
    Action::requeue(RETRY)
}

/// Brings one experiment nearer to what it asks for.
async fn reconcile<K: Faulty>(chaos: Arc<K>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let namespace = chaos.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let held = chaos.finalizers().iter().any(|name| name == RECORDS_FINALIZER);
    let deleted = chaos.meta().deletion_timestamp.is_some();
    if !held {
        if !deleted {
            hold(&api, chaos.as_ref(), true).await?;
        }
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let mut round = Round { trouble: None, retry: false };
    let facts = Facts::of(chaos.as_ref()).unwrap_or_else(|error| {
        round.trouble = Some(error.to_string());
        // A duration of nothing is over: what cannot be read is not begun, and what was begun is undone.
        Facts {
            created: now,
            deleted,
            paused: false,
            one_shot: false,
            duration: Some(Duration::ZERO),
        }
    });
    let (desired, left) = phase::desired(&facts, now);
    let mut status = chaos.status().cloned().unwrap_or_default();
    status.experiment.desired_phase = Some(desired);
    if status.experiment.records.is_none() && desired == DesiredPhase::Run {
        match targets(chaos.as_ref(), &context, &namespace).await? {
            Ok(records) => status.experiment.records = Some(records),
            Err(error) => {
                round.trouble = Some(error.to_string());
                round.retry = true;
            }
        }
    }
    if let Some(records) = &mut status.experiment.records {
        round.turn(chaos.as_ref(), &context, records, desired, now).await;
    }
    let forced = chaos.annotations().get(CLEAN_FINALIZER_ANNOTATION);
    let forced = forced.is_some_and(|value| value == "forced");
    if deleted && (forced || phase::is_clean(&status)) {
        hold(&api, chaos.as_ref(), false).await?;
        return Ok(Action::await_change());
    }
    report(&api, chaos.as_ref(), status, facts.paused, round.trouble.as_deref()).await?;
    let retry = round.retry.then_some(RETRY);
    Ok(match retry.into_iter().chain(left).min() {
        Some(soon) => Action::requeue(soon.max(Duration::from_millis(1))),
        None => Action::await_change(),
    })
}

/// Puts the finalizer on, or takes it off.
async fn hold<K: Faulty>(api: &Api<K>, chaos: &K, hold: bool) -> Result<(), kube::Error> {
    let others = chaos.finalizers().iter().filter(|name| *name != RECORDS_FINALIZER);
    let mut finalizers: Vec<&str> = others.map(String::as_str).collect();
    if hold {
        finalizers.push(RECORDS_FINALIZER);
    }
    let version = chaos.resource_version();
    let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
    let patched =
        api.patch(&chaos.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
    match patched {
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Writes the status if it is another one. The version in the patch makes a stale write fail, so that two rounds never mix.
async fn report<K: Faulty>(
    api: &Api<K>,
    chaos: &K,
    mut status: ChaosStatus,
    paused: bool,
    trouble: Option<&str>,
) -> Result<(), kube::Error> {
    let records = status.experiment.records.as_deref();
    status.conditions = phase::conditions(records, paused, trouble);
    if chaos.status() == Some(&status) {
        return Ok(());
    }
    let patch = json!({
        "metadata": { "resourceVersion": chaos.resource_version() },
        "status": status,
    });
    api.patch(&chaos.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// Selects the targets, with the object's own identity as chance: a second look selects the same.
async fn targets<K: Faulty>(
    chaos: &K,
    context: &Context,
    namespace: &str,
) -> Result<Result<Vec<Record>, select::SelectError>, kube::Error> {
    let selectors = chaos.targets();
    let everything = ListParams::default();
    let mut namespaces: Vec<&str> = Vec::new();
    for targets in &selectors {
        let spec = &targets.pods.selector;
        namespaces.extend(spec.pods.keys().chain(&spec.namespaces).map(String::as_str));
        if spec.namespaces.is_empty() {
            namespaces.push(namespace);
        }
    }
    namespaces.sort_unstable();
    namespaces.dedup();
    let mut pods: Vec<Pod> = Vec::new();
    for namespace in namespaces {
        let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
        pods.extend(api.list(&everything).await?.items);
    }
    let by_label = selectors.iter().any(|each| !each.pods.selector.node_selectors.is_empty());
    let nodes: Vec<Node> = if by_label {
        Api::all(context.client.clone()).list(&everything).await?.items
    } else {
        Vec::new()
    };
    Ok(select::records(&selectors, namespace, &pods, &nodes, seed(chaos)))
}

/// Chance for one object: its uid, so that the same object always selects the same.
fn seed<K: Faulty>(chaos: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    chaos.uid().unwrap_or_else(|| chaos.name_any()).hash(&mut hasher);
    hasher.finish()
}

/// One look at all targets.
struct Round {
    /// What went wrong, for the conditions.
    trouble: Option<String>,
    /// Whether another try may help.
    retry: bool,
}

impl Round {
    /// Brings each target one step further.
    async fn turn<K: Faulty>(
        &mut self,
        chaos: &K,
        context: &Context,
        records: &mut [Record],
        desired: DesiredPhase,
        now: Timestamp,
    ) {
        let before = records.to_vec();
        for record in records.iter_mut() {
            let Some(operation) = phase::next(record.phase, desired) else { continue };
            let result = match step(chaos, context, record, &before, operation).await {
                Err(InjectError::Gone(_)) if operation == Operation::Recover => Ok(()),
                other => other,
            };
            if let Err(error) = &result {
                self.retry |= error.may_pass();
                self.trouble.get_or_insert_with(|| error.to_string());
            }
            phase::note(record, operation, result.map_err(|error| error.to_string()), now);
        }
    }
}

/// One attempt at one target.
async fn step<K: Faulty>(
    chaos: &K,
    context: &Context,
    record: &Record,
    all: &[Record],
    operation: Operation,
) -> Result<(), InjectError> {
    if let Some(cluster) = chaos.remote_cluster() {
        return Err(InjectError::Unsupported(format!("a fault in another cluster ({cluster})")));
    }
    let fault = chaos.fault(record, all)?;
    let (namespace, pod) =
        pod_of(record).ok_or_else(|| InjectError::Invalid(format!("{:?} is no pod", record.id)))?;
    match (&fault, operation) {
        (Fault::FarEnd, _) | (Fault::KillPod { .. } | Fault::KillContainer, Operation::Recover) => {
            return Ok(());
        }
        (Fault::KillPod { grace_period }, Operation::Apply) => {
            return kill(context, &namespace, &pod, *grace_period).await;
        }
        _ => {}
    }
    let uid = chaos.uid().unwrap_or_default();
    let injection = Injection {
        id: format!("{uid}/{}", record.id),
        target: Target { namespace, pod, container: container_of(record) },
        fault,
    };
    match operation {
        Operation::Apply => context.injector.inject(&injection).await,
        Operation::Recover => context.injector.recover(&injection).await,
    }
}

/// Deletes a pod.
async fn kill(
    context: &Context,
    namespace: &str,
    pod: &str,
    grace_period: u32,
) -> Result<(), InjectError> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let params =
        DeleteParams { grace_period_seconds: Some(grace_period), ..DeleteParams::default() };
    match api.delete(pod, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => {
            Err(InjectError::Gone(format!("pod {namespace}/{pod}")))
        }
        Err(error) => Err(InjectError::Failed(error.to_string())),
    }
}
