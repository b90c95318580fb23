//! `CustomResourceDefinitions`: a kind of one's own, served like the built-in ones.

use http::Method;
use serde_json::{Value, json};

use crate::behaviour::group;
use crate::place::Place;
use crate::resource::DEFINITIONS;
use crate::unmet::{Met, Unmet, condition, ensure, items, mentions, names, same, text};
use crate::watch::Watch;
use crate::wire::Answer;

const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

group!("definitions", "custom resources: established, served, defaulted, pruned, validated", {
    "a definition becomes established and its names accepted" => established,
    "an established kind is served, discovered and listed" => served,
    "kube's await_condition sees a definition established" => await_condition,
    "unknown fields of a custom object are pruned" => pruned,
    "x-kubernetes-preserve-unknown-fields keeps what it does not know" => preserved,
    "fieldValidation=Strict refuses an unknown field of a custom object" => strict,
    "defaults of the schema are filled in" => defaulted,
    "types, enums, patterns, ranges, lengths and required fields are validated with 422" => validated,
    "int-or-string and nullable are understood" => loose_types,
    "a schema that is not structural is refused with 422" => not_structural,
    "a definition named otherwise than plural.group is refused with 422" => misnamed,
    "names that are taken are not accepted" => taken,
    "printer columns are shown in a table" => columns,
    "status and scale subresources work when they are declared" => subresources,
    "without a status subresource, status is written with the object" => no_subresource,
    "generation of a custom object rises with its spec" => generation,
    "two served versions show the same object" => two_versions,
    "a version that is not served is a 404" => not_served,
    "custom objects are watched" => watched,
    "a strategic patch of a custom object is refused with 415" => strategic,
    "server-side apply merges a list by its declared keys" => applied,
    "a deleted definition takes its objects along and is no longer served" => deleted,
    "a custom kind is in OpenAPI v3" => openapi,
});

/// A group of this behaviour's own, so that behaviours do not meet.
fn own_group(at: &Place) -> String {
    format!("{}.example.com", at.namespace)
}

fn root(at: &Place, version: &str) -> String {
    format!("/apis/{}/{version}", own_group(at))
}

fn widgets(at: &Place) -> String {
    format!("{}/namespaces/{}/widgets", root(at, "v1"), at.namespace)
}

fn definition(at: &Place, spec: Value) -> Value {
    let mut version = json!({"name": "v1", "served": true, "storage": true, "schema": {
        "openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
    version["additionalPrinterColumns"] = Value::Null;
    json!({
        "metadata": {"name": format!("widgets.{}", own_group(at))},
        "spec": {
            "group": own_group(at), "scope": "Namespaced", "versions": [version],
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget",
                "shortNames": ["wd"], "categories": ["all"]},
        },
    })
}

fn object_schema(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

/// Creates a definition and waits until its objects can be listed.
async fn establish(at: &Place, definition: Value) -> Met<Value> {
    let name = text(&definition, "/metadata/name")?.to_owned();
    at.create(DEFINITIONS, definition).await?;
    let made = at
        .until(DEFINITIONS, &name, "established", |definition| {
            condition(definition, "Established")["status"] == "True"
        })
        .await?;
    at.until_answer(&widgets(at), "its objects to be served", |answer| answer.status == 200)
        .await?;
    Ok(made)
}

fn widget(at: &Place, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{}/v1", own_group(at)), "kind": "Widget",
        "metadata": {"name": name}, "spec": spec})
}

async fn try_make(at: &Place, object: &Value, query: &str) -> Met<Answer> {
    at.call(Method::POST, format!("{}{query}", widgets(at))).json(object).send().await
}

async fn make(at: &Place, name: &str, spec: Value) -> Met<Value> {
    try_make(at, &widget(at, name, spec), "").await?.ok()
}

async fn merged(at: &Place, path: &str, change: Value) -> Met<Value> {
    let call = at.call(Method::PATCH, format!("{}/{path}", widgets(at)));
    call.body("application/merge-patch+json", change.to_string()).send().await?.ok()
}

fn loose(at: &Place) -> Value {
    definition(at, json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))
}

async fn established(at: &Place) -> Met {
    let made = establish(at, loose(at)).await?;
    same(condition(&made, "NamesAccepted"), "/status", "True")?;
    same(condition(&made, "NamesAccepted"), "/reason", "NoConflicts")?;
    same(condition(&made, "Established"), "/reason", "InitialNamesAccepted")?;
    same(&made, "/status/acceptedNames/plural", "widgets")?;
    same(&made, "/status/acceptedNames/listKind", "WidgetList")?;
    same(&made, "/status/storedVersions", json!(["v1"]))?;
    same(&made, "/spec/conversion/strategy", "None")
}

async fn served(at: &Place) -> Met {
    establish(at, loose(at)).await?;
    let resources = at
        .until_answer(&root(at, "v1"), "widgets in discovery", |answer| {
            items(&answer.json, "/resources").iter().any(|r| r["name"] == "widgets")
        })
        .await?;
    same(&resources, "/resources/0/shortNames", json!(["wd"]))?;
    same(&resources, "/resources/0/kind", "Widget")?;
    let group = own_group(at);
    at.until_answer("/apis", "the group in discovery", |answer| {
        items(&answer.json, "/groups").iter().any(|found| found["name"] == group)
    })
    .await?;
    let made = make(at, "a", json!({"k": "v"})).await?;
    same(&made, "/metadata/generation", 1)?;
    let list = at.ask(widgets(at)).await?.ok()?;
    same(&list, "/kind", "WidgetList")?;
    ensure(names(&list) == ["a"], "one widget", &list)?;
    let call = at.call(Method::DELETE, format!("{}/a", widgets(at)));
    same(&call.send().await?.ok()?, "/status", "Success")
}

async fn await_condition(at: &Place) -> Met {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::runtime::{conditions, wait};

    let object = loose(at);
    let name = text(&object, "/metadata/name")?.to_owned();
    at.create(DEFINITIONS, object).await?;
    let api = kube::Api::<CustomResourceDefinition>::all(at.wire.client());
    let waiting = wait::await_condition(api, &name, conditions::is_crd_established());
    let within = crate::place::COMES_ABOUT_WITHIN;
    let seen = tokio::time::timeout(within, waiting).await;
    let seen = seen.map_err(|_| Unmet::fail("an established definition", "none in time"))?;
    seen.map(|_| ()).map_err(|error| Unmet::fail("an established definition", error.to_string()))
}

async fn pruned(at: &Place) -> Met {
    let schema = object_schema(json!({"known": {"type": "string"}, "list": {"type": "array",
        "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}));
    establish(at, definition(at, schema)).await?;
    let spec = json!({"known": "v", "unknown": "w", "list": [{"k": "v", "x": "y"}]});
    let made = make(at, "a", spec).await?;
    same(&made, "/spec", json!({"known": "v", "list": [{"k": "v"}]}))
}

async fn preserved(at: &Place) -> Met {
    let schema = object_schema(json!({"free": {"type": "object",
        "x-kubernetes-preserve-unknown-fields": true}, "known": {"type": "string"}}));
    establish(at, definition(at, schema)).await?;
    let made = make(at, "a", json!({"free": {"deep": {"er": 1}}, "gone": true})).await?;
    same(&made, "/spec", json!({"free": {"deep": {"er": 1}}}))
}

async fn strict(at: &Place) -> Met {
    let schema = object_schema(json!({"known": {"type": "string"}}));
    establish(at, definition(at, schema)).await?;
    let object = widget(at, "a", json!({"unknown": "w"}));
    let status = try_make(at, &object, "?fieldValidation=Strict").await?;
    let status = status.refused(400, "BadRequest")?;
    mentions(&status, "/message", "unknown field \"spec.unknown\"")
}

async fn defaulted(at: &Place) -> Met {
    let schema = object_schema(json!({
        "size": {"type": "integer", "default": 3},
        "mode": {"type": "object", "default": {}, "properties": {
            "name": {"type": "string", "default": "plain"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {
            "on": {"type": "boolean", "default": true}}}},
    }));
    establish(at, definition(at, schema)).await?;
    let made = make(at, "a", json!({"list": [{}, {"on": false}]})).await?;
    let expected =
        json!({"size": 3, "mode": {"name": "plain"}, "list": [{"on": true}, {"on": false}]});
    same(&made, "/spec", expected)
}

async fn validated(at: &Place) -> Met {
    let mut schema = object_schema(json!({
        "size": {"type": "integer", "minimum": 1, "maximum": 5},
        "mode": {"type": "string", "enum": ["one", "two"]},
        "code": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4},
        "list": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        "flag": {"type": "boolean"},
    }));
    schema["required"] = json!(["size"]);
    establish(at, definition(at, schema)).await?;
    make(at, "good", json!({"size": 2, "mode": "one", "code": "abc", "list": ["a"]})).await?;
    for (spec, field) in [
        (json!({}), "spec.size"),
        (json!({"size": 9}), "spec.size"),
        (json!({"size": 0}), "spec.size"),
        (json!({"size": "two"}), "spec.size"),
        (json!({"size": 1, "mode": "three"}), "spec.mode"),
        (json!({"size": 1, "code": "ABC"}), "spec.code"),
        (json!({"size": 1, "code": "abcde"}), "spec.code"),
        (json!({"size": 1, "list": ["a", "b", "c"]}), "spec.list"),
        (json!({"size": 1, "flag": "yes"}), "spec.flag"),
    ] {
        let answer = try_make(at, &widget(at, "bad", spec.clone()), "").await?;
        let status = answer.refused(422, "Invalid")?;
        let named = items(&status, "/details/causes")
            .iter()
            .any(|cause| cause["field"].as_str().is_some_and(|seen| seen.starts_with(field)));
        ensure(named, format!("a cause for {field} of {spec}"), &status["details"])?;
    }
    Ok(())
}

async fn loose_types(at: &Place) -> Met {
    let schema = object_schema(json!({
        "port": {"x-kubernetes-int-or-string": true},
        "none": {"type": "string", "nullable": true},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    }));
    establish(at, definition(at, schema)).await?;
    for port in [json!(80), json!("http")] {
        let name = if port.is_number() { "a" } else { "b" };
        let spec = json!({"port": port, "none": null, "map": {"x": 1}});
        let made = make(at, name, spec.clone()).await?;
        same(&made, "/spec", spec)?;
    }
    let bad = widget(at, "c", json!({"port": 1.5, "map": {"x": "y"}}));
    try_make(at, &bad, "").await?.refused(422, "Invalid")?;
    Ok(())
}

async fn not_structural(at: &Place) -> Met {
    let no_type = definition(at, json!({"properties": {"a": {"type": "string"}}}));
    at.try_create(DEFINITIONS, no_type, "").await?.refused(422, "Invalid")?;
    let mut none = loose(at);
    none["spec"]["versions"][0]["schema"] = Value::Null;
    at.try_create(DEFINITIONS, none, "").await?.refused(422, "Invalid")?;
    Ok(())
}

async fn misnamed(at: &Place) -> Met {
    let mut other = loose(at);
    other["metadata"]["name"] = format!("gadgets.{}", own_group(at)).into();
    let status = at.try_create(DEFINITIONS, other, "").await?.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "metadata.name")
}

async fn taken(at: &Place) -> Met {
    establish(at, loose(at)).await?;
    let mut other = loose(at);
    other["metadata"]["name"] = format!("others.{}", own_group(at)).into();
    other["spec"]["names"]["plural"] = "others".into();
    at.create(DEFINITIONS, other.clone()).await?;
    let name = text(&other, "/metadata/name")?;
    let refused = at
        .until(DEFINITIONS, name, "names that are not accepted", |definition| {
            condition(definition, "NamesAccepted")["status"] == "False"
        })
        .await?;
    same(condition(&refused, "Established"), "/status", "False")
}

async fn columns(at: &Place) -> Met {
    let mut with = loose(at);
    with["spec"]["versions"][0]["additionalPrinterColumns"] = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Deep", "type": "string", "jsonPath": ".spec.list[0].name", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    establish(at, with).await?;
    make(at, "a", json!({"size": 4, "list": [{"name": "deep"}]})).await?;
    let call = at.call(Method::GET, widgets(at)).accept(TABLE);
    let table = call.send().await?.ok()?;
    let names: Vec<_> =
        items(&table, "/columnDefinitions").iter().map(|c| c["name"].clone()).collect();
    ensure(names == ["Name", "Size", "Deep", "Age"], "the declared columns", format!("{names:?}"))?;
    same(&table, "/columnDefinitions/2/priority", 1)?;
    let cells = &table["rows"][0]["cells"];
    same(cells, "/0", "a")?;
    same(cells, "/1", 4)?;
    same(cells, "/2", "deep")
}

async fn subresources(at: &Place) -> Met {
    let mut with = loose(at);
    with["spec"]["versions"][0]["subresources"] = json!({"status": {}, "scale": {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector"}});
    establish(at, with).await?;
    let mut object = widget(at, "a", json!({"replicas": 2}));
    object["status"] = json!({"replicas": 9});
    let made = try_make(at, &object, "").await?.ok()?;
    same(&made, "/status", Value::Null)?;
    let change = json!({"spec": {"replicas": 5}, "status": {"replicas": 2, "selector": "a=b"}});
    let after = merged(at, "a/status", change).await?;
    same(&after, "/spec/replicas", 2)?;
    same(&after, "/status/replicas", 2)?;
    same(&after, "/metadata/generation", 1)?;
    let scale = at.ask(format!("{}/a/scale", widgets(at))).await?.ok()?;
    same(&scale, "/kind", "Scale")?;
    same(&scale, "/spec/replicas", 2)?;
    same(&scale, "/status", json!({"replicas": 2, "selector": "a=b"}))?;
    merged(at, "a/scale", json!({"spec": {"replicas": 3}})).await?;
    let object = at.ask(format!("{}/a", widgets(at))).await?.ok()?;
    same(&object, "/spec/replicas", 3)
}

async fn no_subresource(at: &Place) -> Met {
    establish(at, loose(at)).await?;
    let mut object = widget(at, "a", json!({}));
    object["status"] = json!({"seen": true});
    let made = try_make(at, &object, "").await?.ok()?;
    same(&made, "/status/seen", true)?;
    let answer = at.ask(format!("{}/a/status", widgets(at))).await?;
    ensure(answer.status == 404, "404 for /status", answer.seen())
}

async fn generation(at: &Place) -> Met {
    let mut with = loose(at);
    with["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    establish(at, with).await?;
    make(at, "a", json!({"k": 1})).await?;
    let labelled = merged(at, "a", json!({"metadata": {"labels": {"a": "b"}}})).await?;
    same(&labelled, "/metadata/generation", 1)?;
    let changed = merged(at, "a", json!({"spec": {"k": 2}})).await?;
    same(&changed, "/metadata/generation", 2)
}

/// Versions v1, v2 (both served) and v3 (not served).
async fn three_versions(at: &Place) -> Met {
    let mut with = loose(at);
    let first = with["spec"]["versions"][0].clone();
    let mut second = first.clone();
    merge_version(&mut second, "v2", true);
    let mut third = first.clone();
    merge_version(&mut third, "v3", false);
    with["spec"]["versions"] = json!([first, second, third]);
    establish(at, with).await.map(|_| ())
}

fn merge_version(version: &mut Value, name: &str, served: bool) {
    version["name"] = name.into();
    version["storage"] = false.into();
    version["served"] = served.into();
}

async fn two_versions(at: &Place) -> Met {
    three_versions(at).await?;
    make(at, "a", json!({"k": "v"})).await?;
    let path = format!("{}/namespaces/{}/widgets/a", root(at, "v2"), at.namespace);
    let other = at.ask(path.clone()).await?.ok()?;
    same(&other, "/apiVersion", format!("{}/v2", own_group(at)))?;
    same(&other, "/spec/k", "v")?;
    let call = at.call(Method::PATCH, path);
    let patch = json!({"spec": {"k": "w"}}).to_string();
    call.body("application/merge-patch+json", patch).send().await?.ok()?;
    let first = at.ask(format!("{}/a", widgets(at))).await?.ok()?;
    same(&first, "/apiVersion", format!("{}/v1", own_group(at)))?;
    same(&first, "/spec/k", "w")
}

async fn not_served(at: &Place) -> Met {
    three_versions(at).await?;
    let path = format!("{}/namespaces/{}/widgets", root(at, "v3"), at.namespace);
    let answer = at.ask(path).await?;
    ensure(answer.status == 404, "404", answer.seen())
}

async fn watched(at: &Place) -> Met {
    establish(at, loose(at)).await?;
    let target = format!("{}?watch=true", widgets(at));
    let response = at.call(Method::GET, target).open().await?;
    let mut watch = Watch::new(response.into_body());
    make(at, "a", json!({})).await?;
    let event = watch.expect("ADDED", "a").await?;
    same(&event, "/kind", "Widget")?;
    merged(at, "a", json!({"spec": {"k": 2}})).await?;
    watch.expect("MODIFIED", "a").await?;
    at.call(Method::DELETE, format!("{}/a", widgets(at))).send().await?.ok()?;
    watch.expect("DELETED", "a").await.map(|_| ())
}

async fn strategic(at: &Place) -> Met {
    establish(at, loose(at)).await?;
    make(at, "a", json!({})).await?;
    let call = at.call(Method::PATCH, format!("{}/a", widgets(at)));
    let call = call.body("application/strategic-merge-patch+json", "{\"spec\":{\"k\":1}}");
    call.send().await?.refused(415, "UnsupportedMediaType")?;
    Ok(())
}

async fn applied(at: &Place) -> Met {
    let schema = object_schema(json!({"list": {"type": "array",
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "size": {"type": "integer"}}}},
        "plain": {"type": "array", "items": {"type": "string"}}}));
    establish(at, definition(at, schema)).await?;
    let apply = async |manager: &str, spec: Value| -> Met<Value> {
        let target = format!("{}/a?fieldManager={manager}", widgets(at));
        let call = at.call(Method::PATCH, target);
        let body = widget(at, "a", spec).to_string();
        call.body("application/apply-patch+yaml", body).send().await?.ok()
    };
    apply("one", json!({"list": [{"name": "x", "size": 1}]})).await?;
    let both = apply("two", json!({"list": [{"name": "y", "size": 2}], "plain": ["p"]})).await?;
    ensure(items(&both, "/spec/list").len() == 2, "x and y", &both["spec"])?;
    let after = apply("one", json!({})).await?;
    same(&after, "/spec", json!({"list": [{"name": "y", "size": 2}], "plain": ["p"]}))
}

async fn deleted(at: &Place) -> Met {
    let made = establish(at, loose(at)).await?;
    make(at, "a", json!({})).await?;
    let name = text(&made, "/metadata/name")?;
    at.delete(DEFINITIONS, name, json!({})).await?;
    at.until_gone(DEFINITIONS, name).await?;
    at.until_answer(&widgets(at), "404 for its objects", |answer| answer.status == 404).await?;
    establish(at, loose(at)).await?;
    let list = at.ask(widgets(at)).await?.ok()?;
    ensure(items(&list, "/items").is_empty(), "none of the old objects", &list)
}

async fn openapi(at: &Place) -> Met {
    let schema = object_schema(json!({"size": {"type": "integer", "description": "how large"}}));
    establish(at, definition(at, schema)).await?;
    let path = format!("/openapi/v3/apis/{}/v1", own_group(at));
    let document = at.until_answer(&path, "its document", |answer| answer.status == 200).await?;
    let schemas = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
    let kind = json!({"group": own_group(at), "version": "v1", "kind": "Widget"});
    let found = schemas.values().any(|schema| {
        items(schema, "/x-kubernetes-group-version-kind").contains(&kind)
            && schema["properties"]["spec"]["properties"]["size"]["description"] == "how large"
    });
    ensure(found, "a schema of Widget with its fields", format!("{:?}", schemas.keys()))
}
