//! Service accounts: what admission gives a pod of one, and what its programs can do with that.

use http::Method;
use serde_json::{Value, json};

use crate::behaviour::group;
use crate::connect;
use crate::fixture::{container, idle_deployment, idle_pod};
use crate::live::{self, ended, log, needed, pod};
use crate::place::Place;
use crate::resource::{CONFIG_MAPS, DEPLOYMENTS, EVENTS, PODS, SERVICE_ACCOUNTS};
use crate::unmet::{Met, Unmet, ensure, items, mentions, same, text};
use crate::wire::Wire;

group!("accounts", "service accounts: the token, authority and namespace that a pod gets", {
    "a pod that names no account gets default, in a namespace's first moment too" => default_account,
    "a pod gets token, authority and namespace of its account as one projected volume" => volume,
    "every container mounts that volume, but where it mounts something of its own" => mounts,
    "a pod or its account may do without the volume, and the pod decides" => opt_out,
    "a pod of an account that is not there is forbidden" => missing,
    "a Deployment whose account comes late gets its pods" => late,
    "a pod takes the image pull secrets of its account, unless it has its own" => pull_secrets,
    "a running pod finds its namespace, the authority and a token that the API knows" => files,
});

/// Where clients that run in a cluster look.
const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the volume's name begins.
const VOLUME: &str = "kube-api-access-";

async fn account(at: &Place, name: &str, more: Value) -> Met<Value> {
    let mut account = more;
    account["metadata"] = json!({"name": name});
    at.create(SERVICE_ACCOUNTS, account).await
}

/// A pod with `more` in its spec.
async fn made(at: &Place, name: &str, more: Value) -> Met<Value> {
    let mut pod = idle_pod(name);
    for (field, value) in more.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    at.create(PODS, pod).await
}

/// The pod's volume of its account, if there is one.
fn access(pod: &Value) -> Option<&Value> {
    let named = |volume: &&Value| volume["name"].as_str().is_some_and(|n| n.starts_with(VOLUME));
    items(pod, "/spec/volumes").iter().find(named)
}

async fn default_account(at: &Place) -> Met {
    // The namespace was made a moment ago.
    let pod = made(at, "a", json!({})).await?;
    same(&pod, "/spec/serviceAccountName", "default")?;
    same(&pod, "/spec/serviceAccount", "default")?;
    at.until(SERVICE_ACCOUNTS, "default", "the account", |_| true).await.map(|_| ())
}

async fn volume(at: &Place) -> Met {
    let pod = made(at, "a", json!({})).await?;
    let volume = access(&pod).ok_or_else(|| Unmet::fail(VOLUME, pod["spec"].to_string()))?;
    let field = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
    let authority = json!([{"key": "ca.crt", "path": "ca.crt"}]);
    same(
        volume,
        "/projected",
        json!({"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": authority}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
        ]}),
    )
}

async fn mounts(at: &Place) -> Met {
    let mut own = container();
    own["name"] = "own".into();
    own["volumeMounts"] = json!([{"name": "mine", "mountPath": PATH}]);
    let mut first = container();
    first["name"] = "first".into();
    let spec = json!({
        "volumes": [{"name": "mine", "emptyDir": {}}],
        "initContainers": [first], "containers": [container(), own],
    });
    let pod = made(at, "a", spec).await?;
    let volume = access(&pod).ok_or_else(|| Unmet::fail(VOLUME, pod["spec"].to_string()))?;
    let mount = json!([{"name": volume["name"], "mountPath": PATH, "readOnly": true}]);
    same(&pod, "/spec/initContainers/0/volumeMounts", mount.clone())?;
    same(&pod, "/spec/containers/0/volumeMounts", mount)?;
    let kept = json!([{"name": "mine", "mountPath": PATH}]);
    same(&pod, "/spec/containers/1/volumeMounts", kept)
}

async fn opt_out(at: &Place) -> Met {
    account(at, "quiet", json!({"automountServiceAccountToken": false})).await?;
    account(at, "open", json!({})).await?;
    for (name, of, asked, expected) in [
        ("a", "quiet", Value::Null, false),
        ("b", "quiet", json!(true), true),
        ("c", "open", json!(false), false),
        ("d", "open", Value::Null, true),
    ] {
        let mut spec = json!({"serviceAccountName": of});
        if !asked.is_null() {
            spec["automountServiceAccountToken"] = asked;
        }
        let pod = made(at, name, spec).await?;
        same(&pod, "/spec/serviceAccountName", of)?;
        let seen = access(&pod).is_some();
        ensure(seen == expected, format!("pod {name}: a volume = {expected}"), seen)?;
    }
    Ok(())
}

async fn missing(at: &Place) -> Met {
    let mut pod = idle_pod("a");
    pod["spec"]["serviceAccountName"] = "ghost".into();
    let status = at.try_create(PODS, pod, "").await?.refused(403, "Forbidden")?;
    let within = &at.namespace;
    let why = format!(
        "pods \"a\" is forbidden: error looking up service account {within}/ghost: serviceaccount \"ghost\" not found"
    );
    same(&status, "/message", why)
}

async fn late(at: &Place) -> Met {
    let mut deployment = idle_deployment("a", 1);
    deployment["spec"]["template"]["spec"]["serviceAccountName"] = "late".into();
    at.create(DEPLOYMENTS, deployment).await?;
    let refused = |event: &Value| event["reason"] == "FailedCreate";
    let events =
        at.until_list(EVENTS, "", "an event FailedCreate", |all| all.iter().any(refused)).await?;
    let event = events.iter().find(|event| refused(event)).unwrap_or(&Value::Null);
    mentions(event, "/message", "serviceaccount \"late\" not found")?;
    account(at, "late", json!({})).await?;
    at.until_list(PODS, "", "a pod", |pods| pods.len() == 1).await.map(|_| ())
}

async fn pull_secrets(at: &Place) -> Met {
    account(at, "robot", json!({"imagePullSecrets": [{"name": "of-account"}]})).await?;
    let pod = made(at, "a", json!({"serviceAccountName": "robot"})).await?;
    same(&pod, "/spec/imagePullSecrets", json!([{"name": "of-account"}]))?;
    let own = json!([{"name": "own"}]);
    let asked = json!({"serviceAccountName": "robot", "imagePullSecrets": own});
    same(&made(at, "b", asked).await?, "/spec/imagePullSecrets", own)
}

async fn files(at: &Place) -> Met {
    needed(at)?;
    let names = ["namespace", "ca.crt", "token"].map(|name| format!("{PATH}/{name}"));
    let [namespace, authority, token] = &names;
    let main = live::container(at, &["cat", namespace, authority, token]);
    ended(at, pod("a", main, json!({"restartPolicy": "Never"})), "Succeeded").await?;
    let seen = log(at, "a").await?;
    let map = at.get(CONFIG_MAPS, "kube-root-ca.crt").await?;
    let known = format!("{}{}", at.namespace, text(&map, "/data/ca.crt")?);
    // What is beside them is a secret, so no report shows it.
    let token = seen.strip_prefix(&known).map(str::trim);
    let token = token.ok_or_else(|| Unmet::fail("namespace and authority", "something else"))?;
    let config = at.settings.config.clone();
    let config = config.ok_or_else(|| Unmet::Skip("no configuration of another client".into()))?;
    let client = connect::bearer(config, token)
        .ok_or_else(|| Unmet::fail("a client of that token", "none"))?;
    Wire::over(&client).call(Method::GET, "/version").send().await?.ok().map(|_| ())
}
