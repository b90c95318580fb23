//! What is served, told to clients: group by group, or all at once.

use apimachinery::Status;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::answer::{self, Answer, Response};
use crate::groups::{Below, Group, Resource, groups};
use crate::negotiate;
use crate::server::Server;

/// The media type of aggregated discovery, as it is answered.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api`.
pub(crate) fn core(server: &Server, headers: &HeaderMap) -> Answer {
    let groups = groups(&server.store.kinds());
    if negotiate::wants_aggregated(headers)? {
        return Ok(aggregated(groups.iter().filter(|group| group.name.is_empty())));
    }
    let address = json!({"clientCIDR": "0.0.0.0/0", "serverAddress": server.address});
    let versions: Vec<&str> = groups
        .iter()
        .filter(|group| group.name.is_empty())
        .flat_map(|group| group.versions.iter().map(|(version, _)| version.as_str()))
        .collect();
    Ok(answer::json(
        200,
        &json!({
            "kind": "APIVersions",
            "versions": versions,
            "serverAddressByClientCIDRs": [address],
        }),
    ))
}

/// `/apis`.
pub(crate) fn all(server: &Server, headers: &HeaderMap) -> Answer {
    let groups = groups(&server.store.kinds());
    let named = groups.iter().filter(|group| !group.name.is_empty());
    if negotiate::wants_aggregated(headers)? {
        return Ok(aggregated(named));
    }
    let groups: Vec<Value> = named.map(group_json).collect();
    Ok(answer::json(200, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})))
}

/// `/apis/GROUP`.
pub(crate) fn group(server: &Server, name: &str) -> Answer {
    let groups = groups(&server.store.kinds());
    let Some(group) = groups.iter().find(|group| group.name == name && !name.is_empty()) else {
        return Ok(answer::path_not_found());
    };
    let mut value = group_json(group);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    Ok(answer::json(200, &value))
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(crate) fn version(server: &Server, group: &str, version: &str) -> Answer {
    let groups = groups(&server.store.kinds());
    let found = groups
        .iter()
        .filter(|one| one.name == group)
        .flat_map(|group| &group.versions)
        .find(|(one, _)| one == version);
    let Some((_, resources)) = found else { return Ok(answer::path_not_found()) };
    let mut list = Vec::new();
    for resource in resources {
        list.push(resource_json(resource));
        list.extend(resource.below.iter().map(|below| below_json(resource, below)));
    }
    Ok(answer::json(
        200,
        &json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version(group, version),
            "resources": list,
        }),
    ))
}

/// The paths of the root.
pub(crate) fn root(server: &Server) -> Result<Response, Status> {
    let mut paths = vec!["/api".to_owned(), "/apis".to_owned()];
    for group in groups(&server.store.kinds()) {
        if !group.name.is_empty() {
            paths.push(format!("/apis/{}", group.name));
        }
        for (version, _) in &group.versions {
            paths.push(match group.name.as_str() {
                "" => format!("/api/{version}"),
                name => format!("/apis/{name}/{version}"),
            });
        }
    }
    let others = ["healthz", "livez", "openapi/v2", "openapi/v3", "readyz", "version"];
    paths.extend(others.iter().map(|path| format!("/{path}")));
    paths.sort();
    Ok(answer::json(200, &json!({"paths": paths})))
}

fn aggregated<'a>(groups: impl Iterator<Item = &'a Group>) -> Response {
    let items: Vec<Value> = groups.map(aggregated_group).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    let mut response = answer::json(200, &list);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    response
}

fn aggregated_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, resources)| {
            let resources: Vec<Value> = resources.iter().map(aggregated_resource).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let own = json!({"group": "", "version": "", "kind": resource.kind});
    let below: Vec<Value> = resource
        .below
        .iter()
        .map(|below| {
            let kind = below.kind.map_or_else(
                || own.clone(),
                |(group, version, kind)| {
                    json!({"group": group, "version": if group.is_empty() { "" } else { version }, "kind": kind})
                },
            );
            json!({"subresource": below.path, "responseKind": kind, "verbs": below.verbs})
        })
        .collect();
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": own,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    names(resource, &mut value);
    if !below.is_empty() {
        value["subresources"] = json!(below);
    }
    value
}

fn names(resource: &Resource, value: &mut Value) {
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
}

fn group_json(group: &Group) -> Value {
    let version = |version: &String| json!({"groupVersion": group_version(&group.name, version), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|(one, _)| version(one)).collect();
    json!({"name": group.name, "versions": versions, "preferredVersion": versions.first()})
}

fn resource_json(resource: &Resource) -> Value {
    let mut value = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    names(resource, &mut value);
    value
}

fn below_json(resource: &Resource, below: &Below) -> Value {
    let mut value = json!({
        "name": format!("{}/{}", resource.plural, below.path),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": below.kind.map_or(resource.kind.as_str(), |(_, _, kind)| kind),
        "verbs": below.verbs,
    });
    if let Some((group, version, _)) = below.kind.filter(|(group, _, _)| !group.is_empty()) {
        value["group"] = json!(group);
        value["version"] = json!(version);
    }
    value
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
