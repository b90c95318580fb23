//! What Kubernetes' admission plugin ServiceAccount does to a new pod: it names an account, looks it up, and mounts the
//! files with which the pod's programs reach the API server.

use apimachinery::{Key, Kind, Meta, Status};
use serde_json::{Value, json};

use super::Peers;
use crate::names;

/// The account of pods that name none.
const DEFAULT: &str = "default";
/// Where clients of a cluster that run in it look for token, authority and namespace.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the volume's name begins.
const VOLUME: &str = "kube-api-access-";
/// Asked for by Kubernetes, so that an audit tells these tokens from those that somebody asked for by an hour.
const TOKEN_SECONDS: u32 = 3607;

/// Gives a new pod its account, and what comes with that.
///
/// # Errors
/// 403 when the account is not there.
pub(super) fn admit(kind: &Kind, peers: &dyn Peers, pod: &mut Value) -> Result<(), Status> {
    let name = pod["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty());
    let name = name.unwrap_or(DEFAULT).to_owned();
    for field in ["serviceAccountName", "serviceAccount"] {
        pod["spec"][field] = json!(name);
    }
    let found = peers.find("", "serviceaccounts", &Key::namespaced(pod.namespace(), &*name));
    if found.is_none() && name != DEFAULT {
        let namespace = pod.namespace();
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        );
        return Err(Status::forbidden(kind, called(pod), &why));
    }
    // A controller makes `default` right after its namespace. Kubernetes looks for it ten times, over up to two seconds,
    // and refuses the pod only then. Here a write waits for nobody: it takes the account for there, as it will be.
    let none = Value::Null;
    let account = found.as_ref().map_or(&none, |account| account.value());
    if mounts_token(account, pod) {
        mount(pod);
    }
    let no_secrets = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    let secrets = &account["imagePullSecrets"];
    if no_secrets(&pod["spec"]["imagePullSecrets"]) && !no_secrets(secrets) {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
    Ok(())
}

/// The name as whoever made the pod knows it: one that was made up differs from try to try, and then what is said of a
/// refusal would, too.
fn called(pod: &Value) -> &str {
    let prefix = pod["metadata"]["generateName"].as_str().unwrap_or("");
    let made_up = pod.name().strip_prefix(prefix).is_some_and(|end| end.len() == names::SUFFIX);
    if made_up && !prefix.is_empty() { prefix } else { pod.name() }
}

/// The pod decides; then its account; and who says nothing wants it.
fn mounts_token(account: &Value, pod: &Value) -> bool {
    let says = |one: &Value| one["automountServiceAccountToken"].as_bool();
    says(&pod["spec"]).or_else(|| says(account)).unwrap_or(true)
}

fn mount(pod: &mut Value) {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut names = volumes.filter_map(|volume| volume["name"].as_str());
    let there = names.find(|name| name.starts_with(VOLUME)).map(str::to_owned);
    let name = there.clone().unwrap_or_else(|| names::generate(VOLUME));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            used |= mount_in(container, &name);
        }
    }
    if used && there.is_none() {
        push(&mut pod["spec"], "volumes", volume(&name));
    }
}

/// Whether the container got the mount: something of its own may be there.
fn mount_in(container: &mut Value, volume: &str) -> bool {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    if !container.is_object() || mounts.into_iter().any(|one| one["mountPath"] == MOUNT_PATH) {
        return false;
    }
    let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
    push(container, "volumeMounts", mount);
    true
}

fn push(within: &mut Value, list: &str, one: Value) {
    match within[list].as_array_mut() {
        Some(list) => list.push(one),
        None => within[list] = json!([one]),
    }
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {
                "name": "kube-root-ca.crt",
                "items": [{"key": "ca.crt", "path": "ca.crt"}],
            }},
            {"downwardAPI": {"items": [{
                "path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
            }]}},
        ],
        "defaultMode": 0o644,
    }})
}

#[cfg(test)]
mod tests {
    use crate::{Store, WriteOptions};

    use super::*;

    fn cluster() -> Store {
        let store = Store::default();
        create(&store, "namespaces", json!({"metadata": {"name": "a"}})).unwrap();
        store
    }

    fn create(store: &Store, plural: &str, object: Value) -> Result<Value, Status> {
        let kind = store.kind("", plural);
        let made = store.create(&kind, object, &WriteOptions::default())?;
        Ok(made.value().clone())
    }

    fn pod(store: &Store, spec: Value) -> Result<Value, Status> {
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "a"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][field] = value.clone();
        }
        create(store, "pods", pod)
    }

    fn account(store: &Store, more: Value) {
        let mut account = json!({"metadata": {"name": "robot", "namespace": "a"}});
        for (field, value) in more.as_object().into_iter().flatten() {
            account[field] = value.clone();
        }
        create(store, "serviceaccounts", account).unwrap();
    }

    #[test]
    fn a_pod_gets_the_files_of_its_account_in_every_container() {
        let spec = json!({"initContainers": [{"name": "i", "image": "i"}]});
        let spec = pod(&cluster(), spec).unwrap()["spec"].clone();
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["serviceAccount"], "default");
        let name = spec["volumes"][0]["name"].as_str().unwrap();
        assert_eq!(name.strip_prefix(VOLUME).map(str::len), Some(5));
        let mount = json!([{"name": name, "mountPath": MOUNT_PATH, "readOnly": true}]);
        assert_eq!(spec["containers"][0]["volumeMounts"], mount);
        assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(spec["volumes"], json!([volume(name)]));
    }

    #[test]
    fn what_a_container_mounts_there_itself_stays() {
        let own = json!({
            "volumes": [{"name": "mine", "emptyDir": {}}],
            "containers": [{
                "name": "c", "image": "i",
                "volumeMounts": [{"name": "mine", "mountPath": MOUNT_PATH}],
            }],
        });
        let spec = pod(&cluster(), own).unwrap()["spec"].clone();
        assert_eq!(spec["volumes"].as_array().map(Vec::len), Some(1));
        assert_eq!(spec["containers"][0]["volumeMounts"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_volume_by_such_a_name_is_used_again() {
        let own = json!({"volumes": [{"name": "kube-api-access-mine", "emptyDir": {}}]});
        let spec = pod(&cluster(), own).unwrap()["spec"].clone();
        assert_eq!(spec["volumes"].as_array().map(Vec::len), Some(1));
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-mine");
    }

    #[test]
    fn a_pod_or_its_account_may_want_no_token_and_the_pod_decides() {
        for (of_account, of_pod, mounted) in [
            (json!(null), json!(null), true),
            (json!(false), json!(null), false),
            (json!(false), json!(true), true),
            (json!(true), json!(false), false),
            (json!(null), json!(false), false),
        ] {
            let store = cluster();
            account(&store, json!({"automountServiceAccountToken": of_account}));
            let asked =
                json!({"serviceAccountName": "robot", "automountServiceAccountToken": of_pod});
            let spec = pod(&store, asked).unwrap()["spec"].clone();
            assert_eq!(spec["volumes"].is_array(), mounted, "{of_account} {of_pod}");
        }
    }

    #[test]
    fn a_pod_of_an_account_that_is_not_there_is_forbidden() {
        let refused = pod(&cluster(), json!({"serviceAccountName": "ghost"})).unwrap_err();
        assert_eq!(refused.code, 403);
        assert_eq!(
            refused.message,
            "pods \"p\" is forbidden: error looking up service account a/ghost: serviceaccount \"ghost\" not found"
        );
        let store = cluster();
        let named = |name: Value| {
            let pod = json!({
                "metadata": {"name": name, "generateName": "set-", "namespace": "a"},
                "spec": {"serviceAccountName": "ghost", "containers": []},
            });
            create(&store, "pods", pod).unwrap_err().message
        };
        assert!(named(json!(null)).starts_with("pods \"set-\" is forbidden"));
        assert!(named(json!("b")).starts_with("pods \"b\" is forbidden"));
    }

    #[test]
    fn secrets_for_images_are_the_accounts_unless_the_pod_has_its_own() {
        let store = cluster();
        account(&store, json!({"imagePullSecrets": [{"name": "of-account"}]}));
        let secrets = |own: Value| {
            let asked = json!({
                "serviceAccountName": "robot", "automountServiceAccountToken": false,
                "imagePullSecrets": own,
            });
            let mut pod = pod(&store, asked).unwrap();
            let key = Key::of(&pod);
            let options =
                crate::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
            store.delete(&store.kind("", "pods"), &key, &options).unwrap();
            pod["spec"]["imagePullSecrets"].take()
        };
        assert_eq!(secrets(json!([])), json!([{"name": "of-account"}]));
        assert_eq!(secrets(json!([{"name": "own"}])), json!([{"name": "own"}]));
    }
}
