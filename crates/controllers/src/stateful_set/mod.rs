//! StatefulSets: pods with a name, a number and storage of their own, made and replaced in order.
//!
//! The rules are those of kube-controller-manager 1.34, `pkg/controller/statefulset`.

mod claims;
mod identity;
mod plan;

use apimachinery::selector::LabelSelector;
use apimachinery::{Key, Meta, Status};
use object_store::Change;

use crate::action::Plan;
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::Fields;
use crate::owner;
use crate::resource::{CLAIMS, Item, PODS, REVISIONS, Resource, STATEFUL_SETS};
use crate::view::{View, values};

/// The controller of StatefulSets.
#[derive(Debug)]
pub(crate) struct StatefulSets;

impl Controller for StatefulSets {
    fn identity(&self) -> Identity {
        Identity { source: "statefulset-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![STATEFUL_SETS, PODS, REVISIONS]
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        if change.object.kind().plural == STATEFUL_SETS.plural {
            return vec![Item::new(STATEFUL_SETS, Key::of(object))];
        }
        if let Some(name) = owner::controller_named(object, "StatefulSet") {
            return vec![Item::new(STATEFUL_SETS, Key::namespaced(object.namespace(), name))];
        }
        if owner::controller(object).is_some() || change.object.kind().plural != PODS.plural {
            return Vec::new();
        }
        let labels = object.map("metadata/labels");
        let sets = view.within(STATEFUL_SETS, object.namespace());
        let fitting = sets.iter().filter(|set| {
            LabelSelector::from_json(set.value().at("spec/selector")).matches_map(labels)
        });
        fitting.map(|set| Item::new(STATEFUL_SETS, set.key())).collect()
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let Some(set) = view.get(STATEFUL_SETS, &item.key) else { return Ok(Plan::default()) };
        let namespace = &item.key.namespace;
        let pods = view.within(PODS, namespace);
        let revisions = view.within(REVISIONS, namespace);
        let claims = view.within(CLAIMS, namespace);
        Ok(plan::plan(
            set.value(),
            &values(&pods),
            &values(&revisions),
            &values(&claims),
            view.now(),
        ))
    }
}
