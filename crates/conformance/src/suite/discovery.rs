//! What a client can find out about the server itself: versions, groups, resources, schemas, health, rights.

use http::Method;
use serde_json::{Value, json};

use crate::behaviour::group;
use crate::connect;
use crate::place::Place;
use crate::resource::DEPLOYMENTS;
use crate::unmet::{Met, Unmet, ensure, items, same, text};

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
/// The groups of the course's manifests.
const GROUPS: &[&str] = &[
    "apps",
    "autoscaling",
    "batch",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "policy",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

group!("discovery", "versions, groups, resources, schemas, health, rights", {
    "the server names its version" => version,
    "healthz, readyz and livez say ok" => health,
    "plain discovery lists groups with their preferred version" => groups,
    "plain discovery lists resources with verbs, short names and categories" => resources,
    "plain discovery lists subresources with their own kinds" => subresources,
    "aggregated discovery gives everything in two answers" => aggregated,
    "aggregated discovery is only for who asks for it" => aggregated_by_accept,
    "kube's discovery finds a kind by name" => kube_discovery,
    "OpenAPI v3 has an index with a hash for each group" => openapi_index,
    "OpenAPI v3 of a group has schemas by group, version and kind" => openapi_group,
    "OpenAPI v3 describes fields for kubectl explain" => openapi_fields,
    "OpenAPI v2 is there for older clients" => openapi_v2,
    "a SelfSubjectAccessReview answers kubectl auth can-i" => access_review,
    "a wrong token is refused with 401" => wrong_token,
    "a path outside the API is a 404" => outside,
});

async fn version(at: &Place) -> Met {
    let version = at.ask("/version").await?.ok()?;
    let name = text(&version, "/gitVersion")?;
    ensure(name.starts_with("v1."), "gitVersion v1.…", name)?;
    same(&version, "/major", "1")?;
    let minor = text(&version, "/minor")?;
    ensure(minor.starts_with(|c: char| c.is_ascii_digit()), "a minor version", minor)?;
    text(&version, "/platform").map(|_| ())
}

async fn health(at: &Place) -> Met {
    for path in ["/healthz", "/readyz", "/livez"] {
        let answer = at.call(Method::GET, path).accept("*/*").send().await?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        ensure(answer.status == 200 && body == "ok", format!("{path}: ok"), answer.seen())?;
    }
    Ok(())
}

async fn groups(at: &Place) -> Met {
    let core = at.ask("/api").await?.ok()?;
    same(&core, "/kind", "APIVersions")?;
    same(&core, "/versions", json!(["v1"]))?;
    let list = at.ask("/apis").await?.ok()?;
    same(&list, "/kind", "APIGroupList")?;
    for name in GROUPS {
        let group = items(&list, "/groups").iter().find(|group| group["name"] == *name);
        let group = group.ok_or_else(|| Unmet::fail(format!("group {name}"), "none"))?;
        text(group, "/preferredVersion/groupVersion")?;
        text(group, "/versions/0/version")?;
    }
    let apps = at.ask("/apis/apps").await?.ok()?;
    same(&apps, "/kind", "APIGroup")?;
    same(&apps, "/preferredVersion", json!({"groupVersion": "apps/v1", "version": "v1"}))
}

/// A resource of a plain list by its name.
fn found<'a>(list: &'a Value, name: &str) -> Met<&'a Value> {
    let mut all = items(list, "/resources").iter();
    all.find(|resource| resource["name"] == name)
        .ok_or_else(|| Unmet::fail(format!("resource {name}"), "none"))
}

async fn resources(at: &Place) -> Met {
    let core = at.ask("/api/v1").await?.ok()?;
    same(&core, "/kind", "APIResourceList")?;
    same(&core, "/groupVersion", "v1")?;
    let pods = found(&core, "pods")?;
    same(pods, "/kind", "Pod")?;
    same(pods, "/namespaced", true)?;
    same(pods, "/singularName", "pod")?;
    same(pods, "/shortNames", json!(["po"]))?;
    same(pods, "/categories", json!(["all"]))?;
    let verbs =
        json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
    same(pods, "/verbs", verbs)?;
    same(found(&core, "nodes")?, "/namespaced", false)?;
    same(found(&core, "namespaces")?, "/shortNames", json!(["ns"]))?;
    let apps = at.ask(DEPLOYMENTS.root()).await?.ok()?;
    same(found(&apps, "deployments")?, "/shortNames", json!(["deploy"]))
}

async fn subresources(at: &Place) -> Met {
    let core = at.ask("/api/v1").await?.ok()?;
    let eviction = found(&core, "pods/eviction")?;
    same(eviction, "/kind", "Eviction")?;
    same(eviction, "/group", "policy")?;
    same(eviction, "/verbs", json!(["create"]))?;
    for name in ["pods/log", "pods/exec", "pods/portforward", "pods/status", "nodes/status"] {
        found(&core, name)?;
    }
    let apps = at.ask(DEPLOYMENTS.root()).await?.ok()?;
    let scale = found(&apps, "deployments/scale")?;
    same(scale, "/kind", "Scale")?;
    same(scale, "/group", "autoscaling")
}

async fn aggregated(at: &Place) -> Met {
    let core = at.call(Method::GET, "/api").accept(AGGREGATED).send().await?;
    let media = core.headers.get("content-type").map(|value| format!("{value:?}"));
    let named = media.clone().is_some_and(|media| media.contains("APIGroupDiscoveryList"));
    ensure(named, "a content type that names it", format!("{media:?}"))?;
    let core = core.ok()?;
    same(&core, "/kind", "APIGroupDiscoveryList")?;
    same(&core, "/apiVersion", "apidiscovery.k8s.io/v2")?;
    let pods = items(&core, "/items/0/versions/0/resources");
    let pods = pods.iter().find(|resource| resource["resource"] == "pods").cloned();
    let pods = pods.ok_or_else(|| Unmet::fail("pods", "none"))?;
    same(&pods, "/responseKind/kind", "Pod")?;
    same(&pods, "/scope", "Namespaced")?;
    let parts: Vec<_> = items(&pods, "/subresources").iter().map(|s| &s["subresource"]).collect();
    ensure(parts.iter().any(|part| **part == "log"), "subresource log", format!("{parts:?}"))?;
    let apis = at.call(Method::GET, "/apis").accept(AGGREGATED).send().await?.ok()?;
    for name in GROUPS {
        let found = items(&apis, "/items").iter().any(|group| group["metadata"]["name"] == *name);
        ensure(found, format!("group {name}"), "none")?;
    }
    Ok(())
}

async fn aggregated_by_accept(at: &Place) -> Met {
    same(&at.ask("/apis").await?.ok()?, "/kind", "APIGroupList")?;
    let only = "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList";
    let answer = at.call(Method::GET, "/apis").accept(only).send().await?;
    ensure(answer.status == 406, "406 for an unknown version", answer.seen())
}

async fn kube_discovery(at: &Place) -> Met {
    let gvk = kube::core::GroupVersionKind::gvk("apps", "v1", "Deployment");
    let (resource, capabilities) = kube::discovery::pinned_kind(&at.wire.client(), &gvk).await?;
    ensure(resource.plural == "deployments", "deployments", &resource.plural)?;
    let verbs = capabilities.supports_operation(kube::discovery::verbs::WATCH);
    ensure(verbs, "watch among the verbs", format!("{:?}", capabilities.operations))?;
    let all = kube::discovery::Discovery::new(at.wire.client()).run_aggregated().await?;
    ensure(all.resolve_gvk(&gvk).is_some(), "Deployment by aggregated discovery", "none")
}

async fn openapi_index(at: &Place) -> Met {
    let index = at.ask("/openapi/v3").await?.ok()?;
    for group in ["api/v1", "apis/apps/v1", "apis/batch/v1"] {
        let url = index["paths"][group]["serverRelativeURL"].as_str().unwrap_or_default();
        let right = url.starts_with(&format!("/openapi/v3/{group}?hash="));
        ensure(right, format!("a URL with a hash for {group}"), &index["paths"][group])?;
        let document = at.ask(url).await?.ok()?;
        ensure(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.")), "OpenAPI 3", "")?;
    }
    Ok(())
}

/// The schema of a kind in a group's document.
async fn schema(at: &Place, path: &str, group: &str, kind: &str) -> Met<(Value, Value)> {
    let document = at.ask(path).await?.ok()?;
    let schemas = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
    let wanted = json!({"group": group, "version": "v1", "kind": kind});
    let schema = schemas
        .values()
        .find(|schema| items(schema, "/x-kubernetes-group-version-kind").contains(&wanted));
    let schema =
        schema.cloned().ok_or_else(|| Unmet::fail(format!("a schema of {kind}"), "none"))?;
    Ok((document, schema))
}

async fn openapi_group(at: &Place) -> Met {
    let (document, schema) = schema(at, "/openapi/v3/apis/apps/v1", "apps", "Deployment").await?;
    for field in ["metadata", "spec", "status"] {
        ensure(schema["properties"][field].is_object(), format!("property {field}"), &schema)?;
    }
    let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let patch = &document["paths"][path]["patch"];
    ensure(patch.is_object(), format!("an operation PATCH {path}"), "none")?;
    let parameters = items(patch, "/parameters");
    let strict = parameters.iter().any(|parameter| parameter["name"] == "fieldValidation");
    ensure(strict, "fieldValidation among its parameters", patch)
}

async fn openapi_fields(at: &Place) -> Met {
    let (document, pod) = schema(at, "/openapi/v3/api/v1", "", "Pod").await?;
    let spec = &pod["properties"]["spec"];
    let reference = spec["allOf"][0]["$ref"].as_str().or(spec["$ref"].as_str());
    let name = reference.and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let spec = &document["components"]["schemas"][name];
    ensure(
        spec["properties"]["containers"]["type"] == "array",
        "spec.containers is described as a list",
        reference.unwrap_or("no reference"),
    )?;
    let described = spec["properties"]["restartPolicy"]["description"].as_str();
    ensure(described.is_some_and(|text| !text.is_empty()), "a description of restartPolicy", spec)
}

async fn openapi_v2(at: &Place) -> Met {
    let document = at.ask("/openapi/v2").await?.ok()?;
    same(&document, "/swagger", "2.0")?;
    let definition = &document["definitions"]["io.k8s.api.core.v1.Pod"];
    ensure(definition.is_object(), "a definition of Pod", "none")?;
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = at.call(Method::GET, "/openapi/v2").accept(protobuf).send().await?;
    ensure(answer.status == 200 && answer.body.len() > 1000, "a protobuf form", answer.status)
}

async fn access_review(at: &Place) -> Met {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": at.namespace}},
    });
    let target = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = at.call(Method::POST, target).json(&review).send().await?;
    ensure(answer.status == 201, "201", answer.seen())?;
    same(&answer.json, "/status/allowed", true)
}

async fn wrong_token(at: &Place) -> Met {
    let config = at.settings.config.clone();
    let stranger = config.and_then(|config| connect::bearer(config, "conformance-not-a-token"));
    let Some(stranger) = stranger else {
        return Err(Unmet::Skip("no client without credentials can be built".into()));
    };
    let wire = crate::wire::Wire::over(&stranger);
    let answer = wire.call(Method::GET, "/api/v1/namespaces").send().await?;
    answer.refused(401, "Unauthorized")?;
    Ok(())
}

async fn outside(at: &Place) -> Met {
    for path in ["/nothing", "/apis/apps/v1/nothing/at/all/here"] {
        let answer = at.ask(path).await?;
        ensure(answer.status == 404, format!("404 for {path}"), answer.seen())?;
    }
    Ok(())
}
