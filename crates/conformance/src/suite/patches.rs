//! Three kinds of patch: JSON, merge and strategic.

use serde_json::{Value, json};

use crate::behaviour::group;
use crate::fixture::{idle_deployment, idle_template, service};
use crate::place::{Patch, Place};
use crate::resource::{CONFIG_MAPS, DEPLOYMENTS, SERVICES};
use crate::unmet::{Met, Unmet, ensure, items, same};

group!("patches", "JSON patch, merge patch, strategic merge patch", {
    "a JSON patch adds, replaces, removes, moves and copies" => json_patch,
    "a JSON patch test that does not hold is refused with 422 and changes nothing" => json_test,
    "a JSON patch test of a missing path against null holds" => json_test_null,
    "kube's finalizer helper can add its finalizer" => finalizer_helper,
    "a JSON patch that is no list of operations is refused with 400" => json_malformed,
    "a JSON patch of a path that is not there is refused with 422" => json_missing,
    "a merge patch removes by null and replaces lists" => merge_patch,
    "a strategic patch merges containers by name" => strategic_containers,
    "a strategic patch merges ports, env and volumes by their keys" => strategic_keys,
    "$patch: delete removes an element of a keyed list" => strategic_delete,
    "$patch: replace replaces a list or a map" => strategic_replace,
    "$setElementOrder gives a keyed list its order" => strategic_order,
    "$deleteFromPrimitiveList removes from a list of plain values" => strategic_primitive,
    "$retainKeys drops the other fields of a union" => strategic_retain,
    "a strategic patch of Service ports merges by port" => strategic_service,
    "an unknown patch type is refused with 415" => unknown_type,
    "a patch that makes an object invalid is refused with 422" => invalid_result,
    "a patch cannot rename an object" => rename,
});

async fn json_patch(at: &Place) -> Met {
    at.config_map("a", json!({"keep": "1", "drop": "2", "from": "3"})).await?;
    let patch = Patch::Json(json!([
        {"op": "test", "path": "/data/keep", "value": "1"},
        {"op": "replace", "path": "/data/keep", "value": "9"},
        {"op": "remove", "path": "/data/drop"},
        {"op": "move", "from": "/data/from", "path": "/data/to"},
        {"op": "copy", "from": "/data/keep", "path": "/data/twin"},
        {"op": "add", "path": "/metadata/labels", "value": {"a/b": "c"}},
        {"op": "replace", "path": "/metadata/labels/a~1b", "value": "d"},
    ]));
    let patched = at.patch(CONFIG_MAPS, "a", patch).await?;
    same(&patched, "/data", json!({"keep": "9", "to": "3", "twin": "9"}))?;
    same(&patched, "/metadata/labels", json!({"a/b": "d"}))
}

async fn json_test(at: &Place) -> Met {
    at.config_map("a", json!({"k": "1"})).await?;
    let patch = Patch::Json(json!([
        {"op": "replace", "path": "/data/k", "value": "2"},
        {"op": "test", "path": "/data/k", "value": "1"},
    ]));
    at.try_patch(CONFIG_MAPS, "a", patch).await?.refused(422, "Invalid")?;
    same(&at.get(CONFIG_MAPS, "a").await?, "/data/k", "1")
}

async fn json_test_null(at: &Place) -> Met {
    at.config_map("a", json!({})).await?;
    let patch = Patch::Json(json!([
        {"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/labels", "value": {"k": "v"}},
    ]));
    same(&at.patch(CONFIG_MAPS, "a", patch).await?, "/metadata/labels/k", "v")
}

async fn finalizer_helper(at: &Place) -> Met {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::controller::Action;
    use kube::runtime::finalizer::{Event, finalizer};

    const NAME: &str = "example.com/conform";
    let api = kube::Api::<ConfigMap>::namespaced(at.wire.client(), &at.namespace);
    at.config_map("a", json!({})).await?;
    let step = async |expected: &'static str| -> Met {
        let object = std::sync::Arc::new(api.get("a").await?);
        let seen = std::sync::Mutex::new("nothing");
        let outcome = finalizer(&api, NAME, object, async |event| {
            let name = if matches!(event, Event::Apply(_)) { "apply" } else { "cleanup" };
            *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = name;
            Ok::<_, std::io::Error>(Action::await_change())
        })
        .await;
        outcome.map_err(|error| Unmet::fail("the finalizer helper to work", error.to_string()))?;
        let seen = seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        ensure(seen == expected, expected, seen)
    };
    step("nothing").await?;
    same(&at.get(CONFIG_MAPS, "a").await?, "/metadata/finalizers", json!([NAME]))?;
    step("apply").await?;
    at.delete(CONFIG_MAPS, "a", json!({})).await?;
    step("cleanup").await?;
    at.until_gone(CONFIG_MAPS, "a").await
}

async fn json_malformed(at: &Place) -> Met {
    at.config_map("a", json!({})).await?;
    let patch = Patch::Json(json!({"op": "add"}));
    at.try_patch(CONFIG_MAPS, "a", patch).await?.refused(400, "BadRequest")?;
    Ok(())
}

async fn json_missing(at: &Place) -> Met {
    at.config_map("a", json!({"k": "v"})).await?;
    for op in [
        json!({"op": "remove", "path": "/data/other"}),
        json!({"op": "move", "from": "/data/other", "path": "/data/k"}),
        json!({"op": "add", "path": "/no/such/parent", "value": "v"}),
    ] {
        let patch = Patch::Json(json!([op]));
        at.try_patch(CONFIG_MAPS, "a", patch).await?.refused(422, "Invalid")?;
    }
    Ok(())
}

async fn merge_patch(at: &Place) -> Met {
    let mut deployment = idle_deployment("a", 0);
    deployment["metadata"]["annotations"] = json!({"one": "1", "two": "2"});
    at.create(DEPLOYMENTS, deployment).await?;
    let change = json!({
        "metadata": {"annotations": {"one": null, "three": "3"}},
        "spec": {"template": {"spec": {"containers": [{"name": "other", "image": "b"}]}}},
    });
    let patched = at.merge(DEPLOYMENTS, "a", change).await?;
    same(&patched, "/metadata/annotations/one", Value::Null)?;
    same(&patched, "/metadata/annotations/two", "2")?;
    same(&patched, "/metadata/annotations/three", "3")?;
    let containers = items(&patched, "/spec/template/spec/containers");
    ensure(containers.len() == 1, "the list replaced", containers.len())?;
    same(&containers[0], "/name", "other")
}

/// A Deployment of two containers, `main` with ports, env and volumes.
async fn two_containers(at: &Place) -> Met {
    let mut deployment = idle_deployment("a", 0);
    deployment["spec"]["template"]["spec"] = json!({
        "schedulerName": "nobody",
        "volumes": [{"name": "one", "emptyDir": {}}, {"name": "two", "emptyDir": {}}],
        "containers": [
            {
                "name": "main", "image": "a:1", "args": ["x", "y"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}],
                "volumeMounts": [{"name": "one", "mountPath": "/one"}],
            },
            {"name": "side", "image": "b:1"},
        ],
    });
    at.create(DEPLOYMENTS, deployment).await.map(|_| ())
}

/// Patches the pod spec of that Deployment strategically, and returns the new pod spec.
async fn strategic(at: &Place, pod_spec: Value) -> Met<Value> {
    let patch = Patch::Strategic(json!({"spec": {"template": {"spec": pod_spec}}}));
    let patched = at.patch(DEPLOYMENTS, "a", patch).await?;
    Ok(patched["spec"]["template"]["spec"].clone())
}

async fn strategic_containers(at: &Place) -> Met {
    two_containers(at).await?;
    let change = json!({"containers": [
        {"name": "side", "image": "b:2"}, {"name": "third", "image": "c:1"},
    ]});
    let spec = strategic(at, change).await?;
    let images: Vec<_> = items(&spec, "/containers")
        .iter()
        .map(|container| (container["name"].clone(), container["image"].clone()))
        .collect();
    ensure(images.len() == 3, "three containers", format!("{images:?}"))?;
    for expected in [("main", "a:1"), ("side", "b:2"), ("third", "c:1")] {
        let found = images.iter().any(|(name, image)| *name == expected.0 && *image == expected.1);
        ensure(found, format!("{expected:?}"), format!("{images:?}"))?;
    }
    Ok(())
}

fn main_container(spec: &Value) -> Value {
    let containers = items(spec, "/containers");
    containers.iter().find(|container| container["name"] == "main").cloned().unwrap_or_default()
}

async fn strategic_keys(at: &Place) -> Met {
    two_containers(at).await?;
    let change = json!({
        "volumes": [{"name": "three", "emptyDir": {}}],
        "containers": [{
            "name": "main", "args": ["z"],
            "env": [{"name": "B", "value": "9"}, {"name": "C", "value": "3"}],
            "ports": [{"containerPort": 80, "name": "web"}],
            "volumeMounts": [{"name": "three", "mountPath": "/three"}],
        }],
    });
    let spec = strategic(at, change).await?;
    let main = main_container(&spec);
    same(&main, "/args", json!(["z"]))?;
    ensure(items(&spec, "/volumes").len() == 3, "three volumes", &spec["volumes"])?;
    ensure(items(&main, "/env").len() == 3, "three variables", &main["env"])?;
    ensure(items(&main, "/volumeMounts").len() == 2, "two mounts", &main["volumeMounts"])?;
    let env = items(&main, "/env").iter().find(|env| env["name"] == "B").cloned();
    ensure(env.is_some_and(|env| env["value"] == "9"), "B = 9", &main["env"])?;
    let ports = items(&main, "/ports");
    ensure(ports.len() == 2, "two ports", &main["ports"])?;
    let http = ports.iter().find(|port| port["containerPort"] == 80).cloned().unwrap_or_default();
    same(&http, "/name", "web")
}

async fn strategic_delete(at: &Place) -> Met {
    two_containers(at).await?;
    let change = json!({"containers": [
        {"name": "side", "$patch": "delete"},
        {"name": "main", "env": [{"name": "A", "$patch": "delete"}]},
    ]});
    let spec = strategic(at, change).await?;
    ensure(items(&spec, "/containers").len() == 1, "one container", &spec["containers"])?;
    let env = &main_container(&spec)["env"];
    ensure(*env == json!([{"name": "B", "value": "2"}]), "B alone", env)
}

async fn strategic_replace(at: &Place) -> Met {
    two_containers(at).await?;
    let change = json!({
        "containers": [{"$patch": "replace"}, {"name": "only", "image": "d:1"}],
        "volumes": [{"$patch": "replace"}],
    });
    let spec = strategic(at, change).await?;
    ensure(items(&spec, "/containers").len() == 1, "one container", &spec["containers"])?;
    same(&spec, "/containers/0/name", "only")?;
    ensure(items(&spec, "/volumes").is_empty(), "no volume", &spec["volumes"])?;
    let labels = Patch::Strategic(json!({
        "metadata": {"labels": {"$patch": "replace", "app": "a", "new": "label"}},
    }));
    let patched = at.patch(DEPLOYMENTS, "a", labels).await?;
    same(&patched, "/metadata/labels", json!({"app": "a", "new": "label"}))
}

async fn strategic_order(at: &Place) -> Met {
    two_containers(at).await?;
    let change = json!({
        "$setElementOrder/containers": [{"name": "third"}, {"name": "side"}, {"name": "main"}],
        "containers": [{"name": "third", "image": "c:1"}],
    });
    let spec = strategic(at, change).await?;
    let order: Vec<_> = items(&spec, "/containers").iter().map(|c| c["name"].clone()).collect();
    ensure(order == ["third", "side", "main"], "third, side, main", format!("{order:?}"))
}

async fn strategic_primitive(at: &Place) -> Met {
    let finalizers = json!(["example.com/a", "example.com/b"]);
    at.create(CONFIG_MAPS, json!({"metadata": {"name": "a", "finalizers": finalizers}})).await?;
    let add = Patch::Strategic(json!({"metadata": {"finalizers": ["example.com/c"]}}));
    let patched = at.patch(CONFIG_MAPS, "a", add).await?;
    let count = items(&patched, "/metadata/finalizers").len();
    ensure(count == 3, "three finalizers: merged", count)?;
    let remove = Patch::Strategic(json!({
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a", "example.com/c"]},
    }));
    let patched = at.patch(CONFIG_MAPS, "a", remove).await?;
    same(&patched, "/metadata/finalizers", json!(["example.com/b"]))?;
    at.merge(CONFIG_MAPS, "a", json!({"metadata": {"finalizers": null}})).await?;
    Ok(())
}

async fn strategic_retain(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    let change = Patch::Strategic(json!({
        "spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
    }));
    let patched = at.patch(DEPLOYMENTS, "a", change).await?;
    same(&patched, "/spec/strategy", json!({"type": "Recreate"}))
}

async fn strategic_service(at: &Place) -> Met {
    at.create(SERVICES, service("a")).await?;
    let change = Patch::Strategic(json!({"spec": {"ports": [
        {"port": 80, "name": "web", "targetPort": 9090},
        {"port": 81, "name": "more"},
    ]}}));
    let patched = at.patch(SERVICES, "a", change).await?;
    let ports = items(&patched, "/spec/ports");
    ensure(ports.len() == 2, "two ports", &patched["spec"]["ports"])?;
    let web = ports.iter().find(|port| port["port"] == 80).cloned().unwrap_or_default();
    same(&web, "/targetPort", 9090)
}

async fn unknown_type(at: &Place) -> Met {
    at.config_map("a", json!({})).await?;
    let call = at.call(http::Method::PATCH, at.path(CONFIG_MAPS, "a"));
    let answer = call.body("application/json", "{}").send().await?;
    answer.refused(415, "UnsupportedMediaType")?;
    Ok(())
}

async fn invalid_result(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    let change = json!({"spec": {"template": idle_template("other")}});
    let answer = at.try_patch(DEPLOYMENTS, "a", Patch::Merge(change)).await?;
    let status = answer.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "spec.template.metadata.labels")
}

async fn rename(at: &Place) -> Met {
    at.config_map("a", json!({})).await?;
    let change = Patch::Merge(json!({"metadata": {"name": "b"}}));
    let answer = at.try_patch(CONFIG_MAPS, "a", change).await?;
    ensure((400..500).contains(&answer.status), "a refusal", answer.seen())
}
