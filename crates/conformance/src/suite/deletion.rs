//! Deletion: finalizers, grace, owners and namespaces.

use http::Method;
use serde_json::{Value, json};

use crate::behaviour::group;
use crate::fixture::{idle_deployment, idle_pod};
use crate::place::{Patch, Place, RUN_LABEL};
use crate::resource::{CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS, SECRETS};
use crate::unmet::{Met, Unmet, ensure, items, same, text};

group!("deletion", "finalizers, grace, garbage collection, namespaces", {
    "a delete answers with what was deleted" => answers,
    "an object with a finalizer stays until the last one is removed" => finalizers,
    "a second delete of an object that waits for its finalizers changes nothing" => twice,
    "an object that is being deleted takes no new finalizer" => no_new_finalizer,
    "a pod on a node is given its grace and keeps a deletion time" => grace,
    "a pod deleted without grace is gone at once" => no_grace,
    "a pod without a node is gone at once" => no_node,
    "background deletion removes dependents after the owner" => background,
    "foreground deletion removes blocking dependents before the owner" => foreground,
    "orphan deletion keeps dependents and removes their reference" => orphan,
    "a dependent of two owners goes with the last one" => two_owners,
    "a dependent of an owner that never was is collected" => absent_owner,
    "a dependent whose owner has another uid is collected" => other_uid,
    "a deleted Deployment takes its ReplicaSet and pods along" => cascade,
    "an unknown propagation policy is refused" => bad_policy,
    "an owner reference without uid is refused with 422" => bad_reference,
    "a deleted namespace takes its content along" => namespace,
    "a namespace in deletion takes nothing new: 403" => terminating,
    "a namespace has a phase, a name label and the finalizer kubernetes" => namespace_fields,
    "the namespace default cannot be deleted" => protected,
});

async fn answers(at: &Place) -> Met {
    let made = at.config_map("a", json!({})).await?;
    let status = at.delete(CONFIG_MAPS, "a", json!({})).await?;
    same(&status, "/kind", "Status")?;
    same(&status, "/status", "Success")?;
    same(&status, "/details/name", "a")?;
    same(&status, "/details/uid", made["metadata"]["uid"].clone())?;
    at.try_get(CONFIG_MAPS, "a").await?.refused(404, "NotFound")?;
    Ok(())
}

async fn with_finalizers(at: &Place, names: &[&str]) -> Met<Value> {
    at.create(CONFIG_MAPS, json!({"metadata": {"name": "a", "finalizers": names}})).await
}

async fn finalizers(at: &Place) -> Met {
    with_finalizers(at, &["example.com/one", "example.com/two"]).await?;
    let answer = at.delete(CONFIG_MAPS, "a", json!({})).await?;
    same(&answer, "/kind", "ConfigMap")?;
    text(&answer, "/metadata/deletionTimestamp")?;
    same(&answer, "/metadata/deletionGracePeriodSeconds", 0)?;
    let still = at.get(CONFIG_MAPS, "a").await?;
    text(&still, "/metadata/deletionTimestamp")?;
    let one = json!({"metadata": {"finalizers": ["example.com/two"]}});
    at.merge(CONFIG_MAPS, "a", one).await?;
    at.get(CONFIG_MAPS, "a").await?;
    at.merge(CONFIG_MAPS, "a", json!({"metadata": {"finalizers": []}})).await?;
    at.try_get(CONFIG_MAPS, "a").await?.refused(404, "NotFound")?;
    Ok(())
}

async fn twice(at: &Place) -> Met {
    with_finalizers(at, &["example.com/one"]).await?;
    let first = at.delete(CONFIG_MAPS, "a", json!({})).await?;
    at.delete(CONFIG_MAPS, "a", json!({})).await?;
    let after = at.get(CONFIG_MAPS, "a").await?;
    let pointer = "/metadata/deletionTimestamp";
    same(&after, pointer, first["metadata"]["deletionTimestamp"].clone())?;
    at.merge(CONFIG_MAPS, "a", json!({"metadata": {"finalizers": null}})).await?;
    at.until_gone(CONFIG_MAPS, "a").await
}

async fn no_new_finalizer(at: &Place) -> Met {
    with_finalizers(at, &["example.com/one"]).await?;
    at.delete(CONFIG_MAPS, "a", json!({})).await?;
    let more = json!({"metadata": {"finalizers": ["example.com/one", "example.com/two"]}});
    let answer = at.try_patch(CONFIG_MAPS, "a", Patch::Merge(more)).await?;
    let status = answer.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "metadata.finalizers")?;
    at.merge(CONFIG_MAPS, "a", json!({"metadata": {"finalizers": null}})).await?;
    Ok(())
}

/// A pod on a node that nobody runs, so nobody ends it.
async fn bound_pod(at: &Place) -> Met {
    let node = at.create(
        crate::resource::NODES,
        json!({"metadata": {
        "name": format!("{}-still", at.namespace), "labels": {RUN_LABEL: at.settings.run}}}),
    );
    let node = node.await?;
    let mut pod = idle_pod("a");
    pod["spec"]["nodeName"] = node["metadata"]["name"].clone();
    pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    at.create(PODS, pod).await.map(|_| ())
}

async fn grace(at: &Place) -> Met {
    bound_pod(at).await?;
    let deleted = at.delete(PODS, "a", json!({})).await?;
    same(&deleted, "/metadata/deletionGracePeriodSeconds", 30)?;
    let until: jiff::Timestamp = text(&deleted, "/metadata/deletionTimestamp")?
        .parse()
        .map_err(|error: jiff::Error| Unmet::fail("a time", error.to_string()))?;
    let ahead = until.as_second() - jiff::Timestamp::now().as_second();
    ensure((15..=45).contains(&ahead), "a deletion time about 30 s ahead", ahead)?;
    let sooner = at.delete(PODS, "a", json!({"gracePeriodSeconds": 3})).await?;
    same(&sooner, "/metadata/deletionGracePeriodSeconds", 3)
}

async fn no_grace(at: &Place) -> Met {
    bound_pod(at).await?;
    at.delete(PODS, "a", json!({"gracePeriodSeconds": 0})).await?;
    at.try_get(PODS, "a").await?.refused(404, "NotFound")?;
    Ok(())
}

async fn no_node(at: &Place) -> Met {
    at.create(PODS, idle_pod("a")).await?;
    at.delete(PODS, "a", json!({})).await?;
    at.try_get(PODS, "a").await?.refused(404, "NotFound")?;
    Ok(())
}

fn owner(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"],
        "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
        "blockOwnerDeletion": true,
    })
}

async fn owned(at: &Place, name: &str, owners: &[Value]) -> Met<Value> {
    at.create(SECRETS, json!({"metadata": {"name": name, "ownerReferences": owners}})).await
}

async fn background(at: &Place) -> Met {
    let of = at.config_map("owner", json!({})).await?;
    owned(at, "a", &[owner(&of)]).await?;
    at.delete(CONFIG_MAPS, "owner", json!({"propagationPolicy": "Background"})).await?;
    at.try_get(CONFIG_MAPS, "owner").await?.refused(404, "NotFound")?;
    at.until_gone(SECRETS, "a").await
}

async fn foreground(at: &Place) -> Met {
    let of = at.config_map("owner", json!({})).await?;
    let meta = json!({"name": "a", "ownerReferences": [owner(&of)],
        "finalizers": ["example.com/hold"]});
    at.create(SECRETS, json!({"metadata": meta})).await?;
    at.delete(CONFIG_MAPS, "owner", json!({"propagationPolicy": "Foreground"})).await?;
    let waiting = at.get(CONFIG_MAPS, "owner").await?;
    same(&waiting, "/metadata/finalizers", json!(["foregroundDeletion"]))?;
    text(&waiting, "/metadata/deletionTimestamp")?;
    at.until(SECRETS, "a", "the dependent to be deleted first", |secret| {
        !secret["metadata"]["deletionTimestamp"].is_null()
    })
    .await?;
    at.get(CONFIG_MAPS, "owner").await?;
    at.merge(SECRETS, "a", json!({"metadata": {"finalizers": null}})).await?;
    at.until_gone(SECRETS, "a").await?;
    at.until_gone(CONFIG_MAPS, "owner").await
}

async fn orphan(at: &Place) -> Met {
    let of = at.config_map("owner", json!({})).await?;
    owned(at, "a", &[owner(&of)]).await?;
    at.delete(CONFIG_MAPS, "owner", json!({"propagationPolicy": "Orphan"})).await?;
    at.until_gone(CONFIG_MAPS, "owner").await?;
    let kept = at
        .until(SECRETS, "a", "no owner reference", |secret| {
            items(secret, "/metadata/ownerReferences").is_empty()
        })
        .await?;
    same(&kept, "/metadata/deletionTimestamp", Value::Null)
}

async fn two_owners(at: &Place) -> Met {
    let one = at.config_map("one", json!({})).await?;
    let two = at.config_map("two", json!({})).await?;
    owned(at, "a", &[owner(&one), owner(&two)]).await?;
    at.delete(CONFIG_MAPS, "one", json!({"propagationPolicy": "Background"})).await?;
    at.until(SECRETS, "a", "one owner left", |secret| {
        items(secret, "/metadata/ownerReferences").len() == 1
    })
    .await?;
    at.delete(CONFIG_MAPS, "two", json!({"propagationPolicy": "Background"})).await?;
    at.until_gone(SECRETS, "a").await
}

async fn absent_owner(at: &Place) -> Met {
    let of = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "never",
        "uid": "00000000-0000-4000-8000-000000000001"});
    owned(at, "a", &[of]).await?;
    at.until_gone(SECRETS, "a").await
}

async fn other_uid(at: &Place) -> Met {
    let mut of = owner(&at.config_map("owner", json!({})).await?);
    of["uid"] = "00000000-0000-4000-8000-000000000002".into();
    owned(at, "a", &[of]).await?;
    at.until_gone(SECRETS, "a").await?;
    at.get(CONFIG_MAPS, "owner").await.map(|_| ())
}

async fn cascade(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 2)).await?;
    at.until_list(PODS, "", "two pods", |pods| pods.len() == 2).await?;
    at.delete(DEPLOYMENTS, "a", json!({})).await?;
    at.until_list(REPLICA_SETS, "", "no ReplicaSet", <[Value]>::is_empty).await?;
    at.until_list(PODS, "", "no pod", <[Value]>::is_empty).await?;
    Ok(())
}

async fn bad_policy(at: &Place) -> Met {
    at.config_map("a", json!({})).await?;
    let answer = at.try_delete(CONFIG_MAPS, "a", json!({"propagationPolicy": "Perhaps"})).await?;
    ensure((400..500).contains(&answer.status), "a refusal", answer.seen())?;
    at.get(CONFIG_MAPS, "a").await.map(|_| ())
}

async fn bad_reference(at: &Place) -> Met {
    let of = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": ""});
    let secret = json!({"metadata": {"name": "a", "ownerReferences": [of]}});
    let status = at.try_create(SECRETS, secret, "").await?.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "metadata.ownerReferences.uid")
}

/// Another namespace of this behaviour's.
async fn second_namespace(at: &Place) -> Met<String> {
    let labels = json!({RUN_LABEL: at.settings.run});
    let object = json!({"metadata": {"generateName": "conform-", "labels": labels}});
    let made = at.create(NAMESPACES, object).await?;
    Ok(text(&made, "/metadata/name")?.to_owned())
}

async fn namespace(at: &Place) -> Met {
    let name = second_namespace(at).await?;
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    let secrets = SECRETS.collection(&name);
    at.call(Method::POST, secrets.clone()).json(&body).send().await?.ok()?;
    let deleted = at.delete(NAMESPACES, &name, json!({})).await?;
    same(&deleted, "/status/phase", "Terminating")?;
    at.until_answer(&secrets, "no secret", |answer| {
        answer.json["items"].as_array().is_some_and(Vec::is_empty)
    })
    .await?;
    at.until_gone(NAMESPACES, &name).await
}

async fn terminating(at: &Place) -> Met {
    let name = second_namespace(at).await?;
    let hold = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "hold", "finalizers": ["example.com/hold"]}});
    let maps = CONFIG_MAPS.collection(&name);
    at.call(Method::POST, maps.clone()).json(&hold).send().await?.ok()?;
    at.delete(NAMESPACES, &name, json!({})).await?;
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}});
    let answer = at.call(Method::POST, maps.clone()).json(&body).send().await?;
    let released = at
        .call(Method::PATCH, format!("{maps}/hold"))
        .body("application/merge-patch+json", json!({"metadata": {"finalizers": null}}).to_string())
        .send()
        .await?;
    let status = answer.refused(403, "Forbidden")?;
    same(&status, "/details/causes/0/reason", "NamespaceTerminating")?;
    released.ok().map(|_| ())
}

async fn namespace_fields(at: &Place) -> Met {
    let own = at.get(NAMESPACES, &at.namespace).await?;
    same(&own, "/status/phase", "Active")?;
    same(&own, "/spec/finalizers", json!(["kubernetes"]))?;
    same(&own, "/metadata/labels/kubernetes.io~1metadata.name", at.namespace.clone())
}

async fn protected(at: &Place) -> Met {
    let target = format!("{}/default?dryRun=All", NAMESPACES.collection(""));
    at.call(Method::DELETE, target).send().await?.refused(403, "Forbidden")?;
    Ok(())
}
