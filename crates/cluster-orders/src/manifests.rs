//! Objects to apply: where they are written, and what this run changes in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ObjectName;

/// Objects to apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifests {
    /// Where they are written.
    pub source: Source,
    /// Only these; empty: all.
    #[serde(default)]
    pub only: Vec<ObjectName>,
    /// What is changed in them, in this order.
    #[serde(default)]
    pub changes: Vec<Change>,
}

/// Where objects are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A file of the lab's `deploy` folder, or a folder of it with all its files; `.` is the whole one. A `kustomization.yaml` is
    /// left out: it is about objects, and is none.
    Deploy(String),
    /// YAML, with `---` between objects.
    Text(String),
}

/// One change of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which, by kind and name as they are written.
    pub object: ObjectName,
    /// Where, as a JSON pointer (RFC 6901); `-` is the place behind the last of a list.
    pub pointer: String,
    /// What shall be there; `null` takes away what is.
    pub value: Value,
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeError {
    /// The pointer.
    pub pointer: String,
    /// The part of it that leads nowhere.
    pub at: String,
}

// === impl Manifests ===

impl Manifests {
    /// A file or a folder of the lab's `deploy` folder.
    #[must_use]
    pub fn deploy(path: impl Into<String>) -> Self {
        Self { source: Source::Deploy(path.into()), only: Vec::new(), changes: Vec::new() }
    }

    /// YAML, with `---` between objects.
    #[must_use]
    pub fn yaml(text: impl Into<String>) -> Self {
        Self { source: Source::Text(text.into()), only: Vec::new(), changes: Vec::new() }
    }

    /// Only this object, and others that are named so.
    ///
    /// # Panics
    /// Where it is not written as `KIND/NAME`.
    #[must_use]
    pub fn only(mut self, object: &str) -> Self {
        self.only.push(name(object));
        self
    }

    /// Changes an object: `set("Deployment/engine", "/spec/replicas", 3)`. Maps on the way are made; `null` takes away.
    ///
    /// # Panics
    /// Where the object is not written as `KIND/NAME`.
    #[must_use]
    pub fn set(mut self, object: &str, pointer: &str, value: impl Into<Value>) -> Self {
        let (pointer, value) = (pointer.to_owned(), value.into());
        self.changes.push(Change { object: name(object), pointer, value });
        self
    }

    /// The arguments of an object's first container, instead of those that it has.
    ///
    /// # Panics
    /// Where the object is not written as `KIND/NAME`.
    #[must_use]
    pub fn args<S: Into<String>>(self, object: &str, args: impl IntoIterator<Item = S>) -> Self {
        let args: Vec<Value> = args.into_iter().map(|arg| Value::String(arg.into())).collect();
        self.set(object, "/spec/template/spec/containers/0/args", args)
    }

    /// Whether an object is one of those to apply.
    #[must_use]
    pub fn includes(&self, object: &ObjectName) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| means(one, object))
    }

    /// Makes the changes of one object.
    ///
    /// # Errors
    /// [`ChangeError`]: the first that leads nowhere.
    pub fn change(&self, object: &ObjectName, value: &mut Value) -> Result<(), ChangeError> {
        let ours = self.changes.iter().filter(|change| means(&change.object, object));
        ours.clone().try_for_each(|change| set(value, &change.pointer, &change.value))
    }

    /// What is to be left out or changed, and is not among these objects: a mistake of whoever wrote it.
    #[must_use]
    pub fn unmet(&self, objects: &[ObjectName]) -> Option<&ObjectName> {
        let named = self.only.iter().chain(self.changes.iter().map(|change| &change.object));
        named.into_iter().find(|one| !objects.iter().any(|object| means(one, object)))
    }
}

fn name(text: &str) -> ObjectName {
    match text.parse() {
        Ok(name) => name,
        Err(error) => panic!("{error}"),
    }
}

/// Whether what somebody wrote, perhaps without a version, means this object.
fn means(written: &ObjectName, object: &ObjectName) -> bool {
    written.kind == object.kind
        && written.name == object.name
        && (written.api_version.is_empty() || written.api_version == object.api_version)
}

/// Sets what a pointer leads to.
fn set(value: &mut Value, pointer: &str, new: &Value) -> Result<(), ChangeError> {
    let lost = |at: &str| ChangeError { pointer: pointer.to_owned(), at: at.to_owned() };
    let parts: Vec<String> = match pointer.strip_prefix('/') {
        Some(path) => {
            path.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
        }
        None => return Err(lost(pointer)),
    };
    let Some((last, way)) = parts.split_last() else { return Err(lost(pointer)) };
    let mut here = value;
    for part in way {
        if here.is_null() {
            *here = Value::Object(Map::new());
        }
        here = match here {
            Value::Object(map) => map.entry(part.clone()).or_insert(Value::Null),
            Value::Array(list) => place(list, part).ok_or_else(|| lost(part))?,
            _ => return Err(lost(part)),
        };
    }
    if here.is_null() {
        *here = Value::Object(Map::new());
    }
    match here {
        Value::Object(map) if new.is_null() => drop(map.remove(last)),
        Value::Object(map) => drop(map.insert(last.clone(), new.clone())),
        Value::Array(list) if last == "-" => list.push(new.clone()),
        Value::Array(list) => *place(list, last).ok_or_else(|| lost(last))? = new.clone(),
        _ => return Err(lost(last)),
    }
    Ok(())
}

fn place<'a>(list: &'a mut [Value], part: &str) -> Option<&'a mut Value> {
    list.get_mut(part.parse::<usize>().ok()?)
}

/// Replaces the images of all containers of a pod, or of a template of pods, wherever it is.
fn replace_images(value: &mut Value, images: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(image) if key == "image" => {
                        if let Some(new) = images.get(image.as_str()) {
                            image.clone_from(new);
                        }
                    }
                    value => replace_images(value, images),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| replace_images(value, images)),
        _ => {}
    }
}

impl Manifests {
    /// Replaces images by name, in every container of an object.
    pub fn images(value: &mut Value, images: &BTreeMap<String, String>) {
        // Only a spec has containers: an annotation that is called `image` is none.
        if let Some(spec) = value.get_mut("spec") {
            replace_images(spec, images);
        }
    }
}

impl std::fmt::Display for ChangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: nothing is called {:?} there", self.pointer, self.at)
    }
}

impl std::error::Error for ChangeError {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> Value {
        json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [
            {"name": "engine", "image": "llm-lab/engine", "args": ["--sim"]}]}}}})
    }

    #[test]
    fn a_change_makes_the_maps_on_its_way_and_null_takes_away() {
        let manifests = Manifests::deploy("engine.yaml")
            .set("Deployment/engine", "/spec/replicas", 3)
            .set("Deployment/engine", "/spec/template/metadata/annotations/a~1b", "c")
            .set("Deployment/engine", "/spec/template/spec/containers/0/args/-", "--port=1")
            .set("Deployment/engine", "/spec/template/spec/containers/0/image", Value::Null)
            .set("Service/engine", "/spec/replicas", 9);
        let mut value = deployment();
        let name = ObjectName { api_version: "apps/v1".into(), ..name("Deployment/engine") };
        manifests.change(&name, &mut value).unwrap();
        assert_eq!(
            value,
            json!({"spec": {"replicas": 3, "template": {
                "metadata": {"annotations": {"a/b": "c"}},
                "spec": {"containers": [{"name": "engine", "args": ["--sim", "--port=1"]}]}}}})
        );
        assert_eq!(manifests.unmet(&[name]).unwrap().to_string(), "Service/engine");
    }

    #[test]
    fn a_pointer_that_leads_nowhere_is_named() {
        for (pointer, at) in [
            ("/spec/template/spec/containers/7/args", "7"),
            ("/spec/replicas/deep", "deep"),
            ("spec", "spec"),
        ] {
            let manifests = Manifests::yaml("").set("Deployment/engine", pointer, 1);
            let error =
                manifests.change(&name("Deployment/engine"), &mut deployment()).unwrap_err();
            assert_eq!((error.pointer.as_str(), error.at.as_str()), (pointer, at));
        }
    }

    #[test]
    fn images_are_replaced_in_containers_alone() {
        let images = BTreeMap::from([("llm-lab/engine".to_owned(), "mine/engine".to_owned())]);
        let mut value = deployment();
        value["metadata"] = json!({"annotations": {"image": "llm-lab/engine"}});
        Manifests::images(&mut value, &images);
        assert_eq!(value["spec"]["template"]["spec"]["containers"][0]["image"], "mine/engine");
        assert_eq!(value["metadata"]["annotations"]["image"], "llm-lab/engine");
    }
}
