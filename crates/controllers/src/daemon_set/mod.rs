//! DaemonSets: one pod on each node that fits.
//!
//! The rules are those of kube-controller-manager 1.34, `pkg/controller/daemon`.

mod nodes;
mod plan;

use apimachinery::selector::LabelSelector;
use std::collections::HashMap;

use apimachinery::{Key, Meta, Status};
use object_store::{Change, ChangeType};
use serde_json::Value;

use crate::action::Plan;
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::Fields;
use crate::owner;
use crate::resource::{DAEMON_SETS, Item, NODES, PODS, REVISIONS, Resource};
use crate::view::{View, values};

/// The controller of DaemonSets.
#[derive(Debug, Default)]
pub(crate) struct DaemonSets {
    /// What of each node matters here: heartbeats do not.
    nodes: HashMap<String, Value>,
}

impl Controller for DaemonSets {
    fn identity(&self) -> Identity {
        Identity { source: "daemonset-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![DAEMON_SETS, PODS, NODES, REVISIONS]
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        match change.object.kind().plural.as_str() {
            "daemonsets" => return vec![Item::new(DAEMON_SETS, Key::of(object))],
            "nodes" => {
                let name = object.name().to_owned();
                let relevant = serde_json::json!([object["metadata"]["labels"], object["spec"]]);
                let known = match change.change {
                    ChangeType::Deleted => self.nodes.remove(&name),
                    _ => self.nodes.insert(name, relevant.clone()),
                };
                let all = if known == Some(relevant) { Vec::new() } else { view.all(DAEMON_SETS) };
                return all.iter().map(|set| Item::new(DAEMON_SETS, set.key())).collect();
            }
            _ => {}
        }
        if let Some(name) = owner::controller_named(object, "DaemonSet") {
            return vec![Item::new(DAEMON_SETS, Key::namespaced(object.namespace(), name))];
        }
        if owner::controller(object).is_some() || change.object.kind().plural != PODS.plural {
            return Vec::new();
        }
        let labels = object.map("metadata/labels");
        let sets = view.within(DAEMON_SETS, object.namespace());
        let fitting = sets.iter().filter(|set| {
            LabelSelector::from_json(set.value().at("spec/selector")).matches_map(labels)
        });
        fitting.map(|set| Item::new(DAEMON_SETS, set.key())).collect()
    }

    fn reset(&mut self, kind: &apimachinery::Kind) {
        if kind.plural == NODES.plural {
            self.nodes.clear();
        }
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let Some(set) = view.get(DAEMON_SETS, &item.key) else { return Ok(Plan::default()) };
        let nodes = view.all(NODES);
        let pods = view.within(PODS, &item.key.namespace);
        let revisions = view.within(REVISIONS, &item.key.namespace);
        Ok(plan::plan(
            set.value(),
            &values(&nodes),
            &values(&pods),
            &values(&revisions),
            view.now(),
        ))
    }
}
