//! Services.

use std::collections::HashMap;

use apimachinery::{Kind, Status};
use serde_json::{Value, json};

use super::Peers;
use super::addresses::{allocate, node_port, ports, takes_node_ports};
use super::fields::remove;

/// Sets what a new service is served by. `own`: the cluster itself writes it, and knows the address.
///
/// # Errors
/// Those of [`allocate`].
pub(super) fn create(
    kind: &Kind,
    peers: &dyn Peers,
    service: &mut Value,
    own: bool,
) -> Result<(), Status> {
    if !own {
        allocate(kind, peers, service, None)?;
    }
    families(&mut service["spec"]);
    Ok(())
}

/// Keeps an address and ports of nodes once they are given: a request that leaves them out means the same ones. What the
/// new type has no use for goes.
///
/// # Errors
/// Those of [`allocate`].
pub(super) fn update(
    kind: &Kind,
    peers: &dyn Peers,
    old: &Value,
    new: &mut Value,
) -> Result<(), Status> {
    let external = |service: &Value| service["spec"]["type"] == "ExternalName";
    if !external(old) && !external(new) {
        for field in ["clusterIP", "clusterIPs"] {
            if new["spec"].get(field).is_none()
                && let Some(value) = old["spec"].get(field)
            {
                new["spec"][field] = value.clone();
            }
        }
    }
    if external(new) && !external(old) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            remove(&mut new["spec"], field);
        }
    }
    match (takes_node_ports(old), takes_node_ports(new)) {
        (true, true) => keep_node_ports(old, new),
        (true, false) => drop_node_ports(old, new),
        _ => {}
    }
    allocate(kind, peers, new, Some(old))?;
    families(&mut new["spec"]);
    Ok(())
}

/// A port that names no number keeps that of the old port of its name, unless another port took it.
fn keep_node_ports(old: &Value, new: &mut Value) {
    let named = |port: &Value| port["name"].as_str().unwrap_or("").to_owned();
    let before: HashMap<String, i64> =
        ports(old).filter_map(|port| Some((named(port), node_port(port)?))).collect();
    let taken: Vec<i64> = ports(new).filter_map(node_port).collect();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if node_port(port).is_none()
            && let Some(number) = before.get(&named(port)).filter(|one| !taken.contains(one))
        {
            port["nodePort"] = json!(number);
        }
    }
}

/// Ports that came with the old type go with it; those that the request sets stay, for validation to refuse.
fn drop_node_ports(old: &Value, new: &mut Value) {
    let before: Vec<i64> = ports(old).filter_map(node_port).collect();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if node_port(port).is_some_and(|number| before.contains(&number)) {
            remove(port, "nodePort");
        }
    }
}

fn families(spec: &mut Value) {
    if !spec.is_object() || spec["type"] == "ExternalName" {
        return;
    }
    // Whoever lists the endpoints of such a service by hand may use both families.
    let by_hand = spec["clusterIP"] == "None"
        && spec["selector"].as_object().is_none_or(|labels| labels.is_empty());
    if spec.get("ipFamilies").is_none() {
        spec["ipFamilies"] = if by_hand { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) };
    }
    if spec.get("ipFamilyPolicy").is_none() {
        spec["ipFamilyPolicy"] = json!(if by_hand { "RequireDualStack" } else { "SingleStack" });
    }
    let address = spec["clusterIP"].as_str().unwrap_or("").to_owned();
    if address.is_empty() {
        remove(spec, "clusterIPs");
    } else if spec["clusterIPs"].as_array().is_none_or(|list| list.first() != Some(&json!(address)))
    {
        spec["clusterIPs"] = json!([address]);
    }
}
