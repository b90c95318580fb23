//! What every namespace has: a service account `default`, and the certificate authority by which pods know the API server.

use apimachinery::{Key, Meta, Status};
use object_store::Change;
use serde_json::json;

use crate::action::{Action, Plan};
use crate::controller::Controller;
use crate::execute::{Identity, changes};
use crate::resource::{CONFIG_MAPS, Item, NAMESPACES, Resource, SERVICE_ACCOUNTS};
use crate::view::View;

const ACCOUNT: &str = "default";
const AUTHORITY: &str = "kube-root-ca.crt";

/// Gives each namespace its default account and certificate authority.
#[derive(Debug)]
pub(crate) struct Accounts {
    root_ca: Option<String>,
}

impl Accounts {
    pub(crate) fn new(root_ca: Option<String>) -> Self {
        Self { root_ca }
    }
}

impl Controller for Accounts {
    fn identity(&self) -> Identity {
        Identity { source: "service-account-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![NAMESPACES, SERVICE_ACCOUNTS, CONFIG_MAPS]
    }

    fn route(&mut self, _view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        let namespace = match change.object.kind().plural.as_str() {
            "namespaces" => object.name(),
            "serviceaccounts" if object.name() == ACCOUNT => object.namespace(),
            "configmaps" if object.name() == AUTHORITY => object.namespace(),
            _ => return Vec::new(),
        };
        vec![Item::new(NAMESPACES, Key::cluster(namespace))]
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let name = &item.key.name;
        let alive =
            view.get(NAMESPACES, &item.key).is_some_and(|one| !one.value().is_terminating());
        if !alive {
            return Ok(Plan::default());
        }
        let mut actions = Vec::new();
        if view.get(SERVICE_ACCOUNTS, &Key::namespaced(name.clone(), ACCOUNT)).is_none() {
            let account = json!({"metadata": {"name": ACCOUNT, "namespace": name}});
            actions.push(Action::create(SERVICE_ACCOUNTS, account));
        }
        if let Some(authority) = &self.root_ca {
            let data = json!({"data": {"ca.crt": authority}});
            match view.get(CONFIG_MAPS, &Key::namespaced(name.clone(), AUTHORITY)) {
                Some(known) if changes(known.value(), &data) => {
                    actions.push(Action::change(CONFIG_MAPS, known.value(), data));
                }
                Some(_) => {}
                None => {
                    let about = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
                    let map = json!({
                        "metadata": {
                            "name": AUTHORITY, "namespace": name,
                            "annotations": {"kubernetes.io/description": about},
                        },
                        "data": data["data"],
                    });
                    actions.push(Action::create(CONFIG_MAPS, map));
                }
            }
        }
        Ok(Plan::of(actions))
    }
}
