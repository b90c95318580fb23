//! Namespaces that are to go: first everything in them, then they themselves.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::{Key, Meta, Status};
use object_store::{Change, ObjectRef, Part};
use serde_json::{Value, json};

use crate::action::{Action, Plan};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::{Fields, stamp};
use crate::resource::{Item, NAMESPACES, Of, Resource};
use crate::view::View;

/// The finalizer of `spec.finalizers` that stands for this controller.
const FINALIZER: &str = "kubernetes";

/// Empties namespaces that are to go.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// Those on their way out: only their objects matter.
    going: BTreeSet<String>,
}

impl Controller for Namespaces {
    fn identity(&self) -> Identity {
        Identity { source: "namespace-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![NAMESPACES]
    }

    fn wants_everything(&self) -> bool {
        true
    }

    fn route(&mut self, _view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        let name = if change.object.kind().plural == NAMESPACES.plural {
            if object.is_terminating() {
                self.going.insert(object.name().to_owned());
            }
            object.name()
        } else if self.going.contains(object.namespace()) {
            object.namespace()
        } else {
            return Vec::new();
        };
        vec![Item::new(NAMESPACES, Key::cluster(name))]
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let name = &item.key.name;
        let namespace = view.get(NAMESPACES, &item.key);
        if namespace.as_ref().is_some_and(|one| !one.value().is_terminating()) {
            self.going.remove(name);
            return Ok(Plan::default());
        }
        let content = content(view, name);
        if namespace.is_none() && content.is_empty() {
            self.going.remove(name);
        }
        Ok(Plan::of(plan(namespace.as_ref().map(|one| one.value()), &content, stamp(view.now()))))
    }
}

/// Everything in a namespace.
fn content(view: &View, namespace: &str) -> Vec<ObjectRef> {
    let kinds = view.store().kinds();
    kinds
        .iter()
        .filter(|kind| kind.is_namespaced())
        .flat_map(|kind| view.within(Of::Found(kind.clone()), namespace))
        .collect()
}

/// Deletes what is there; once nothing is, lets the namespace go. `namespace`: none when it is gone already.
fn plan(namespace: Option<&Value>, content: &[ObjectRef], now: String) -> Vec<Action> {
    let mut actions: Vec<Action> = content
        .iter()
        .filter(|object| !object.value().is_terminating())
        .map(|object| Action::delete(object.kind(), object.value()))
        .collect();
    let Some(namespace) = namespace else { return actions };
    if content.is_empty() {
        let left: Vec<&Value> =
            namespace.list("spec/finalizers").iter().filter(|one| *one != FINALIZER).collect();
        let patch = json!({"spec": {"finalizers": left}});
        actions.push(Action::change_part(NAMESPACES, namespace, Part::Whole, patch));
        return actions;
    }
    let status =
        json!({"phase": "Terminating", "conditions": conditions(namespace, content, &now)});
    // What is deleted at once is gone by the next look: only what stays is worth a word.
    if actions.is_empty() {
        actions.extend(Action::status(NAMESPACES, namespace, status));
    }
    actions
}

/// What still holds a namespace, in the words of kube-controller-manager.
fn conditions(namespace: &Value, content: &[ObjectRef], now: &str) -> Vec<Value> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
    for object in content {
        let kind = object.kind();
        *counts.entry(format!("{}.{}", kind.plural, kind.group)).or_default() += 1;
        for finalizer in object.value().finalizers() {
            *finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }
    let list = |counts: &BTreeMap<String, usize>, what: &str| {
        let each =
            counts.iter().map(|(name, count)| format!("{name} {what} {count} resource instances"));
        each.collect::<Vec<_>>().join(", ")
    };
    let mut all = vec![
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", list(&counts, "has")),
        ),
    ];
    all.push(if finalizers.is_empty() {
        (
            "NamespaceFinalizersRemaining",
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        )
    } else {
        let message = format!(
            "Some content in the namespace has finalizers remaining: {}",
            list(&finalizers, "in")
        );
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message)
    });
    let known = |kind: &str| crate::pod::condition(namespace, kind);
    all.into_iter()
        .map(|(kind, status, reason, message)| {
            let since = known(kind)
                .filter(|one| one["status"] == status)
                .map(|one| one["lastTransitionTime"].clone());
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": since.unwrap_or_else(|| json!(now)),
            })
        })
        .collect()
}
