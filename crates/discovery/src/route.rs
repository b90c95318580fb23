//! The watch of an HTTPRoute and of what it leads to.
//!
//! A router must not serve a part of a route as if it were the whole: a filter that is not read is a header that is not set. So a route
//! with something in it that [`HttpRoute`] has no place for is told as that, and not as a route.

use std::collections::BTreeMap;

use kube::Client;
use kube::api::DynamicObject;
use serde_json::Value;
use tokio::sync::watch;

use crate::HttpRoute;
use crate::object::{Known, api, follow};

/// A route, or what of it is not read: paths of fields, such as `spec.rules[0].filters`.
pub type ReadRoute = Result<HttpRoute, Vec<String>>;

/// Names of a Service's ports, by number. The slices of the Service have the names.
pub type ServicePorts = BTreeMap<u16, String>;

/// Watches an HTTPRoute of `gateway.networking.k8s.io/v1`. Needs a runtime, and the right to list and watch.
#[must_use]
pub fn watch_route(
    client: &Client,
    namespace: &str,
    name: &str,
) -> watch::Receiver<Known<ReadRoute>> {
    let group = "gateway.networking.k8s.io";
    let routes = api(client, namespace, group, "v1", "HTTPRoute", "httproutes");
    follow(routes, name, |object| match serde_json::to_value(object) {
        Ok(object) => read_route(&object),
        Err(error) => Err(vec![error.to_string()]),
    })
}

/// Watches the ports of a Service.
#[must_use]
pub fn watch_service(
    client: &Client,
    namespace: &str,
    name: &str,
) -> watch::Receiver<Known<ServicePorts>> {
    let services = api(client, namespace, "", "v1", "Service", "services");
    follow(services, name, service_ports)
}

/// Watches whether an InferencePool is there. Its pods are told by [`watch`](crate::watch()).
#[must_use]
pub fn watch_pool(client: &Client, namespace: &str, name: &str) -> watch::Receiver<Known<()>> {
    let group = "inference.networking.k8s.io";
    follow(api(client, namespace, group, "v1", "InferencePool", "inferencepools"), name, |_| ())
}

fn service_ports(service: &DynamicObject) -> ServicePorts {
    let ports = service.data.pointer("/spec/ports").and_then(Value::as_array);
    let port = |port: &Value| {
        let number = port.get("port").and_then(Value::as_u64)?;
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        Some((u16::try_from(number).ok()?, name.to_owned()))
    };
    ports.into_iter().flatten().filter_map(port).collect()
}

/// Reads a route, as the API server gives it.
///
/// # Errors
/// The fields that ask for something that is not read.
pub fn read_route(object: &Value) -> ReadRoute {
    let mut unread = Vec::new();
    let spec = &object["spec"];
    note(&mut unread, spec, "spec", &["hostnames"]);
    for (at, rule) in array(&spec["rules"]) {
        let path = format!("spec.rules[{at}]");
        note(&mut unread, rule, &path, &["filters", "retry", "sessionPersistence"]);
        note(&mut unread, &rule["timeouts"], &format!("{path}.timeouts"), &["backendRequest"]);
        for (at, each) in array(&rule["matches"]) {
            let path = format!("{path}.matches[{at}]");
            only(&mut unread, &each["path"], &format!("{path}.path"), &["Exact", "PathPrefix"]);
            for list in ["headers", "queryParams"] {
                for (at, value) in array(&each[list]) {
                    only(&mut unread, value, &format!("{path}.{list}[{at}]"), &["Exact"]);
                }
            }
        }
        for (at, backend) in array(&rule["backendRefs"]) {
            note(&mut unread, backend, &format!("{path}.backendRefs[{at}]"), &["filters"]);
        }
    }
    if !unread.is_empty() {
        return Err(unread);
    }
    serde_json::from_value(object.clone()).map_err(|error| vec![error.to_string()])
}

fn array(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

/// Notes those of the fields that say something.
fn note(unread: &mut Vec<String>, value: &Value, path: &str, fields: &[&str]) {
    for field in fields {
        let says = match value.get(*field) {
            None | Some(Value::Null) => false,
            Some(Value::Array(all)) => !all.is_empty(),
            Some(Value::Object(all)) => !all.is_empty(),
            Some(_) => true,
        };
        if says {
            unread.push(format!("{path}.{field}"));
        }
    }
}

/// Notes a type that is not among these.
fn only(unread: &mut Vec<String>, value: &Value, path: &str, types: &[&str]) {
    if let Some(kind) = value.get("type").and_then(Value::as_str)
        && !types.contains(&kind)
    {
        unread.push(format!("{path}.type {kind}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_route_asks_for_and_nobody_reads_is_named() {
        let route = |rule: Value, hosts: Value| json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"hostnames": hosts, "rules": [rule]}});
        let plain = json!({
            "name": "all",
            "filters": [], "timeouts": {"request": "10m"},
            "matches": [{
                "path": {"type": "PathPrefix", "value": "/v1"}, "method": "POST",
                "headers": [{"type": "Exact", "name": "a", "value": "b"}],
            }],
            "backendRefs": [{"name": "c", "port": 8000, "weight": 3, "namespace": "d"}],
        });
        let read = read_route(&route(plain, json!([]))).unwrap();
        let ten_minutes = Some(std::time::Duration::from_secs(600));
        assert_eq!(read.spec.rules[0].timeouts.request, ten_minutes);
        let backend = &read.spec.rules[0].backend_refs[0];
        assert_eq!((backend.weight, backend.namespace.as_deref()), (3, Some("d")));
        let asks = json!({
            "filters": [{"type": "RequestMirror"}], "timeouts": {"backendRequest": "1s"}, "retry": {"attempts": 1},
            "sessionPersistence": {"type": "Cookie"},
            "matches": [{
                "path": {"type": "RegularExpression", "value": ".*"},
                "headers": [{"name": "a", "value": "b"}, {"type": "RegularExpression", "name": "a", "value": "b"}],
                "queryParams": [{"type": "RegularExpression", "name": "a", "value": "b"}],
            }],
            "backendRefs": [{"name": "c", "filters": [{"type": "URLRewrite"}]}],
        });
        assert_eq!(
            read_route(&route(asks, json!(["a.example"]))).unwrap_err(),
            [
                "spec.hostnames",
                "spec.rules[0].filters",
                "spec.rules[0].retry",
                "spec.rules[0].sessionPersistence",
                "spec.rules[0].timeouts.backendRequest",
                "spec.rules[0].matches[0].path.type RegularExpression",
                "spec.rules[0].matches[0].headers[1].type RegularExpression",
                "spec.rules[0].matches[0].queryParams[0].type RegularExpression",
                "spec.rules[0].backendRefs[0].filters",
            ]
        );
        assert!(read_route(&json!({"spec": {"rules": 7}})).is_err());
    }
}
