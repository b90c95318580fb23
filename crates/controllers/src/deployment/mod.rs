//! Deployments: ReplicaSets that take turns, so that a new template replaces an old one without an outage.
//!
//! The rules are those of kube-controller-manager 1.34, `pkg/controller/deployment`. `plan` works on copies: what it has
//! decided counts as done for what it decides next.

mod conditions;
mod history;
mod plan;
mod rolling;
mod scale;
mod sets;
#[cfg(test)]
mod tests;

use apimachinery::selector::LabelSelector;
use apimachinery::{Key, Meta, Status};
use object_store::Change;

use crate::action::Plan;
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::Fields;
use crate::owner;
use crate::resource::{DEPLOYMENTS, Item, PODS, REPLICA_SETS, Resource};
use crate::view::{View, values};

/// The controller of Deployments.
#[derive(Debug)]
pub(crate) struct Deployments;

impl Controller for Deployments {
    fn identity(&self) -> Identity {
        Identity { source: "deployment-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![DEPLOYMENTS, REPLICA_SETS, PODS]
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        let item = |name: &str| Item::new(DEPLOYMENTS, Key::namespaced(object.namespace(), name));
        match change.object.kind().plural.as_str() {
            "deployments" => vec![Item::new(DEPLOYMENTS, Key::of(object))],
            "replicasets" => match owner::controller(object) {
                Some(one) if one.text("kind") == "Deployment" => vec![item(one.text("name"))],
                Some(_) => Vec::new(),
                None => {
                    let labels = object.map("metadata/labels");
                    view.within(DEPLOYMENTS, object.namespace())
                        .iter()
                        .filter(|one| {
                            let selector = one.value().at("spec/selector");
                            LabelSelector::from_json(selector).matches_map(labels)
                        })
                        .map(|one| Item::new(DEPLOYMENTS, one.key()))
                        .collect()
                }
            },
            // With `Recreate`, the last old pod's going starts the new ones.
            _ if change.change == object_store::ChangeType::Deleted => {
                let set = owner::controller_named(object, "ReplicaSet").and_then(|name| {
                    view.get(REPLICA_SETS, &Key::namespaced(object.namespace(), name))
                });
                let name =
                    set.as_ref().and_then(|set| owner::controller_named(set.value(), "Deployment"));
                name.map(item).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let Some(deployment) = view.get(DEPLOYMENTS, &item.key) else { return Ok(Plan::default()) };
        let sets = view.within(REPLICA_SETS, &item.key.namespace);
        let pods = view.within(PODS, &item.key.namespace);
        Ok(plan::plan(deployment.value(), &values(&sets), &values(&pods), view.now()))
    }
}
