//! Lists: selectors, pages, and the forms that an object can be shown in.

use serde_json::{Value, json};

use crate::behaviour::group;
use crate::fixture::idle_pod;
use crate::place::Place;
use crate::resource::{CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, SECRETS};
use crate::unmet::{Met, ensure, items, names, number, same, text, version};

const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

group!("lists", "label and field selectors, limit and continue, metadata only, tables", {
    "a list is sorted by name, has a kind and a version, and its items have none" => shape,
    "a label selector finds equal, unequal and present labels" => equality,
    "a set-based label selector finds in, notin and absent labels" => sets,
    "a label selector that cannot be read is refused with 400" => bad_selector,
    "a field selector finds by name and namespace" => fields,
    "pods are found by node name and phase" => pod_fields,
    "secrets are found by type" => secret_fields,
    "an unsupported field selector is refused with 400" => unsupported_field,
    "limit and continue give every object once, from one version" => pages,
    "a page says how many objects remain" => remaining,
    "a continue token that cannot be read is refused with 400" => bad_continue,
    "a list at a version of the future is refused with 504 Timeout" => future,
    "resourceVersionMatch without resourceVersion is refused" => match_alone,
    "a list at resourceVersion 0 or NotOlderThan is answered" => not_older,
    "a list over all namespaces holds those of each" => all_namespaces,
    "an object and a list can be read as metadata only" => metadata_only,
    "pods are shown as a table with the columns people know" => pod_table,
    "a table holds metadata, whole objects or none, as asked" => table_objects,
    "a Deployment's table has READY, UP-TO-DATE, AVAILABLE and AGE" => deployment_table,
    "a form that nobody has is refused with 406" => not_acceptable,
    "deletecollection removes what a selector finds" => delete_collection,
});

async fn labelled(at: &Place, name: &str, labels: Value) -> Met<Value> {
    at.create(CONFIG_MAPS, json!({"metadata": {"name": name, "labels": labels}})).await
}

async fn three(at: &Place) -> Met {
    labelled(at, "a", json!({"tier": "web", "env": "prod"})).await?;
    labelled(at, "b", json!({"tier": "db", "env": "prod"})).await?;
    labelled(at, "c", json!({"env": "test"})).await?;
    Ok(())
}

/// Holds that `query` finds these names, apart from what the cluster puts into each namespace.
async fn finds(at: &Place, query: &str, expected: &[&str]) -> Met {
    let list = at.list(CONFIG_MAPS, query).await?;
    let mut found = names(&list);
    found.retain(|name| name != "kube-root-ca.crt");
    ensure(found == expected, format!("{query} to find {expected:?}"), format!("{found:?}"))
}

async fn shape(at: &Place) -> Met {
    for name in ["c", "a", "b"] {
        at.config_map(name, json!({})).await?;
    }
    finds(at, "", &["a", "b", "c"]).await?;
    let list = at.list(CONFIG_MAPS, "").await?;
    same(&list, "/kind", "ConfigMapList")?;
    same(&list, "/apiVersion", "v1")?;
    version(&list)?;
    let item = &items(&list, "/items")[0];
    same(item, "/kind", Value::Null)?;
    let none = at.list(SECRETS, "").await?;
    same(&none, "/items", json!([]))
}

async fn equality(at: &Place) -> Met {
    three(at).await?;
    finds(at, "?labelSelector=env%3Dprod", &["a", "b"]).await?;
    finds(at, "?labelSelector=env%3D%3Dprod%2Ctier%3Dweb", &["a"]).await?;
    finds(at, "?labelSelector=env%2Ctier%21%3Dweb", &["b", "c"]).await?;
    finds(at, "?labelSelector=tier", &["a", "b"]).await
}

async fn sets(at: &Place) -> Met {
    three(at).await?;
    finds(at, "?labelSelector=tier%20in%20%28web%2C%20db%29", &["a", "b"]).await?;
    finds(at, "?labelSelector=env%2Ctier%20notin%20%28web%29", &["b", "c"]).await?;
    finds(at, "?labelSelector=env%2C%21tier", &["c"]).await
}

async fn bad_selector(at: &Place) -> Met {
    for selector in ["env%20in%20web", "%3Dprod", "a%3D%3D%3Db", "env%20in%20%28"] {
        let target = format!("{}?labelSelector={selector}", at.collection(CONFIG_MAPS));
        at.ask(target).await?.refused(400, "BadRequest")?;
    }
    Ok(())
}

async fn fields(at: &Place) -> Met {
    three(at).await?;
    finds(at, "?fieldSelector=metadata.name%3Db", &["b"]).await?;
    finds(at, "?fieldSelector=metadata.name%21%3Db%2Cmetadata.name%21%3Da", &["c"]).await?;
    let all = format!(
        "/api/v1/configmaps?fieldSelector=metadata.namespace%3D{}%2Cmetadata.name%3Dc",
        at.namespace
    );
    let list = at.ask(all).await?.ok()?;
    ensure(names(&list) == ["c"], "one object by namespace and name", list)
}

async fn pod_fields(at: &Place) -> Met {
    at.create(PODS, idle_pod("a")).await?;
    let mut bound = idle_pod("b");
    bound["spec"]["nodeName"] = "conform-nowhere".into();
    at.create(PODS, bound).await?;
    let found = at.list(PODS, "?fieldSelector=spec.nodeName%3Dconform-nowhere").await?;
    ensure(names(&found) == ["b"], "the pod on that node", format!("{:?}", names(&found)))?;
    let found = at.list(PODS, "?fieldSelector=spec.nodeName%3D").await?;
    ensure(names(&found) == ["a"], "the pod on no node", format!("{:?}", names(&found)))?;
    let found = at.list(PODS, "?fieldSelector=status.phase%3DPending").await?;
    ensure(names(&found).contains(&"a".into()), "pending pods", format!("{:?}", names(&found)))?;
    let found = at.list(PODS, "?fieldSelector=status.phase%21%3DPending").await?;
    ensure(!names(&found).contains(&"a".into()), "no pending pod", format!("{:?}", names(&found)))
}

async fn secret_fields(at: &Place) -> Met {
    at.create(SECRETS, json!({"metadata": {"name": "a"}})).await?;
    at.create(SECRETS, json!({"metadata": {"name": "b"}, "type": "example.com/key"})).await?;
    let found = at.list(SECRETS, "?fieldSelector=type%3Dexample.com/key").await?;
    ensure(names(&found) == ["b"], "the secret of that type", format!("{:?}", names(&found)))
}

async fn unsupported_field(at: &Place) -> Met {
    for (of, field) in [(CONFIG_MAPS, "data.k"), (PODS, "spec.image"), (DEPLOYMENTS, "spec.a")] {
        let target = format!("{}?fieldSelector={field}%3Dv", at.collection(of));
        let status = at.ask(target).await?.refused(400, "BadRequest")?;
        let message = text(&status, "/message")?;
        let says = ["field label not supported", "not a known field selector"];
        ensure(says.iter().any(|part| message.contains(part)), "the reason", message)?;
    }
    Ok(())
}

/// The labels keep out what the cluster itself puts into each namespace.
async fn seven(at: &Place) -> Met {
    for number in 0..7 {
        labelled(at, &format!("n{number}"), json!({"of": "seven"})).await?;
    }
    Ok(())
}

async fn pages(at: &Place) -> Met {
    seven(at).await?;
    let (mut found, mut token, mut first) = (Vec::new(), String::new(), None);
    loop {
        let query = format!("?labelSelector=of%3Dseven&limit=3&continue={token}");
        let page = at.list(CONFIG_MAPS, &query).await?;
        ensure(names(&page).len() <= 3, "at most 3 a page", names(&page).len())?;
        found.extend(names(&page));
        let at_version = version(&page)?;
        let expected = *first.get_or_insert(at_version);
        ensure(at_version == expected, format!("pages of version {expected}"), at_version)?;
        if found.len() == 3 {
            // Written between two pages, and so in none of them.
            labelled(at, "n9", json!({"of": "seven"})).await?;
        }
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => break,
        }
    }
    let expected: Vec<String> = (0..7).map(|number| format!("n{number}")).collect();
    ensure(found == expected, "each of the seven once", format!("{found:?}"))
}

async fn remaining(at: &Place) -> Met {
    for number in 0..5 {
        at.create(SECRETS, json!({"metadata": {"name": format!("n{number}")}})).await?;
    }
    let page = at.list(SECRETS, "?limit=2").await?;
    let left = number(&page, "/metadata/remainingItemCount")?;
    ensure(left == 3, "remainingItemCount = 3", left)?;
    let all = at.list(SECRETS, "?limit=5").await?;
    same(&all, "/metadata/continue", Value::Null)?;
    same(&all, "/metadata/remainingItemCount", Value::Null)
}

async fn bad_continue(at: &Place) -> Met {
    let target = format!("{}?limit=2&continue=bm90LWEtdG9rZW4", at.collection(CONFIG_MAPS));
    at.ask(target).await?.refused(400, "BadRequest")?;
    Ok(())
}

async fn future(at: &Place) -> Met {
    let now = version(&at.list(CONFIG_MAPS, "").await?)?;
    let target = format!("{}?resourceVersion={}", at.collection(CONFIG_MAPS), now + 1_000_000);
    let status = at.ask(target).await?.refused(504, "Timeout")?;
    same(&status, "/details/causes/0/reason", "ResourceVersionTooLarge")?;
    text(&status, "/message").and_then(|message| {
        ensure(message.contains("Too large resource version"), "the reason", message)
    })
}

async fn match_alone(at: &Place) -> Met {
    let target = format!("{}?resourceVersionMatch=Exact", at.collection(CONFIG_MAPS));
    let answer = at.ask(target).await?;
    ensure((400..500).contains(&answer.status), "a refusal", answer.seen())
}

async fn not_older(at: &Place) -> Met {
    let made = at.config_map("a", json!({})).await?;
    at.list(CONFIG_MAPS, "?resourceVersion=0").await?;
    let query = format!("?resourceVersion={}&resourceVersionMatch=NotOlderThan", version(&made)?);
    finds(at, &query, &["a"]).await
}

async fn all_namespaces(at: &Place) -> Met {
    at.create(SECRETS, json!({"metadata": {"name": "a", "labels": {"in": at.namespace}}})).await?;
    let target = format!("/api/v1/secrets?labelSelector=in%3D{}", at.namespace);
    let list = at.ask(target).await?.ok()?;
    ensure(names(&list) == ["a"], "the secret of this namespace", &list)?;
    same(&list, "/items/0/metadata/namespace", at.namespace.clone())
}

async fn metadata_only(at: &Place) -> Met {
    labelled(at, "a", json!({"tier": "web"})).await?;
    let call = at.call(http::Method::GET, at.collection(CONFIG_MAPS)).accept(METADATA_LIST);
    let list = call.send().await?.ok()?;
    same(&list, "/kind", "PartialObjectMetadataList")?;
    same(&list, "/apiVersion", "meta.k8s.io/v1")?;
    version(&list)?;
    let call = at.call(http::Method::GET, at.path(CONFIG_MAPS, "a")).accept(METADATA);
    let one = call.send().await?.ok()?;
    same(&one, "/kind", "PartialObjectMetadata")?;
    same(&one, "/metadata/labels", json!({"tier": "web"}))?;
    same(&one, "/data", Value::Null)
}

async fn table_of(at: &Place, target: String) -> Met<Value> {
    let table = at.call(http::Method::GET, target).accept(TABLE).send().await?.ok()?;
    same(&table, "/kind", "Table")?;
    Ok(table)
}

/// The names of columns that are always shown.
fn columns(table: &Value) -> Vec<&str> {
    items(table, "/columnDefinitions")
        .iter()
        .filter(|column| column["priority"] == 0)
        .filter_map(|column| column["name"].as_str())
        .collect()
}

async fn pod_table(at: &Place) -> Met {
    at.create(PODS, idle_pod("a")).await?;
    let table = table_of(at, at.collection(PODS)).await?;
    let shown = columns(&table);
    let expected = ["Name", "Ready", "Status", "Restarts", "Age"];
    ensure(shown == expected, format!("columns {expected:?}"), format!("{shown:?}"))?;
    let wide: Vec<_> = items(&table, "/columnDefinitions").iter().map(|c| &c["name"]).collect();
    for name in ["IP", "Node", "Nominated Node", "Readiness Gates"] {
        ensure(wide.iter().any(|column| *column == name), format!("a column {name}"), "none")?;
    }
    let cells = &table["rows"][0]["cells"];
    same(cells, "/0", "a")?;
    same(cells, "/1", "0/1")?;
    same(cells, "/2", "Pending")?;
    let one = table_of(at, at.path(PODS, "a")).await?;
    ensure(items(&one, "/rows").len() == 1, "one row for one object", &one["rows"])
}

async fn table_objects(at: &Place) -> Met {
    at.config_map("a", json!({"k": "v"})).await?;
    let own = format!("{}?fieldSelector=metadata.name%3Da", at.collection(CONFIG_MAPS));
    let table = table_of(at, own.clone()).await?;
    same(&table, "/rows/0/object/kind", "PartialObjectMetadata")?;
    same(&table, "/rows/0/object/metadata/name", "a")?;
    let whole = table_of(at, format!("{own}&includeObject=Object")).await?;
    same(&whole, "/rows/0/object/data", json!({"k": "v"}))?;
    let none = table_of(at, format!("{own}&includeObject=None")).await?;
    same(&none, "/rows/0/object", Value::Null)
}

async fn deployment_table(at: &Place) -> Met {
    at.create(DEPLOYMENTS, crate::fixture::idle_deployment("a", 0)).await?;
    let table = table_of(at, at.collection(DEPLOYMENTS)).await?;
    let shown = columns(&table);
    let expected = ["Name", "Ready", "Up-to-date", "Available", "Age"];
    ensure(shown == expected, format!("columns {expected:?}"), format!("{shown:?}"))?;
    same(&table, "/rows/0/cells/1", "0/0")?;
    let spaces = table_of(at, NAMESPACES.collection("")).await?;
    let shown = columns(&spaces);
    ensure(shown == ["Name", "Status", "Age"], "a Namespace's columns", format!("{shown:?}"))
}

async fn not_acceptable(at: &Place) -> Met {
    let call = at.call(http::Method::GET, at.collection(CONFIG_MAPS)).accept("text/csv");
    call.send().await?.refused(406, "NotAcceptable")?;
    Ok(())
}

async fn delete_collection(at: &Place) -> Met {
    three(at).await?;
    let target = format!("{}?labelSelector=env%3Dprod", at.collection(CONFIG_MAPS));
    at.call(http::Method::DELETE, target).send().await?.ok()?;
    finds(at, "", &["c"]).await
}
