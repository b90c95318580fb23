//! Services. Their addresses are given by whoever serves them (the node agent), not here.

use serde_json::{Value, json};

use super::fields::remove;

/// Sets what a new service is served by.
pub(super) fn create(service: &mut Value) {
    families(&mut service["spec"]);
}

/// Keeps an address once it is given: a request that leaves it out means the same one.
pub(super) fn update(old: &Value, new: &mut Value) {
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
    families(&mut new["spec"]);
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
