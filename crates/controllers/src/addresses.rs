//! Services get a virtual address, and a port of the nodes where they ask for one.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use apimachinery::{Key, Meta, Status};
use object_store::Change;
use serde_json::{Value, json};

use crate::action::{Action, Plan};
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::Fields;
use crate::resource::{Item, Resource, SERVICES};
use crate::view::{View, values};

/// Addresses that are given out by chance; those below are for services that ask for one, like `kubernetes`.
const FIRST: u32 = 16;
const LAST: u32 = 65_534;
/// Ports of nodes (Kubernetes' default range).
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// Gives services their addresses.
#[derive(Debug)]
pub(crate) struct Addresses {
    network: Ipv4Addr,
}

impl Addresses {
    pub(crate) fn new(network: Ipv4Addr) -> Self {
        Self { network }
    }
}

impl Controller for Addresses {
    fn identity(&self) -> Identity {
        Identity { source: "ipallocator", manager: "kube-apiserver" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![SERVICES]
    }

    fn route(&mut self, _view: &View, change: &Change) -> Vec<Item> {
        vec![Item::new(SERVICES, change.object.key())]
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let Some(service) = view.get(SERVICES, &item.key) else { return Ok(Plan::default()) };
        let all = view.all(SERVICES);
        let patch = plan(service.value(), &values(&all), self.network).map_err(Status::internal)?;
        Ok(Plan::of(
            patch
                .map(|patch| Action::change(SERVICES, service.value(), patch))
                .into_iter()
                .collect(),
        ))
    }
}

/// The addresses and ports that a service lacks.
fn plan(service: &Value, all: &[&Value], network: Ipv4Addr) -> Result<Option<Value>, &'static str> {
    let kind = service.text("spec/type");
    if kind == "ExternalName" || service.is_terminating() {
        return Ok(None);
    }
    let mut patch = json!({});
    if service.text("spec/clusterIP").is_empty() {
        let taken: HashSet<&str> = all.iter().map(|one| one.text("spec/clusterIP")).collect();
        let address = free_address(&Key::of(service), &taken, network)
            .ok_or("no address is left for services")?;
        patch["spec"] = json!({
            "clusterIP": address, "clusterIPs": [address],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        });
    }
    let wants_ports = matches!(kind, "NodePort" | "LoadBalancer")
        && service.at("spec/allocateLoadBalancerNodePorts") != &json!(false);
    let lacks = |port: &Value| port.count("nodePort") == 0;
    if wants_ports && service.list("spec/ports").iter().any(lacks) {
        let ports = |one: &&Value| {
            one.list("spec/ports").iter().map(|port| port.count("nodePort")).collect::<Vec<_>>()
        };
        let mut taken: HashSet<i64> = all.iter().flat_map(ports).collect();
        let mut given = service.list("spec/ports").to_vec();
        for port in given.iter_mut().filter(|port| lacks(port)) {
            let free = NODE_PORTS
                .clone()
                .find(|number| !taken.contains(number))
                .ok_or("no port of the nodes is left")?;
            taken.insert(free);
            port["nodePort"] = json!(free);
        }
        patch["spec"]["ports"] = json!(given);
    }
    Ok((patch != json!({})).then_some(patch))
}

/// A free address, from where the service's name points: one that was just given back is not taken again at once.
fn free_address(key: &Key, taken: &HashSet<&str>, network: Ipv4Addr) -> Option<String> {
    let span = LAST - FIRST;
    let start = key
        .to_string()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..span)
        .map(|step| u32::from(network) + FIRST + (start.wrapping_add(step) % span))
        .map(|address| Ipv4Addr::from(address).to_string())
        .find(|address| !taken.contains(address.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Ipv4Addr = Ipv4Addr::new(127, 96, 0, 0);

    fn service(name: &str, spec: Value) -> Value {
        json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    }

    #[test]
    fn no_two_services_share_an_address_or_a_port() {
        let ports = || json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]});
        let mut all: Vec<Value> = (0..50).map(|i| service(&format!("s{i}"), ports())).collect();
        for i in 0..all.len() {
            let patch = plan(&all[i], &all.iter().collect::<Vec<_>>(), NETWORK).unwrap().unwrap();
            crate::execute::merge(&mut all[i], &patch);
        }
        let addresses: HashSet<&str> = all.iter().map(|one| one.text("spec/clusterIP")).collect();
        let ports: HashSet<i64> = all
            .iter()
            .flat_map(|one| one.list("spec/ports"))
            .map(|port| port.count("nodePort"))
            .collect();
        assert_eq!((addresses.len(), ports.len()), (50, 100));
        assert_eq!(plan(&all[0], &[], NETWORK).unwrap(), None);
    }

    #[test]
    fn a_headless_or_external_service_gets_none() {
        for spec in [json!({"clusterIP": "None"}), json!({"type": "ExternalName"})] {
            assert_eq!(plan(&service("s", spec), &[], NETWORK).unwrap(), None);
        }
    }
}
