//! What each kind does on a write: what is set, what is kept, what is refused.
//!
//! The order is Kubernetes': the object takes its stored form and its defaults; fields are noted as the writer's; admission
//! fills in; the kind itself sets what no request may; then all of it is validated.

mod account;
mod addresses;
mod admission;
mod fields;
mod job;
mod pod;
mod service;

use std::net::Ipv4Addr;

use apimachinery::schema::Typed;
use apimachinery::{Key, Kind, Meta, Status, decode, default, validate};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::seconds;
use crate::object::ObjectRef;
use crate::options::{Part, WriteOptions};
use crate::schemas::SchemaRef;

pub(crate) use addresses::SERVICE_NETWORK;
use fields::{copy, remove};

/// Objects that a write looks at beside its own.
pub(crate) trait Peers {
    /// An object by its group, plural and key.
    fn find(&self, group: &str, plural: &str, key: &Key) -> Option<ObjectRef>;
    /// All objects of a group and plural.
    fn all(&self, group: &str, plural: &str) -> Vec<ObjectRef>;
    /// Where services get their addresses.
    fn service_network(&self) -> Ipv4Addr;
}

/// One write.
pub(crate) struct Write<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) schema: SchemaRef,
    pub(crate) options: &'a WriteOptions,
    pub(crate) now: Timestamp,
    /// The new version already says who owns what: it comes from an apply.
    pub(crate) tracked: bool,
}

impl Write<'_> {
    fn typed(&self) -> Typed<'_> {
        self.schema.typed()
    }

    /// The object in the form it is stored in, with its defaults.
    fn settle(&self, object: &mut Value) -> Result<(), Status> {
        decode::settle(self.typed(), object).map_err(|mismatch| {
            let (version, kind) = (&self.kind.version, &self.kind.kind);
            Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {mismatch}"
            ))
        })?;
        default::fill(self.kind, object);
        Ok(())
    }

    fn writer<'a>(&'a self, manager: &'a str, now: &'a str) -> apimachinery::apply::Writer<'a> {
        let subresource = match self.options.part {
            Part::Status => "status",
            Part::Main | Part::Whole => self.options.subresource,
        };
        apimachinery::apply::Writer {
            kind: self.kind,
            typed: self.typed(),
            manager,
            subresource,
            now,
        }
    }

    /// Notes which fields the writer took over.
    fn track(&self, old: &Value, new: &mut Value) {
        if let (Some(manager), false) = (&self.options.manager, self.tracked) {
            self.writer(manager, &seconds(self.now)).track(old, new);
        }
    }

    /// The object of a kind that says nothing yet.
    pub(crate) fn empty(&self) -> Result<Value, Status> {
        decode::blank(self.typed(), self.kind)
            .map_err(|mismatch| Status::internal(mismatch.to_string()))
    }

    /// What an applied configuration makes of the newest version; of nothing, if there is none.
    pub(crate) fn apply(
        &self,
        live: Option<&Value>,
        config: &Value,
        force: bool,
    ) -> Result<Value, Status> {
        let manager = self.options.manager.as_deref().unwrap_or("");
        let now = seconds(self.now);
        let writer = self.writer(manager, &now);
        match live {
            Some(live) => writer.apply(live, config, force),
            None => writer.apply(&self.empty()?, config, force),
        }
    }

    /// Brings a new object into shape before it is stored.
    pub(crate) fn prepare_create(
        &self,
        peers: &dyn Peers,
        object: &mut Value,
    ) -> Result<(), Status> {
        let kind = self.kind;
        if kind.has_status() && self.options.part == Part::Main && kind.kind != "Node" {
            remove(object, "status");
        }
        self.settle(object)?;
        if !self.tracked && self.options.manager.is_some() {
            object.metadata_mut().remove("managedFields");
            self.track(&self.empty()?, object);
        }
        admission::create(kind, peers, object)?;
        if self.schema.is_custom() || has_generation(kind) {
            object.metadata_mut().insert("generation".to_owned(), json!(1));
        } else {
            object.metadata_mut().remove("generation");
        }
        match (kind.group.as_str(), kind.kind.as_str()) {
            ("", "Pod") => pod::create(object),
            ("", "Service") => {
                service::create(kind, peers, object, self.options.part == Part::Whole)?;
            }
            ("", "Namespace") => namespace(object),
            ("", "PersistentVolume") => within(object, "status")["phase"] = json!("Pending"),
            ("batch", "Job") => job::create(object),
            _ => {}
        }
        self.check(object, None)
    }

    /// Brings a changed object into shape: keeps what this write may not touch, and counts generations. `new` becomes
    /// `old` where nothing changed.
    pub(crate) fn prepare_update(
        &self,
        peers: &dyn Peers,
        old: &Value,
        new: &mut Value,
    ) -> Result<(), Status> {
        let kind = self.kind;
        for field in ["apiVersion", "kind"] {
            new[field] = old[field].clone();
        }
        self.settle(new)?;
        self.track(old, new);
        match self.options.part {
            Part::Main if kind.has_status() => copy(old, new, "status"),
            Part::Status => keep_but_status(kind, self.schema.is_custom(), old, new),
            Part::Main | Part::Whole => {}
        }
        for field in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "selfLink",
        ] {
            copy(&old["metadata"], &mut new["metadata"], field);
        }
        admission::update(kind, peers, old, new);
        match (kind.group.as_str(), kind.kind.as_str()) {
            ("", "Service") => service::update(kind, peers, old, new)?,
            ("", "Pod") => pod::update(old, new),
            ("apps", "DaemonSet") if old["spec"]["template"] != new["spec"]["template"] => {
                template_generation(new, old.generation() + 1);
            }
            _ => {}
        }
        let counted = self.schema.is_custom() || has_generation(kind);
        if counted && differs(old, new) && !binds(kind, old, new) {
            new.metadata_mut().insert("generation".to_owned(), json!(old.generation() + 1));
        }
        if fields::same_but_times(old, new) {
            new["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
        }
        if new["metadata"]["managedFields"].is_null() {
            remove(&mut new["metadata"], "managedFields");
        }
        if self.options.part == Part::Whole && binds(kind, old, new) {
            // Whoever binds a pod is no request that changes it.
            let mut bound = old.clone();
            copy(&new["spec"], &mut bound["spec"], "nodeName");
            return self.check(new, Some(&bound));
        }
        self.check(new, Some(old))
    }

    fn check(&self, new: &Value, old: Option<&Value>) -> Result<(), Status> {
        let mut causes = validate::object(self.kind, new, old);
        if self.schema.is_custom() {
            causes.extend(validate::against(self.typed(), new));
        }
        if causes.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(self.kind, new.name(), causes))
    }
}

/// Keeps all but the status, and what else a write of the status may change.
fn keep_but_status(kind: &Kind, custom: bool, old: &Value, new: &mut Value) {
    let status = new.get("status").cloned();
    let metadata = new["metadata"].clone();
    *new = old.clone();
    match status {
        Some(status) => new["status"] = status,
        None => remove(new, "status"),
    }
    if !custom {
        new["metadata"] = metadata;
        match kind.kind.as_str() {
            "Deployment" => copy(&old["metadata"], &mut new["metadata"], "labels"),
            "Pod" => copy(&old["metadata"], &mut new["metadata"], "ownerReferences"),
            _ => {}
        }
        return;
    }
    for field in ["managedFields", "resourceVersion"] {
        copy(&metadata, &mut new["metadata"], field);
    }
}

fn namespace(object: &mut Value) {
    within(object, "status")["phase"] = json!("Active");
    let spec = within(object, "spec");
    if spec["finalizers"].as_array().is_none_or(|list| !list.contains(&json!("kubernetes"))) {
        let finalizers =
            spec.as_object_mut().map(|map| map.entry("finalizers").or_insert_with(|| json!([])));
        if let Some(list) = finalizers.and_then(Value::as_array_mut) {
            list.push(json!("kubernetes"));
        }
    }
}

/// The annotation by which old clients of daemon sets know a template's generation.
fn template_generation(object: &mut Value, generation: i64) {
    let annotations = object.metadata_mut().entry("annotations").or_insert_with(|| json!({}));
    annotations["deprecated.daemonset.template.generation"] = json!(generation.to_string());
}

fn within<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    if !object[field].is_object() {
        object[field] = json!({});
    }
    &mut object[field]
}

/// Kinds whose `metadata.generation` counts changes of what is asked for.
fn has_generation(kind: &Kind) -> bool {
    matches!(
        (kind.group.as_str(), kind.kind.as_str()),
        ("", "Pod")
            | ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
            | ("batch", "Job")
            | ("policy", "PodDisruptionBudget")
            | ("discovery.k8s.io", "EndpointSlice")
            | ("scheduling.k8s.io", "PriorityClass")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}

/// Whether a pod gets its node: what is asked for stays the same, so its generation does.
fn binds(kind: &Kind, old: &Value, new: &Value) -> bool {
    let node = |pod: &Value| pod["spec"]["nodeName"].as_str().is_some_and(|name| !name.is_empty());
    kind.kind == "Pod" && !node(old) && node(new)
}

/// Whether anything but metadata and status differs.
fn differs(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return old != new };
    let relevant = |name: &&String| !matches!(name.as_str(), "metadata" | "status");
    old.keys().chain(new.keys()).filter(relevant).any(|name| old.get(name) != new.get(name))
}
