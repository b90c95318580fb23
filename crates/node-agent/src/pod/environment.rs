//! The variables that a container's program gets.

use std::collections::BTreeMap;

use apimachinery::{Key, Meta};
use k8s_openapi::api::core::v1::{Container, EnvVar};
use object_store::Store;
use serde_json::Value;

use super::fields::{self, Place};
use crate::expand::expand;

/// `PATH` of a program whose image says nothing (the default of container runtimes).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where values come from.
pub(crate) struct Sources<'a> {
    /// ConfigMaps and Secrets.
    pub(crate) store: &'a Store,
    /// The pod's object.
    pub(crate) pod: &'a Value,
    /// Its addresses and node.
    pub(crate) place: &'a Place,
    /// What the image sets.
    pub(crate) image: &'a BTreeMap<String, String>,
    /// `*_SERVICE_HOST` and the like.
    pub(crate) services: &'a BTreeMap<String, String>,
}

/// All variables, later ones over earlier ones: image, services, `envFrom`, `env`.
///
/// # Errors
/// What is missing, as the kubelet says it in `CreateContainerConfigError`.
pub(crate) fn variables(
    container: &Container,
    from: &Sources<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    all.insert("HOSTNAME".to_owned(), hostname(from.pod).to_owned());
    all.extend(from.image.clone());
    all.extend(from.services.clone());
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or("");
        let data = if let Some(map) = &source.config_map_ref {
            data(from, "configmaps", &map.name, map.optional)?
        } else if let Some(secret) = &source.secret_ref {
            data(from, "secrets", &secret.name, secret.optional)?
        } else {
            None
        };
        for (key, value) in data.unwrap_or_default() {
            all.insert(format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(variable, container, from, &all)? {
            all.insert(variable.name.clone(), value);
        }
    }
    Ok(all)
}

/// The host name that a pod sees.
pub(crate) fn hostname(pod: &Value) -> &str {
    pod["spec"]["hostname"].as_str().unwrap_or_else(|| pod.name())
}

fn value(
    variable: &EnvVar,
    container: &Container,
    from: &Sources<'_>,
    known: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    let Some(source) = &variable.value_from else {
        let text = variable.value.as_deref().unwrap_or("");
        return Ok(Some(expand(text, |name| known.get(name).map(String::as_str))));
    };
    if let Some(field) = &source.field_ref {
        let found = fields::field(&field.field_path, from.pod, from.place);
        return found
            .map(Some)
            .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path));
    }
    if let Some(selector) = &source.resource_field_ref {
        let found = fields::resource(selector, container, from.place);
        return found
            .map(Some)
            .ok_or_else(|| format!("unsupported container resource: {}", selector.resource));
    }
    let (plural, name, key, optional) = if let Some(one) = &source.config_map_key_ref {
        ("configmaps", &one.name, &one.key, one.optional)
    } else if let Some(one) = &source.secret_key_ref {
        ("secrets", &one.name, &one.key, one.optional)
    } else {
        return Err(format!("the embedded cluster cannot fill variable {}", variable.name));
    };
    let Some(data) = data(from, plural, name, optional)? else { return Ok(None) };
    match data.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional == Some(true) => Ok(None),
        None => {
            let what = if plural == "secrets" { "Secret" } else { "ConfigMap" };
            let namespace = from.pod.namespace();
            Err(format!("couldn't find key {key} in {what} {namespace}/{name}"))
        }
    }
}

/// The content of a ConfigMap or Secret; none if it is missing and may be.
fn data(
    from: &Sources<'_>,
    plural: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<BTreeMap<String, Vec<u8>>>, String> {
    let key = Key::namespaced(from.pod.namespace(), name);
    match from.store.get(&from.store.kind("", plural), &key) {
        Ok(object) => Ok(Some(content(object.value()))),
        Err(_) if optional == Some(true) => Ok(None),
        Err(_) => Err(format!("{} {name:?} not found", plural.trim_end_matches('s'))),
    }
}

/// What a ConfigMap or a Secret holds, by key. What is not base64 where it should be is left out.
pub(crate) fn content(object: &Value) -> BTreeMap<String, Vec<u8>> {
    let is_secret = object["kind"] == "Secret";
    let entries = |field: &str| object[field].as_object().into_iter().flatten();
    let mut all = BTreeMap::new();
    for (key, value) in entries("data") {
        let text = value.as_str().unwrap_or("");
        let bytes = if is_secret { base64(text) } else { Some(text.as_bytes().to_vec()) };
        all.extend(bytes.map(|bytes| (key.clone(), bytes)));
    }
    for (key, value) in entries("stringData") {
        all.insert(key.clone(), value.as_str().unwrap_or("").as_bytes().to_vec());
    }
    for (key, value) in entries("binaryData") {
        let bytes = base64(value.as_str().unwrap_or(""));
        all.extend(bytes.map(|bytes| (key.clone(), bytes)));
    }
    all
}

/// Standard base64, as the API's own type reads it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(Value::from(text)).ok()?;
    Some(bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::WriteOptions;
    use serde_json::json;

    #[test]
    fn later_sources_win_and_earlier_ones_expand() {
        let store = Store::default();
        let create = |plural: &str, object: Value| {
            store.create(&store.kind("", plural), object, &WriteOptions::default()).unwrap();
        };
        create("namespaces", json!({"metadata": {"name": "default"}}));
        create(
            "configmaps",
            json!({"metadata": {"name": "c", "namespace": "default"}, "data": {"A": "config"}}),
        );
        create(
            "secrets",
            json!({"metadata": {"name": "s", "namespace": "default"}, "data": {"K": "c2VjcmV0"}}),
        );
        let pod = json!({"metadata": {"name": "p", "namespace": "default"}});
        let container = |env: Value| -> Container {
            serde_json::from_value(json!({
                "name": "main",
                "envFrom": [{"prefix": "X_", "configMapRef": {"name": "c"}}],
                "env": env,
            }))
            .unwrap()
        };
        let place = Place { bind: "127.65.0.1".into(), ..Place::default() };
        let from = Sources {
            store: &store,
            pod: &pod,
            place: &place,
            image: &BTreeMap::from([("IMAGE".to_owned(), "i".to_owned())]),
            services: &BTreeMap::new(),
        };
        let all = variables(
            &container(json!([
                {"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "K"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "ALL", "value": "$(X_A) $(K) $(IP) $(IMAGE) $(NONE)"},
                {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": true}}},
            ])),
            &from,
        )
        .unwrap();
        assert_eq!(all["ALL"], "config secret 127.65.0.1 i $(NONE)");
        assert_eq!(all.get("MAYBE"), None);
        let missing =
            json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "B"}}}]);
        let error = variables(&container(missing), &from).unwrap_err();
        assert_eq!(error, "couldn't find key B in ConfigMap default/c");
    }
}
