//! The garbage collector: what nobody owns any more goes; who must go last waits for what they own.
//!
//! The rules are those of kube-controller-manager 1.34, `pkg/controller/garbagecollector`.

mod graph;
mod plan;
#[cfg(test)]
mod tests;

use std::time::Duration;

use apimachinery::{Key, Kind, Meta, Status};
use object_store::{Change, ChangeType, ObjectRef};
use serde_json::Value;

use crate::action::Plan;
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::Fields;
use crate::resource::{EVENTS, Item, Of, Resource};
use crate::view::View;
use graph::Graph;
use plan::{Dependent, Owner};

/// When an owner of a kind that the cluster does not know is looked for again.
const UNKNOWN_KIND: Duration = Duration::from_secs(30);

/// The garbage collector.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    graph: Graph,
}

impl Controller for Garbage {
    fn identity(&self) -> Identity {
        Identity { source: "garbage-collector-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        Vec::new()
    }

    fn wants_everything(&self) -> bool {
        true
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let (kind, object) = (change.object.kind(), change.object.value());
        if kind.plural == EVENTS.plural && kind.group == EVENTS.group {
            return Vec::new();
        }
        let item = Item::new(kind, Key::of(object));
        let owners = object.list("metadata/ownerReferences");
        if change.change == ChangeType::Deleted {
            self.graph.forget(&item);
            let mut items = self.graph.dependents(object);
            // An owner that goes last may have waited for this one.
            items.extend(owners.iter().filter_map(|one| {
                let kind = kind_of(view, one)?;
                Some(Item::new(&kind, owner_key(&kind, object, one)))
            }));
            return items;
        }
        self.graph.note(&item, object);
        let waits = object.is_terminating() && object.finalizers().any(plan::is_ours);
        if !owners.is_empty() || waits { vec![item] } else { Vec::new() }
    }

    fn reset(&mut self, kind: &Kind) {
        self.graph.forget_all(&kind.group, &kind.plural);
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let Some(object) = find(view, item) else { return Ok(Plan::default()) };
        let value = object.value();
        let dependents: Vec<Dependent> = self
            .graph
            .dependents(value)
            .iter()
            .filter_map(|item| find(view, item))
            .map(|object| Dependent { solid: has_solid_owner(view, object.value()), object })
            .collect();
        if value.is_terminating() {
            return Ok(Plan::of(plan::terminating(object.kind(), value, &dependents)));
        }
        let owners: Vec<Owner> = owners(view, value);
        let mut plan = Plan::of(plan::owned(object.kind(), value, &owners, !dependents.is_empty()));
        if owners.contains(&Owner::Unknown) {
            plan.again_in(UNKNOWN_KIND);
        }
        Ok(plan)
    }
}

fn find(view: &View, item: &Item) -> Option<ObjectRef> {
    let kinds = view.store().kinds();
    let kind = kinds.iter().find(|kind| kind.group == item.group && kind.plural == item.plural)?;
    view.get(kind, &item.key)
}

fn kind_of(view: &View, reference: &Value) -> Option<std::sync::Arc<Kind>> {
    let version = reference.text("apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    view.store().kinds().in_group(group, reference.text("kind")).cloned()
}

fn owner_key(kind: &Kind, object: &Value, reference: &Value) -> Key {
    let namespace = if kind.is_namespaced() { object.namespace() } else { "" };
    Key::namespaced(namespace, reference.text("name"))
}

/// What has become of each of an object's owners.
fn owners(view: &View, object: &Value) -> Vec<Owner> {
    let each = object.list("metadata/ownerReferences").iter().map(|reference| {
        let Some(kind) = kind_of(view, reference) else { return Owner::Unknown };
        let found = view.get(Of::from(&kind), &owner_key(&kind, object, reference));
        match found.filter(|owner| owner.value().uid() == reference.text("uid")) {
            None => Owner::Absent,
            Some(owner) if plan::goes_last(owner.value()) => Owner::Waiting,
            Some(_) => Owner::Solid,
        }
    });
    each.collect()
}

fn has_solid_owner(view: &View, object: &Value) -> bool {
    owners(view, object).iter().any(|owner| matches!(owner, Owner::Solid | Owner::Unknown))
}
