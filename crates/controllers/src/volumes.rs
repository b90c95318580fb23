//! Claims for volumes: each gets one at once, a volume that exists and fits, or a new one that is a directory.
//!
//! The directory itself is made by whoever mounts it.

use apimachinery::quantity::Quantity;
use apimachinery::selector::LabelSelector;
use std::path::{Path, PathBuf};

use apimachinery::{Key, Meta, Status};
use object_store::{Change, Part};
use serde_json::{Value, json};

use crate::action::{Action, Event, Plan};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::Fields;
use crate::pod;
use crate::resource::{CLAIMS, Item, PODS, Resource, STORAGE_CLASSES, VOLUMES};
use crate::view::{View, values};

const BOUND_BY_US: &str = "pv.kubernetes.io/bound-by-controller";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Who makes directories for claims.
const PROVISIONER: &str = "embedded-cluster/directory";
/// What keeps a claim while a pod has it.
const CLAIM_IN_USE: &str = "kubernetes.io/pvc-protection";
/// What keeps a volume while a claim has it.
const VOLUME_IN_USE: &str = "kubernetes.io/pv-protection";

/// Binds claims to volumes, and ends volumes whose claims are gone.
#[derive(Debug)]
pub(crate) struct Volumes {
    directory: PathBuf,
}

impl Volumes {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }
}

impl Controller for Volumes {
    fn identity(&self) -> Identity {
        Identity { source: "persistentvolume-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![CLAIMS, VOLUMES, STORAGE_CLASSES, PODS]
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        match change.object.kind().plural.as_str() {
            "persistentvolumeclaims" => {
                let mut items = vec![Item::new(CLAIMS, Key::of(object))];
                let volume = object.text("spec/volumeName");
                if !volume.is_empty() {
                    items.push(Item::new(VOLUMES, Key::cluster(volume)));
                }
                items
            }
            "persistentvolumes" => {
                let waiting = view.all(CLAIMS);
                let waiting =
                    waiting.iter().filter(|claim| claim.value().text("status/phase") != "Bound");
                let mut items: Vec<Item> =
                    waiting.map(|claim| Item::new(CLAIMS, claim.key())).collect();
                items.push(Item::new(VOLUMES, Key::of(object)));
                items
            }
            "storageclasses" => {
                view.all(CLAIMS).iter().map(|claim| Item::new(CLAIMS, claim.key())).collect()
            }
            // A pod that goes may have been the last to use a claim.
            _ => object
                .list("spec/volumes")
                .iter()
                .map(|volume| volume.text("persistentVolumeClaim/claimName"))
                .filter(|name| !name.is_empty())
                .map(|name| Item::new(CLAIMS, Key::namespaced(object.namespace(), name)))
                .collect(),
        }
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        if item.plural == VOLUMES.plural {
            let Some(volume) = view.get(VOLUMES, &item.key) else { return Ok(Plan::default()) };
            let reference = volume.value().at("spec/claimRef");
            let key = Key::namespaced(reference.text("namespace"), reference.text("name"));
            let claim = view.get(CLAIMS, &key);
            return Ok(Plan::of(volume_plan(
                volume.value(),
                claim.as_ref().map(|claim| claim.value()),
            )));
        }
        let Some(claim) = view.get(CLAIMS, &item.key) else { return Ok(Plan::default()) };
        let claim = claim.value();
        if claim.is_terminating() {
            let pods = view.within(PODS, claim.namespace());
            return Ok(Plan::of(release(claim, &values(&pods))));
        }
        let class = claim.text("spec/storageClassName");
        let known = class.is_empty() || view.get(STORAGE_CLASSES, &Key::cluster(class)).is_some();
        let volumes = view.all(VOLUMES);
        Ok(Plan::of(claim_plan(claim, &values(&volumes), known, &self.directory)))
    }
}

/// Binds a claim. `class_known`: whether its storage class exists.
fn claim_plan(
    claim: &Value,
    volumes: &[&Value],
    class_known: bool,
    directory: &Path,
) -> Vec<Action> {
    if claim.text("status/phase") == "Bound" {
        return Vec::new();
    }
    let named = claim.text("spec/volumeName");
    let best = volumes
        .iter()
        .filter(
            |volume| if named.is_empty() { fits(volume, claim) } else { volume.name() == named },
        )
        .filter(|volume| is_free_for(volume, claim))
        .min_by_key(|volume| capacity(volume));
    if let Some(volume) = best {
        return bind(claim, volume, None);
    }
    let only_existing =
        claim.has("spec/storageClassName") && claim.text("spec/storageClassName").is_empty();
    if !named.is_empty() || only_existing || claim.has("spec/selector") {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return wait(claim, Event::normal(claim, "FailedBinding", message));
    }
    if !class_known {
        let class = claim.text("spec/storageClassName");
        let message = format!("storageclass.storage.k8s.io {class:?} not found");
        return wait(claim, Event::warning(claim, "ProvisioningFailed", message));
    }
    let volume = provision(claim, directory);
    let message = format!("Successfully provisioned volume {}", volume.name());
    bind(claim, &volume, Some(Event::normal(claim, "ProvisioningSucceeded", message)))
}

fn wait(claim: &Value, event: Event) -> Vec<Action> {
    let pending = (claim.text("status/phase") != "Pending").then(|| {
        Action::change_part(CLAIMS, claim, Part::Status, json!({"status": {"phase": "Pending"}}))
    });
    pending.into_iter().chain([Action::Tell(event)]).collect()
}

fn amount(quantity: &Value) -> i64 {
    Quantity::from_json(quantity).map_or(0, Quantity::value)
}

fn capacity(volume: &Value) -> i64 {
    amount(volume.at("spec/capacity/storage"))
}

fn is_free_for(volume: &Value, claim: &Value) -> bool {
    let reference = volume.at("spec/claimRef");
    reference.is_null()
        || (reference.text("namespace") == claim.namespace()
            && reference.text("name") == claim.name()
            && matches!(reference.text("uid"), uid if uid.is_empty() || uid == claim.uid()))
}

fn fits(volume: &Value, claim: &Value) -> bool {
    let modes = claim.list("spec/accessModes").iter();
    let chosen = claim.at("spec/selector");
    !volume.is_terminating()
        && volume.text("spec/storageClassName") == claim.text("spec/storageClassName")
        && modes.clone().all(|mode| volume.list("spec/accessModes").contains(mode))
        && capacity(volume) >= amount(claim.at("spec/resources/requests/storage"))
        && (chosen.is_null() || LabelSelector::from_json(chosen).matches(volume))
}

/// A new volume for a claim.
fn provision(claim: &Value, directory: &Path) -> Value {
    let name = format!("pvc-{}", claim.uid());
    let path = directory.join(&name);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": claim.at("spec/resources/requests/storage")},
            "claimRef": reference(claim),
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": claim.text("spec/storageClassName"),
            "volumeMode": "Filesystem",
        },
    })
}

fn reference(claim: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "namespace": claim.namespace(), "name": claim.name(), "uid": claim.uid(),
        "resourceVersion": claim.resource_version(),
    })
}

/// Both sides name each other. `new`: the volume is yet to be stored, and this is to be said of it.
fn bind(claim: &Value, volume: &Value, new: Option<Event>) -> Vec<Action> {
    let mut actions = Vec::new();
    if let Some(event) = new {
        actions.push(Action::create(VOLUMES, volume.clone()));
        actions.push(Action::Tell(event));
    } else if volume.at("spec/claimRef/uid").as_str() != Some(claim.uid()) {
        let patch = json!({
            "metadata": {"annotations": {BOUND_BY_US: "yes"}},
            "spec": {"claimRef": reference(claim)},
        });
        actions.push(Action::change(VOLUMES, volume, patch));
    }
    let patch = json!({
        "metadata": {"annotations": {BIND_COMPLETED: "yes", BOUND_BY_US: "yes"}},
        "spec": {"volumeName": volume.name()},
        "status": {
            "phase": "Bound",
            "accessModes": volume["spec"]["accessModes"],
            "capacity": volume["spec"]["capacity"],
        },
    });
    actions.push(Action::change_part(CLAIMS, claim, Part::Whole, patch));
    actions
}

/// Lets a claim go once no pod uses it.
fn release(claim: &Value, pods: &[&Value]) -> Vec<Action> {
    let uses = |pod: &&&Value| {
        let mut volumes = pod.list("spec/volumes").iter();
        !pod::is_finished(pod)
            && volumes.any(|one| one.text("persistentVolumeClaim/claimName") == claim.name())
    };
    if pods.iter().any(|pod| uses(&pod)) || !claim.finalizers().any(|one| one == CLAIM_IN_USE) {
        return Vec::new();
    }
    let rest: Vec<&str> = claim.finalizers().filter(|one| *one != CLAIM_IN_USE).collect();
    vec![Action::finalizers(CLAIMS, claim, &rest)]
}

/// The phase of a volume, and its end when its claim is gone.
fn volume_plan(volume: &Value, claim: Option<&Value>) -> Vec<Action> {
    let wanted = volume.text("spec/claimRef/uid");
    let phase = match claim {
        _ if !volume.has("spec/claimRef") || wanted.is_empty() => "Available",
        Some(claim) if claim.uid() == wanted => "Bound",
        _ => "Released",
    };
    if volume.is_terminating() {
        let held = phase == "Bound" || !volume.finalizers().any(|one| one == VOLUME_IN_USE);
        let rest: Vec<&str> = volume.finalizers().filter(|one| *one != VOLUME_IN_USE).collect();
        return if held { Vec::new() } else { vec![Action::finalizers(VOLUMES, volume, &rest)] };
    }
    if phase == "Released" && volume.text("spec/persistentVolumeReclaimPolicy") == "Delete" {
        return vec![Action::delete(VOLUMES, volume)];
    }
    if volume.text("status/phase") == phase {
        return Vec::new();
    }
    vec![Action::change_part(VOLUMES, volume, Part::Status, json!({"status": {"phase": phase}}))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(class: Option<&str>) -> Value {
        json!({
            "metadata": {"name": "data", "namespace": "default", "uid": "c1"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        })
    }

    fn volume(name: &str, size: &str) -> Value {
        json!({
            "metadata": {"name": name, "uid": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain"},
        })
    }

    fn bound_to(actions: &[Action]) -> Option<String> {
        actions.iter().find_map(|action| match action {
            Action::Change { patch, .. } => patch["spec"]["volumeName"].as_str().map(str::to_owned),
            _ => None,
        })
    }

    #[test]
    fn the_smallest_volume_that_fits_is_taken_and_else_a_directory_is_made() {
        let (small, fit, large) =
            (volume("small", "100Mi"), volume("fit", "2Gi"), volume("large", "9Gi"));
        let there = claim_plan(&claim(Some("")), &[&large, &small, &fit], true, Path::new("/v"));
        assert_eq!(bound_to(&there).as_deref(), Some("fit"));
        let made = claim_plan(&claim(None), &[], true, Path::new("/v"));
        assert_eq!(bound_to(&made).as_deref(), Some("pvc-c1"));
        assert_eq!(bound_to(&claim_plan(&claim(Some("")), &[&small], true, Path::new("/v"))), None);
        assert_eq!(bound_to(&claim_plan(&claim(Some("fast")), &[], false, Path::new("/v"))), None);
    }

    #[test]
    fn a_volume_whose_claim_is_gone_is_deleted_or_kept_as_it_says() {
        let mut kept = volume("kept", "1Gi");
        kept["spec"]["claimRef"] = json!({"uid": "c1"});
        assert!(matches!(volume_plan(&kept, None)[..], [Action::Change { .. }]));
        kept["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
        assert!(matches!(volume_plan(&kept, None)[..], [Action::Delete { .. }]));
    }
}
