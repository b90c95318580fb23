//! Where a service's traffic goes: EndpointSlices, and Endpoints for those who still read them.
//!
//! The rules are those of kube-controller-manager 1.34, `pkg/controller/endpoint` and `k8s.io/endpointslice`.

mod legacy;
mod ports;
mod slices;
#[cfg(test)]
mod tests;

use apimachinery::selector::has_all;
use std::collections::HashMap;

use apimachinery::{Key, Meta, Status};
use object_store::{Change, ChangeType};
use serde_json::Value;

use crate::action::{Action, Plan};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::Fields;
use crate::resource::{ENDPOINTS, Item, NODES, PODS, Resource, SERVICES, SLICES};
use crate::view::{View, values};

/// Keeps endpoints in step with services and pods.
#[derive(Debug, Default)]
pub(crate) struct EndpointsController {
    /// The labels of pods as last seen: a pod that leaves a service is told apart by them.
    labels: HashMap<Key, serde_json::Map<String, Value>>,
}

impl Controller for EndpointsController {
    fn identity(&self) -> Identity {
        Identity { source: "endpoint-slice-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![SERVICES, PODS, SLICES, ENDPOINTS]
    }

    fn route(&mut self, view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        let service = |name: &str| Item::new(SERVICES, Key::namespaced(object.namespace(), name));
        match change.object.kind().plural.as_str() {
            "services" | "endpoints" => vec![service(object.name())],
            "endpointslices" => object.label(slices::SERVICE).map(service).into_iter().collect(),
            _ => {
                let key = Key::of(object);
                let now = object.map("metadata/labels").clone();
                let before = match change.change {
                    ChangeType::Deleted => self.labels.remove(&key),
                    _ => self.labels.insert(key, now.clone()),
                };
                let services = view.within(SERVICES, object.namespace());
                let concerned = services.iter().filter(|one| {
                    let wanted = one.value().map("spec/selector");
                    !wanted.is_empty()
                        && (has_all(wanted, &now)
                            || before.as_ref().is_some_and(|labels| has_all(wanted, labels)))
                });
                concerned.map(|one| Item::new(SERVICES, one.key())).collect()
            }
        }
    }

    fn reset(&mut self, kind: &apimachinery::Kind) {
        if kind.plural == PODS.plural {
            self.labels.clear();
        }
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let (namespace, name) = (&item.key.namespace, &item.key.name);
        let slices = view.within(SLICES, namespace);
        let mut slices = values(&slices);
        slices.retain(|slice| slices::is_ours(slice, name));
        let endpoints = view.get(ENDPOINTS, &item.key);
        let endpoints = endpoints.as_ref().map(|one| one.value());
        let Some(service) = view.get(SERVICES, &item.key) else {
            // Slices go with their owner; endpoints have none.
            let ours = endpoints.filter(|one| legacy::is_ours(one));
            return Ok(Plan::of(
                ours.map(|one| Action::delete(ENDPOINTS, one)).into_iter().collect(),
            ));
        };
        let service = service.value();
        let wanted = service.map("spec/selector");
        if wanted.is_empty()
            || service.text("spec/type") == "ExternalName"
            || service.is_terminating()
        {
            return Ok(Plan::default());
        }
        let pods = view.within(PODS, namespace);
        let mut pods = values(&pods);
        pods.retain(|pod| has_all(wanted, pod.map("metadata/labels")));
        let zones: HashMap<String, String> = pods
            .iter()
            .filter_map(|pod| {
                let node = view.get(NODES, &Key::cluster(crate::pod::node(pod)))?;
                let zone = node.value().label(slices::ZONE)?.to_owned();
                Some((node.value().name().to_owned(), zone))
            })
            .collect();
        let mut actions = slices::plan(service, &pods, &slices, &zones);
        actions.extend(legacy::plan(service, &pods, endpoints));
        Ok(Plan::of(actions))
    }
}

/// Whether a pod can be an endpoint at all.
fn is_candidate(pod: &Value) -> bool {
    !crate::pod::is_finished(pod) && !pod.text("status/podIP").is_empty()
}
