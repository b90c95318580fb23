//! Names, versions and generations: what every object has, whatever its kind.

use serde_json::{Value, json};

use crate::behaviour::group;
use crate::fixture::{idle_deployment, idle_pod};
use crate::place::{Patch, Place};
use crate::resource::{CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS};
use crate::unmet::{Met, ensure, items, mentions, same, text, version};

group!("versions", "names, uids, resourceVersion and generation", {
    "a created object has a uid, a creation time and a version" => system_fields,
    "each write raises the resourceVersion" => versions_rise,
    "a write that changes nothing keeps the resourceVersion" => no_change,
    "a stale replace is refused with 409" => stale_replace,
    "a replace without a resourceVersion is unconditional" => unconditional_replace,
    "a merge patch with a stale resourceVersion is refused with 409" => stale_patch,
    "a create with a resourceVersion is refused" => create_with_version,
    "a second create of a name is refused with 409 AlreadyExists" => already_exists,
    "a missing object is a 404 Status that names it" => not_found,
    "an object in a missing namespace is a 404" => missing_namespace,
    "generateName appends five characters" => generate_name,
    "a create without any name is refused with 422" => no_name,
    "a name that is no DNS name is refused with 422 and its field" => bad_name,
    "a body that names another object than the path is refused with 400" => other_name,
    "a body that names another namespace than the path is refused with 400" => other_namespace,
    "a replace with another uid is refused with 409" => other_uid,
    "a delete with a stale precondition is refused with 409" => preconditions,
    "generation rises with the spec and not with labels or status" => generation,
    "a client cannot set uid, creationTimestamp or generation" => forged_fields,
    "labels and annotations are checked with 422" => bad_labels,
    "unknown paths and verbs are 404 and 405" => unknown_paths,
});

async fn system_fields(at: &Place) -> Met {
    let made = at.config_map("a", json!({"k": "v"})).await?;
    text(&made, "/metadata/uid")?;
    version(&made)?;
    let created = text(&made, "/metadata/creationTimestamp")?;
    ensure(created.parse::<jiff::Timestamp>().is_ok(), "an RFC 3339 creationTimestamp", created)?;
    ensure(!created.contains('.'), "a creationTimestamp of whole seconds", created)?;
    same(&made, "/metadata/namespace", at.namespace.clone())?;
    same(&made, "/kind", "ConfigMap")?;
    same(&at.get(CONFIG_MAPS, "a").await?, "", made)
}

async fn versions_rise(at: &Place) -> Met {
    let mut last = version(&at.config_map("a", json!({})).await?)?;
    for turn in 0..5 {
        let changed =
            at.merge(CONFIG_MAPS, "a", json!({"data": {"turn": turn.to_string()}})).await?;
        let now = version(&changed)?;
        ensure(now > last, format!("a version above {last}"), now)?;
        last = now;
    }
    let other = version(&at.config_map("b", json!({})).await?)?;
    ensure(other > last, format!("one sequence for all objects: above {last}"), other)?;
    let list = version(&at.list(CONFIG_MAPS, "").await?)?;
    ensure(list >= other, format!("a list at least as new as {other}"), list)
}

async fn no_change(at: &Place) -> Met {
    let made = at.config_map("a", json!({"k": "v"})).await?;
    let patched = at.merge(CONFIG_MAPS, "a", json!({"data": {"k": "v"}})).await?;
    same(&patched, "/metadata/resourceVersion", made["metadata"]["resourceVersion"].clone())?;
    let replaced = at.replace(CONFIG_MAPS, &made).await?;
    same(&replaced, "/metadata/resourceVersion", made["metadata"]["resourceVersion"].clone())
}

async fn stale_replace(at: &Place) -> Met {
    let mut made = at.config_map("a", json!({"k": "1"})).await?;
    at.merge(CONFIG_MAPS, "a", json!({"data": {"k": "2"}})).await?;
    made["data"]["k"] = "3".into();
    let status = at.try_replace(CONFIG_MAPS, &made, "").await?.refused(409, "Conflict")?;
    same(&status, "/details/name", "a")?;
    same(&status, "/details/kind", "configmaps")?;
    same(&at.get(CONFIG_MAPS, "a").await?, "/data/k", "2")
}

async fn unconditional_replace(at: &Place) -> Met {
    at.config_map("a", json!({"k": "1"})).await?;
    at.merge(CONFIG_MAPS, "a", json!({"data": {"k": "2"}})).await?;
    let replaced =
        at.replace(CONFIG_MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "3"}})).await?;
    same(&replaced, "/data", json!({"k": "3"}))
}

async fn stale_patch(at: &Place) -> Met {
    let made = at.config_map("a", json!({"k": "1"})).await?;
    at.merge(CONFIG_MAPS, "a", json!({"data": {"k": "2"}})).await?;
    let stale = json!({
        "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"k": "3"},
    });
    at.try_patch(CONFIG_MAPS, "a", Patch::Merge(stale)).await?.refused(409, "Conflict")?;
    Ok(())
}

async fn create_with_version(at: &Place) -> Met {
    let object = json!({"metadata": {"name": "a", "resourceVersion": "1"}});
    let answer = at.try_create(CONFIG_MAPS, object, "").await?;
    // Kubernetes answers 500 here, which nobody should copy: any refusal that gives the reason will do.
    ensure(answer.status >= 400, "a refusal", answer.seen())?;
    mentions(&answer.json, "/message", "resourceVersion should not be set on objects to be created")
}

async fn already_exists(at: &Place) -> Met {
    at.config_map("a", json!({})).await?;
    let again = at.try_create(CONFIG_MAPS, json!({"metadata": {"name": "a"}}), "").await?;
    let status = again.refused(409, "AlreadyExists")?;
    same(&status, "/message", "configmaps \"a\" already exists")?;
    same(&status, "/details", json!({"name": "a", "kind": "configmaps"}))
}

async fn not_found(at: &Place) -> Met {
    let status = at.try_get(DEPLOYMENTS, "a").await?.refused(404, "NotFound")?;
    same(&status, "/message", "deployments.apps \"a\" not found")?;
    same(&status, "/details", json!({"name": "a", "group": "apps", "kind": "deployments"}))?;
    at.try_delete(CONFIG_MAPS, "a", json!({})).await?.refused(404, "NotFound")?;
    let patch = Patch::Merge(json!({"data": {"k": "v"}}));
    at.try_patch(CONFIG_MAPS, "a", patch).await?.refused(404, "NotFound")?;
    let replace = json!({"metadata": {"name": "a"}});
    at.try_replace(CONFIG_MAPS, &replace, "").await?.refused(404, "NotFound")?;
    Ok(())
}

async fn missing_namespace(at: &Place) -> Met {
    let target = CONFIG_MAPS.collection("conform-is-not-there");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let answer = at.call(http::Method::POST, target.clone()).json(&body).send().await?;
    let status = answer.refused(404, "NotFound")?;
    same(&status, "/message", "namespaces \"conform-is-not-there\" not found")?;
    let list = at.ask(target).await?.ok()?;
    ensure(items(&list, "/items").is_empty(), "an empty list of a missing namespace", list)
}

async fn generate_name(at: &Place) -> Met {
    let object = json!({"metadata": {"generateName": "made-"}});
    let first = at.create(CONFIG_MAPS, object.clone()).await?;
    let second = at.create(CONFIG_MAPS, object).await?;
    let names = [text(&first, "/metadata/name")?, text(&second, "/metadata/name")?];
    for name in names {
        let tail = name.strip_prefix("made-").unwrap_or_default();
        let fits = tail.len() == 5 && tail.chars().all(|c| c.is_ascii_alphanumeric());
        ensure(fits, "made- and five characters", name)?;
    }
    same(&first, "/metadata/generateName", "made-")?;
    ensure(names[0] != names[1], "two names", names[0])
}

async fn no_name(at: &Place) -> Met {
    let answer = at.try_create(CONFIG_MAPS, json!({"metadata": {}}), "").await?;
    let status = answer.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "metadata.name")?;
    same(&status, "/details/causes/0/reason", "FieldValueRequired")
}

async fn bad_name(at: &Place) -> Met {
    let answer =
        at.try_create(CONFIG_MAPS, json!({"metadata": {"name": "Not_A_Name"}}), "").await?;
    let status = answer.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "metadata.name")?;
    same(&status, "/details/causes/0/reason", "FieldValueInvalid")
}

async fn other_name(at: &Place) -> Met {
    at.config_map("a", json!({})).await?;
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}});
    let call = at.call(http::Method::PUT, at.path(CONFIG_MAPS, "a")).json(&body);
    call.send().await?.refused(400, "BadRequest")?;
    Ok(())
}

async fn other_namespace(at: &Place) -> Met {
    let object = json!({"metadata": {"name": "a", "namespace": "default"}});
    at.try_create(CONFIG_MAPS, object, "").await?.refused(400, "BadRequest")?;
    Ok(())
}

async fn other_uid(at: &Place) -> Met {
    let mut made = at.config_map("a", json!({"k": "1"})).await?;
    made["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000".into();
    made["data"]["k"] = "2".into();
    at.try_replace(CONFIG_MAPS, &made, "").await?.refused(409, "Conflict")?;
    Ok(())
}

async fn preconditions(at: &Place) -> Met {
    let made = at.config_map("a", json!({"k": "1"})).await?;
    at.merge(CONFIG_MAPS, "a", json!({"data": {"k": "2"}})).await?;
    let stale = json!({"preconditions": {"resourceVersion": made["metadata"]["resourceVersion"]}});
    at.try_delete(CONFIG_MAPS, "a", stale).await?.refused(409, "Conflict")?;
    let other = json!({"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}});
    at.try_delete(CONFIG_MAPS, "a", other).await?.refused(409, "Conflict")?;
    let own = json!({"preconditions": {"uid": made["metadata"]["uid"]}});
    at.delete(CONFIG_MAPS, "a", own).await?;
    at.until_gone(CONFIG_MAPS, "a").await
}

async fn generation(at: &Place) -> Met {
    let made = at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    same(&made, "/metadata/generation", 1)?;
    at.until(DEPLOYMENTS, "a", "status.observedGeneration = 1", |deployment| {
        deployment["status"]["observedGeneration"] == 1
    })
    .await?;
    let labelled = json!({"metadata": {"labels": {"new": "label"}}});
    same(&at.merge(DEPLOYMENTS, "a", labelled).await?, "/metadata/generation", 1)?;
    let changed = at.merge(DEPLOYMENTS, "a", json!({"spec": {"minReadySeconds": 3}})).await?;
    same(&changed, "/metadata/generation", 2)?;
    let status = json!({"status": {"collisionCount": 4}});
    let after = at.merge(DEPLOYMENTS, "a/status", status).await?;
    same(&after, "/metadata/generation", 2)
}

async fn forged_fields(at: &Place) -> Met {
    let forged = "00000000-0000-4000-8000-000000000000";
    let mut object = idle_deployment("a", 0);
    object["metadata"]["uid"] = forged.into();
    object["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    object["metadata"]["generation"] = 9.into();
    let made = at.create(DEPLOYMENTS, object).await?;
    ensure(made["metadata"]["uid"] != forged, "a uid of the server's", &made["metadata"]["uid"])?;
    let created = &made["metadata"]["creationTimestamp"];
    ensure(created != "2001-01-01T00:00:00Z", "a time of the server's", created)?;
    same(&made, "/metadata/generation", 1)
}

async fn bad_labels(at: &Place) -> Met {
    let label = json!({"metadata": {"name": "a", "labels": {"app": "not a label"}}});
    let status = at.try_create(CONFIG_MAPS, label, "").await?.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "metadata.labels")?;
    let key = json!({"metadata": {"name": "a", "annotations": {"-bad-/key": "v"}}});
    at.try_create(CONFIG_MAPS, key, "").await?.refused(422, "Invalid")?;
    Ok(())
}

async fn unknown_paths(at: &Place) -> Met {
    let missing = format!("/api/v1/namespaces/{}/nothings", at.namespace);
    ensure_status(at.ask(missing).await?.status, 404)?;
    ensure_status(at.ask("/apis/nobody.example/v1").await?.status, 404)?;
    ensure_status(at.ask("/apis/apps/v9/deployments").await?.status, 404)?;
    let post = at.call(http::Method::POST, at.path(PODS, "a")).json(&typed_pod());
    post.send().await?.refused(405, "MethodNotAllowed")?;
    let path = format!("{}/default", NAMESPACES.collection(""));
    let answer = at.call(http::Method::POST, path).json(&json!({})).send().await?;
    ensure_status(answer.status, 405)
}

fn typed_pod() -> Value {
    let mut pod = idle_pod("a");
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod
}

fn ensure_status(seen: u16, expected: u16) -> Met {
    ensure(seen == expected, expected.to_string(), seen)
}
