//! The virtual address of a service, and its port of the nodes: given in the write that asks for them, as by Kubernetes'
//! allocators, so that the answer names them and nobody ever sees a service without.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use apimachinery::{Cause, Key, Kind, Meta, Status};
use serde_json::{Value, json};

use super::Peers;
use crate::object::ObjectRef;

/// Where services get their addresses unless somebody says otherwise.
pub(crate) const SERVICE_NETWORK: Ipv4Addr = Ipv4Addr::new(127, 96, 0, 0);
/// Addresses that are given out by chance; those below are for services that ask for one.
const FIRST: u32 = 16;
const LAST: u32 = 65_534;
/// Bits of the network's mask.
const PREFIX: u32 = 16;
/// Ports of nodes (Kubernetes' default range).
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// Gives a service the address and the ports that it lacks. What it asks for by itself is left to validation where it is
/// no address.
///
/// # Errors
/// 422 for an address or a port that is taken or outside of its range, 500 when none is left.
pub(super) fn allocate(
    kind: &Kind,
    peers: &dyn Peers,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if service["spec"]["type"] == "ExternalName" || !service["spec"].is_object() {
        return Ok(());
    }
    let lacks = lacks(service, old);
    if !lacks.address && !lacks.ports {
        return Ok(());
    }
    let key = Key::of(service);
    let others: Vec<ObjectRef> =
        peers.all("", "services").into_iter().filter(|one| one.key() != key).collect();
    if lacks.address {
        let taken = others.iter().filter_map(|one| one.value()["spec"]["clusterIP"].as_str());
        let taken: HashSet<&str> = taken.collect();
        address(kind, service, &taken, peers.service_network())?;
    }
    if lacks.ports {
        let taken = others.iter().flat_map(|one| ports(one.value()).filter_map(node_port));
        node_ports(kind, service, taken.collect())?;
    }
    Ok(())
}

/// What a service may be given.
struct Lacks {
    address: bool,
    ports: bool,
}

/// What is to be given or claimed: all of a new service, what is new in a changed one.
fn lacks(service: &Value, old: Option<&Value>) -> Lacks {
    let address = &service["spec"]["clusterIP"];
    let same = old.is_some_and(|old| old["spec"]["clusterIP"] == *address);
    let known: HashSet<i64> =
        old.into_iter().flat_map(|old| ports(old).filter_map(node_port)).collect();
    let wanted = takes_node_ports(service)
        && ports(service).any(|one| node_port(one).is_none_or(|port| !known.contains(&port)));
    Lacks { address: address != "None" && (!same || address.is_null()), ports: wanted }
}

/// Whether a service has ports of the nodes.
pub(super) fn takes_node_ports(service: &Value) -> bool {
    let spec = &service["spec"];
    match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

pub(super) fn ports(service: &Value) -> impl Iterator<Item = &Value> {
    service["spec"]["ports"].as_array().into_iter().flatten()
}

pub(super) fn node_port(port: &Value) -> Option<i64> {
    port["nodePort"].as_i64().filter(|number| *number != 0)
}

fn address(
    kind: &Kind,
    service: &mut Value,
    taken: &HashSet<&str>,
    network: Ipv4Addr,
) -> Result<(), Status> {
    let asked = service["spec"]["clusterIP"].as_str().unwrap_or("").to_owned();
    if asked.is_empty() {
        let free = free_address(&Key::of(service), taken, network)
            .ok_or_else(|| Status::internal("no address is left for services"))?;
        service["spec"]["clusterIP"] = json!(free);
        return Ok(());
    }
    let Ok(wanted) = asked.parse::<Ipv4Addr>() else { return Ok(()) };
    let why = if u32::from(wanted) >> PREFIX != u32::from(network) >> PREFIX {
        format!(
            "the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {network}/{PREFIX}"
        )
    } else if taken.contains(asked.as_str()) {
        "provided IP is already allocated".to_owned()
    } else {
        return Ok(());
    };
    let message = format!("Invalid value: [{asked:?}]: failed to allocate IP {wanted}: {why}");
    Err(refused(kind, service, message, "spec.clusterIPs"))
}

fn node_ports(kind: &Kind, service: &mut Value, mut taken: HashSet<i64>) -> Result<(), Status> {
    let mut given: Vec<Value> = ports(service).cloned().collect();
    for (index, port) in given.iter().enumerate() {
        let Some(asked) = node_port(port) else { continue };
        let (least, most) = (NODE_PORTS.start(), NODE_PORTS.end());
        let why = if !NODE_PORTS.contains(&asked) {
            format!(
                "provided port is not in the valid range. The range of valid ports is {least}-{most}"
            )
        } else if taken.contains(&asked) {
            "provided port is already allocated".to_owned()
        } else {
            continue;
        };
        let field = format!("spec.ports[{index}].nodePort");
        return Err(refused(kind, service, format!("Invalid value: {asked}: {why}"), &field));
    }
    taken.extend(given.iter().filter_map(node_port));
    for port in given.iter_mut().filter(|port| node_port(port).is_none()) {
        let free = NODE_PORTS.clone().find(|number| !taken.contains(number));
        let free = free.ok_or_else(|| Status::internal("no port of the nodes is left"))?;
        taken.insert(free);
        port["nodePort"] = json!(free);
    }
    service["spec"]["ports"] = json!(given);
    Ok(())
}

fn refused(kind: &Kind, service: &Value, message: String, field: &str) -> Status {
    let reason = "FieldValueInvalid".to_owned();
    let cause = Cause { reason, message, field: field.to_owned() };
    Status::invalid(kind, service.name(), vec![cause])
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
