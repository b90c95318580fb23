//! Server-side apply: who owns which field, and what happens when two want the same.

use serde_json::{Value, json};

use crate::behaviour::group;
use crate::fixture::idle_deployment;
use crate::place::Place;
use crate::resource::{CONFIG_MAPS, DEPLOYMENTS, SERVICES};
use crate::unmet::{Met, ensure, items, mentions, same, text};

group!("apply", "server-side apply: managers, conflicts, ownership", {
    "apply creates an object and notes who owns which field" => creates,
    "apply without a fieldManager is refused with 400" => no_manager,
    "apply again without a change keeps the resourceVersion" => unchanged,
    "a field dropped from an applied configuration is removed" => dropped,
    "a field that another manager owns is a conflict that names it and the field" => conflict,
    "force takes a field from its owner" => force,
    "two managers that apply the same value share the field" => shared,
    "a field that one of two owners drops stays until the last one drops it" => shared_dropped,
    "a dropped field that an update owns as well stays" => update_keeps,
    "an update of an applied field takes its ownership" => update_takes,
    "two managers apply containers of one list by name" => keyed_list,
    "apply merges ports by port and protocol" => ports,
    "apply of finalizers merges a set" => set,
    "apply with managedFields in the body is refused with 400" => forged_managers,
    "apply with a stale resourceVersion is refused with 409" => stale,
    "apply to status is owned apart from apply to the object" => status,
    "create, update and patch note their manager with operation Update" => update_entries,
    "an applied scale leaves the replicas to who scales" => scale_ownership,
    "apply of YAML is understood" => yaml,
    "a dry run of apply reports the result and keeps nothing" => dry_run,
    "managedFields set to an empty entry are cleared" => cleared,
});

fn map(data: Value) -> Value {
    json!({"metadata": {"name": "a"}, "data": data})
}

/// The entry of `manager` with `operation` among the managed fields.
fn entry<'a>(object: &'a Value, manager: &str, operation: &str) -> &'a Value {
    items(object, "/metadata/managedFields")
        .iter()
        .find(|entry| entry["manager"] == manager && entry["operation"] == operation)
        .unwrap_or(&Value::Null)
}

/// Holds that `manager` owns exactly these keys of `data` by `operation`.
fn owns(object: &Value, manager: &str, operation: &str, keys: &[&str]) -> Met {
    let owned = &entry(object, manager, operation)["fieldsV1"]["f:data"];
    let mut seen: Vec<&str> = owned
        .as_object()
        .map(|keys| keys.keys().filter_map(|key| key.strip_prefix("f:")).collect())
        .unwrap_or_default();
    seen.sort_unstable();
    let expected = format!("{manager} ({operation}) to own {keys:?}");
    ensure(seen == keys, expected, object["metadata"]["managedFields"].to_string())
}

async fn creates(at: &Place) -> Met {
    let answer = at.try_apply(CONFIG_MAPS, "one", map(json!({"k": "v"})), "").await?;
    ensure(answer.status == 201, "201 for a new object", answer.seen())?;
    owns(&answer.json, "one", "Apply", &["k"])?;
    let entry = entry(&answer.json, "one", "Apply");
    same(entry, "/apiVersion", "v1")?;
    same(entry, "/fieldsType", "FieldsV1")?;
    text(entry, "/time")?;
    let again = at.try_apply(CONFIG_MAPS, "one", map(json!({"k": "w"})), "").await?;
    ensure(again.status == 200, "200 for a change", again.seen())
}

async fn no_manager(at: &Place) -> Met {
    let mut object = map(json!({}));
    object["apiVersion"] = "v1".into();
    object["kind"] = "ConfigMap".into();
    let call = at.call(http::Method::PATCH, at.path(CONFIG_MAPS, "a"));
    let answer = call.body("application/apply-patch+yaml", object.to_string()).send().await?;
    ensure([400, 422].contains(&answer.status), "a refusal", answer.seen())?;
    mentions(&answer.json, "/message", "fieldManager")
}

async fn unchanged(at: &Place) -> Met {
    let first = at.apply(CONFIG_MAPS, "one", map(json!({"k": "v"}))).await?;
    let second = at.apply(CONFIG_MAPS, "one", map(json!({"k": "v"}))).await?;
    same(&second, "/metadata/resourceVersion", first["metadata"]["resourceVersion"].clone())
}

async fn dropped(at: &Place) -> Met {
    at.apply(CONFIG_MAPS, "one", map(json!({"keep": "1", "drop": "2"}))).await?;
    let after = at.apply(CONFIG_MAPS, "one", map(json!({"keep": "1"}))).await?;
    same(&after, "/data", json!({"keep": "1"}))?;
    owns(&after, "one", "Apply", &["keep"])
}

async fn conflict(at: &Place) -> Met {
    at.apply(CONFIG_MAPS, "one", map(json!({"k": "1", "free": "x"}))).await?;
    let answer = at.try_apply(CONFIG_MAPS, "two", map(json!({"k": "2"})), "").await?;
    let status = answer.refused(409, "Conflict")?;
    same(&status, "/details/causes/0/reason", "FieldManagerConflict")?;
    same(&status, "/details/causes/0/field", ".data.k")?;
    mentions(&status, "/details/causes/0/message", "conflict with \"one\"")?;
    ensure(items(&status, "/details/causes").len() == 1, "one conflict", &status["details"])?;
    same(&at.get(CONFIG_MAPS, "a").await?, "/data/k", "1")
}

async fn force(at: &Place) -> Met {
    at.apply(CONFIG_MAPS, "one", map(json!({"k": "1", "mine": "x"}))).await?;
    let forced = at.try_apply(CONFIG_MAPS, "two", map(json!({"k": "2"})), "&force=true").await?;
    let object = forced.ok()?;
    same(&object, "/data", json!({"k": "2", "mine": "x"}))?;
    owns(&object, "one", "Apply", &["mine"])?;
    owns(&object, "two", "Apply", &["k"])
}

async fn shared(at: &Place) -> Met {
    at.apply(CONFIG_MAPS, "one", map(json!({"k": "1"}))).await?;
    let object = at.apply(CONFIG_MAPS, "two", map(json!({"k": "1"}))).await?;
    owns(&object, "one", "Apply", &["k"])?;
    owns(&object, "two", "Apply", &["k"])
}

async fn shared_dropped(at: &Place) -> Met {
    shared(at).await?;
    let one_left = at.apply(CONFIG_MAPS, "one", map(json!({"other": "x"}))).await?;
    same(&one_left, "/data", json!({"k": "1", "other": "x"}))?;
    let none_left = at.apply(CONFIG_MAPS, "two", map(json!({"more": "y"}))).await?;
    same(&none_left, "/data", json!({"other": "x", "more": "y"}))
}

async fn update_keeps(at: &Place) -> Met {
    let target = format!("{}?fieldManager=editor", at.collection(CONFIG_MAPS));
    let mut object = map(json!({"k": "1"}));
    object["apiVersion"] = "v1".into();
    object["kind"] = "ConfigMap".into();
    at.call(http::Method::POST, target).json(&object).send().await?.ok()?;
    at.apply(CONFIG_MAPS, "one", map(json!({"k": "1", "mine": "x"}))).await?;
    let after = at.apply(CONFIG_MAPS, "one", map(json!({}))).await?;
    same(&after, "/data", json!({"k": "1"}))
}

async fn update_takes(at: &Place) -> Met {
    at.apply(CONFIG_MAPS, "one", map(json!({"k": "1", "mine": "x"}))).await?;
    let patch = crate::place::Patch::Merge(json!({"data": {"k": "2"}}));
    let after = at.patch(CONFIG_MAPS, "a?fieldManager=editor", patch).await?;
    owns(&after, "editor", "Update", &["k"])?;
    owns(&after, "one", "Apply", &["mine"])?;
    let again = at.try_apply(CONFIG_MAPS, "one", map(json!({"k": "1", "mine": "x"})), "").await?;
    let status = again.refused(409, "Conflict")?;
    mentions(&status, "/details/causes/0/message", "\"editor\"")
}

/// A Deployment's configuration with one container, without replicas.
fn one_container(name: &str, image: &str) -> Value {
    let mut deployment = idle_deployment("a", 0);
    if let Some(spec) = deployment["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    deployment["spec"]["template"]["spec"]["containers"] = json!([{"name": name, "image": image}]);
    deployment
}

async fn keyed_list(at: &Place) -> Met {
    at.apply(DEPLOYMENTS, "one", one_container("main", "a:1")).await?;
    let both = at.apply(DEPLOYMENTS, "two", one_container("side", "b:1")).await?;
    let containers = items(&both, "/spec/template/spec/containers");
    ensure(containers.len() == 2, "two containers", containers.len())?;
    let fields = &entry(&both, "two", "Apply")["fieldsV1"]["f:spec"]["f:template"]["f:spec"];
    let owned = &fields["f:containers"];
    ensure(owned["k:{\"name\":\"side\"}"].is_object(), "an entry by key", owned)?;
    let after = at.apply(DEPLOYMENTS, "one", one_container("new", "c:1")).await?;
    let names: Vec<_> = items(&after, "/spec/template/spec/containers")
        .iter()
        .filter_map(|container| container["name"].as_str())
        .collect();
    let same_set = names.len() == 2 && names.contains(&"side") && names.contains(&"new");
    ensure(same_set, "side and new", format!("{names:?}"))
}

async fn ports(at: &Place) -> Met {
    let service = |ports: Value| json!({"metadata": {"name": "a"}, "spec": {"selector": {"app": "a"}, "ports": ports}});
    at.apply(SERVICES, "one", service(json!([{"name": "x", "port": 80}]))).await?;
    let two = json!([{"name": "y", "port": 80, "protocol": "UDP"}]);
    let both = at.apply(SERVICES, "two", service(two)).await?;
    ensure(items(&both, "/spec/ports").len() == 2, "two ports", &both["spec"]["ports"])?;
    let moved = json!([{"name": "x", "port": 81, "protocol": "TCP"}]);
    let after = at.apply(SERVICES, "one", service(moved)).await?;
    let ports: Vec<_> = items(&after, "/spec/ports").iter().map(|p| p["port"].clone()).collect();
    let right = ports.len() == 2 && ports.contains(&json!(81)) && ports.contains(&json!(80));
    ensure(right, "80 of two and 81 of one", format!("{ports:?}"))
}

async fn set(at: &Place) -> Met {
    let with = |finalizers: Value| json!({"metadata": {"name": "a", "finalizers": finalizers}});
    at.apply(CONFIG_MAPS, "one", with(json!(["example.com/a"]))).await?;
    let both = at.apply(CONFIG_MAPS, "two", with(json!(["example.com/b"]))).await?;
    let count = items(&both, "/metadata/finalizers").len();
    ensure(count == 2, "two finalizers", &both["metadata"]["finalizers"])?;
    let after = at.apply(CONFIG_MAPS, "one", json!({"metadata": {"name": "a"}})).await?;
    same(&after, "/metadata/finalizers", json!(["example.com/b"]))?;
    at.merge(CONFIG_MAPS, "a", json!({"metadata": {"finalizers": null}})).await?;
    Ok(())
}

async fn forged_managers(at: &Place) -> Met {
    let first = at.apply(CONFIG_MAPS, "one", map(json!({"k": "v"}))).await?;
    let mut object = map(json!({"k": "w"}));
    object["metadata"]["managedFields"] = first["metadata"]["managedFields"].clone();
    at.try_apply(CONFIG_MAPS, "one", object, "").await?.refused(400, "BadRequest")?;
    Ok(())
}

async fn stale(at: &Place) -> Met {
    let first = at.apply(CONFIG_MAPS, "one", map(json!({"k": "1"}))).await?;
    at.apply(CONFIG_MAPS, "one", map(json!({"k": "2"}))).await?;
    let mut object = map(json!({"k": "3"}));
    object["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"].clone();
    at.try_apply(CONFIG_MAPS, "one", object, "").await?.refused(409, "Conflict")?;
    Ok(())
}

async fn status(at: &Place) -> Met {
    at.apply(DEPLOYMENTS, "one", one_container("main", "a:1")).await?;
    let condition = json!({
        "type": "example.com/Done", "status": "True", "reason": "Done", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "lastUpdateTime": "2026-01-01T00:00:00Z",
    });
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"paused": true}, "status": {"conditions": [condition]},
    });
    let target = format!("{}?fieldManager=watcher", at.path(DEPLOYMENTS, "a/status"));
    let call = at.call(http::Method::PATCH, target);
    let answer = call.body("application/apply-patch+yaml", object.to_string()).send().await?;
    let after = answer.ok()?;
    same(entry(&after, "watcher", "Apply"), "/subresource", "status")?;
    same(&after, "/spec/paused", Value::Null)?;
    let done = crate::unmet::condition(&after, "example.com/Done");
    same(done, "/status", "True")
}

async fn update_entries(at: &Place) -> Met {
    let made = at.config_map("a", json!({"k": "v"})).await?;
    let managers = items(&made, "/metadata/managedFields");
    ensure(managers.len() == 1, "one entry after a create", managers.len())?;
    same(&managers[0], "/operation", "Update")?;
    let patch = crate::place::Patch::Merge(json!({"data": {"more": "v"}}));
    let after = at.patch(CONFIG_MAPS, "a?fieldManager=editor", patch).await?;
    owns(&after, "editor", "Update", &["more"])
}

async fn scale_ownership(at: &Place) -> Met {
    let mut with_replicas = one_container("main", "a:1");
    with_replicas["spec"]["replicas"] = 0.into();
    at.apply(DEPLOYMENTS, "one", with_replicas.clone()).await?;
    at.merge(DEPLOYMENTS, "a/scale", json!({"spec": {"replicas": 1}})).await?;
    let status = at.try_apply(DEPLOYMENTS, "one", with_replicas, "").await?;
    let status = status.refused(409, "Conflict")?;
    same(&status, "/details/causes/0/field", ".spec.replicas")?;
    let after = at.apply(DEPLOYMENTS, "one", one_container("main", "a:1")).await?;
    same(&after, "/spec/replicas", 1)
}

async fn yaml(at: &Place) -> Met {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: |\n    two\n    lines\n";
    let target = format!("{}?fieldManager=one", at.path(CONFIG_MAPS, "a"));
    let call = at.call(http::Method::PATCH, target).body("application/apply-patch+yaml", text);
    same(&call.send().await?.ok()?, "/data/k", "two\nlines\n")
}

async fn dry_run(at: &Place) -> Met {
    let new = at.try_apply(CONFIG_MAPS, "one", map(json!({"k": "v"})), "&dryRun=All").await?;
    same(&new.ok()?, "/data/k", "v")?;
    at.try_get(CONFIG_MAPS, "a").await?.refused(404, "NotFound")?;
    Ok(())
}

async fn cleared(at: &Place) -> Met {
    at.apply(CONFIG_MAPS, "one", map(json!({"k": "v"}))).await?;
    let after = at.merge(CONFIG_MAPS, "a", json!({"metadata": {"managedFields": [{}]}})).await?;
    let left = items(&after, "/metadata/managedFields").len();
    ensure(left == 0, "no managed fields", &after["metadata"]["managedFields"])
}
