//! Deletes a pod unless a budget of disruptions is used up.

use apimachinery::schema::{Typed, builtin};
use apimachinery::selector::LabelSelector;
use apimachinery::{Cause, Details, Key, Meta, Reason, Status};
use jiff::Timestamp;
use object_store::{DeleteOptions, ObjectRef, Part, Selection, Store, WriteOptions};
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::decode;
use crate::resource::{Request, delete_options, dry_run, passing_kind};

/// Pods that a budget may count as going at once, as in Kubernetes.
const DISRUPTED: usize = 2000;
/// When to try again while a budget has not been counted yet.
const RETRY_SECONDS: u32 = 10;
/// The cause of a refusal, as clients look for it.
const CAUSE: &str = "DisruptionBudget";

/// POST.
pub(super) async fn evict(request: &Request) -> Answer {
    let key = request.key()?;
    let validation = decode::validation(&request.query)?;
    let kind = passing_kind("policy", "v1", "Eviction");
    let typed = builtin()
        .of_kind("policy/v1", "Eviction")
        .map_or_else(Typed::any, |found| Typed::new(&found.schema));
    let eviction =
        decode::object(&kind, typed, &request.headers, &request.body, validation)?.object;
    if eviction.name() != key.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = delete_options(request, &eviction["deleteOptions"])?;
    options.dry_run |= dry_run(request, "CreateOptions")?;
    let store = &request.server.store;
    let pod = store.get(&request.kind, &key)?;
    if !may_ignore_budgets(pod.value()) {
        spend(store, &pod, options.dry_run)?;
    }
    let gone = remove(request, &key, &options)?;
    if !options.dry_run {
        store.written(gone.revision()).await?;
    }
    Ok(answer::success(201))
}

/// A pod that serves nobody is nobody's loss.
fn may_ignore_budgets(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
    matches!(phase, "Succeeded" | "Failed" | "Pending") || pod.is_terminating()
}

/// Takes one disruption from the pod's budget.
fn spend(store: &Store, pod: &ObjectRef, dry_run: bool) -> Result<(), Status> {
    let budgets = store.kind("policy", "poddisruptionbudgets");
    let labels = pod.value()["metadata"]["labels"].clone();
    let selection = Selection::in_namespace(pod.value().namespace()).matching(move |budget| {
        let selector = &budget["spec"]["selector"];
        !selector.is_null() && LabelSelector::from_json(selector).matches_labels(&labels)
    });
    let found = store.select(&budgets, &selection);
    let budget = match found.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(500, Reason::InternalError, message));
        }
    };
    if !is_ready(pod.value()) && lets_unhealthy_go(budget.value()) {
        return Ok(());
    }
    let (name, now) = (pod.value().name(), store.now());
    let options = WriteOptions { dry_run, ..WriteOptions::by("kube-apiserver") }.of(Part::Status);
    store
        .update(&budgets, &budget.key(), &options, &mut |budget| take_one(budget, name, now))
        .map(drop)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn lets_unhealthy_go(budget: &Value) -> bool {
    let count = |name: &str| budget["status"][name].as_i64().unwrap_or(0);
    let desired = count("desiredHealthy");
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || (desired > 0 && count("currentHealthy") >= desired)
}

/// A budget with one disruption less, in which a pod is noted as going.
fn take_one(budget: &Value, pod: &str, now: Timestamp) -> Result<Value, Status> {
    let name = budget.name();
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    if count("observedGeneration") < budget.generation() {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many(why, RETRY_SECONDS));
    }
    let disrupted = budget["status"]["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    if disrupted > DISRUPTED {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        let message = format!("poddisruptionbudgets.policy {name:?} is forbidden: {why}");
        return Err(Status::new(403, Reason::Forbidden, message));
    }
    let allowed = count("disruptionsAllowed");
    if allowed <= 0 {
        let (needs, has) = (count("desiredHealthy"), count("currentHealthy"));
        let why = format!(
            "The disruption budget {name} needs {needs} healthy pods and has {has} currently"
        );
        return Err(too_many(why, 0));
    }
    let mut new = budget.clone();
    new["status"]["disruptionsAllowed"] = json!(allowed - 1);
    if !new["status"]["disruptedPods"].is_object() {
        new["status"]["disruptedPods"] = json!({});
    }
    new["status"]["disruptedPods"][pod] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    Ok(new)
}

fn too_many(why: String, retry_after_seconds: u32) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let cause = Cause { reason: CAUSE.to_owned(), message: why, field: String::new() };
    let details = Details { causes: vec![cause], retry_after_seconds, ..Details::default() };
    Status {
        details: Some(Box::new(details)),
        ..Status::new(429, Reason::TooManyRequests, message)
    }
}

/// Notes on the pod why it goes, and deletes it.
fn remove(request: &Request, key: &Key, options: &DeleteOptions) -> Result<ObjectRef, Status> {
    let store = &request.server.store;
    let mut options = options.clone();
    if !options.dry_run {
        let now = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let how = WriteOptions::by("kube-apiserver").of(Part::Status);
        let preconditions = options.preconditions.clone();
        let noted = store.update(&request.kind, key, &how, &mut |pod| {
            let wanted = preconditions.resource_version.as_deref();
            if wanted.is_some_and(|version| version != pod.resource_version()) {
                return Err(Status::stale(&request.kind, &key.name));
            }
            Ok(note(pod, &now))
        })?;
        if options.preconditions.resource_version.is_some() {
            options.preconditions.resource_version = Some(noted.revision().to_string());
        }
    }
    store.delete(&request.kind, key, &options).map(|(object, _)| object)
}

fn note(pod: &Value, now: &str) -> Value {
    let mut new = pod.clone();
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now,
    });
    if !new["status"]["conditions"].is_array() {
        new["status"]["conditions"] = json!([]);
    }
    if let Some(all) = new["status"]["conditions"].as_array_mut() {
        all.retain(|one| one["type"] != "DisruptionTarget");
        all.push(condition);
    }
    new
}
