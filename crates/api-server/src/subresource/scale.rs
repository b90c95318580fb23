//! How many replicas an object asks for, whatever its kind: `autoscaling/v1` `Scale`.

use apimachinery::patch::{Patch, PatchType};
use apimachinery::schema::{Typed, builtin};
use apimachinery::selector::LabelSelector;
use apimachinery::{Kind, Meta, Status};
use object_store::ObjectRef;
use serde_json::{Value, json};

use crate::answer::{self, Answer, no_such_resource};
use crate::resource::{Request, invalid_scale, passing_kind, write_options};
use crate::{body, decode, definitions};

/// Where a kind keeps its scale: paths of names.
struct Paths {
    spec: Vec<String>,
    status: Vec<String>,
    /// Where the selector is: text in a custom resource, a label selector in a built-in one.
    selector: Option<Vec<String>>,
}

impl Paths {
    fn of(request: &Request) -> Result<Self, Status> {
        let path =
            |text: &str| text.split('.').filter(|one| !one.is_empty()).map(str::to_owned).collect();
        let Some(definition) = definitions::of(&request.server.store, &request.kind) else {
            return Ok(Self {
                spec: path("spec.replicas"),
                status: path("status.replicas"),
                selector: Some(path("spec.selector")),
            });
        };
        let version = definitions::version(definition.value(), &request.kind.version);
        let scale = version.map(|version| &version["subresources"]["scale"]);
        let scale = scale.filter(|scale| scale.is_object()).ok_or_else(no_such_resource)?;
        let read = |name: &str| scale[name].as_str().map(path);
        Ok(Self {
            spec: read("specReplicasPath").ok_or_else(no_such_resource)?,
            status: read("statusReplicasPath").ok_or_else(no_such_resource)?,
            selector: read("labelSelectorPath"),
        })
    }

    /// The scale of an object.
    fn scale(&self, object: &Value) -> Value {
        let at = |path: &[String]| path.iter().fold(object, |value, name| &value[name.as_str()]);
        let metadata = &object["metadata"];
        let selector = self.selector.as_ref().map(|path| match at(path) {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            selector => LabelSelector::from_json(selector).to_string(),
        });
        let mut kept = json!({});
        for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = metadata.get(field) {
                kept[field] = value.clone();
            }
        }
        let mut status = json!({"replicas": at(&self.status).as_i64().unwrap_or(0)});
        if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
            status["selector"] = json!(selector);
        }
        json!({
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": kept,
            "spec": {"replicas": at(&self.spec).as_i64().unwrap_or(0)},
            "status": status,
        })
    }

    /// An object with the replicas that a scale asks for.
    fn scaled(&self, object: &Value, scale: &Value) -> Result<Value, Status> {
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            return Err(invalid_scale(object.name(), replicas));
        }
        let mut new = object.clone();
        let mut place = &mut new;
        for name in &self.spec {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[name.as_str()];
        }
        *place = json!(replicas);
        if !scale.resource_version().is_empty() {
            let version = json!(scale.resource_version());
            new.metadata_mut().insert("resourceVersion".to_owned(), version);
        }
        Ok(new)
    }
}

/// GET.
pub(super) fn get(request: &Request) -> Answer {
    let paths = Paths::of(request)?;
    let object = request.server.store.get(&request.kind, &request.key()?)?;
    Ok(answer::json(200, &paths.scale(object.value())))
}

/// PUT.
pub(super) async fn replace(request: &Request) -> Answer {
    let validation = decode::validation(&request.query)?;
    let kind = kind();
    let typed = typed();
    let scale = decode::object(&kind, typed, &request.headers, &request.body, validation)?.object;
    let key = request.key()?;
    if !scale.name().is_empty() && scale.name() != key.name {
        return Err(Status::bad_request("name in URL does not match name in Scale object"));
    }
    write(request, |_| Ok(scale.clone())).await
}

/// PATCH.
pub(super) async fn patch(request: &Request) -> Answer {
    let how = PatchType::of_media_type(body::media_type(&request.headers));
    let how = how.filter(|how| *how != PatchType::Apply).ok_or_else(body::unsupported)?;
    let validation = decode::validation(&request.query)?;
    let patch = Patch::read(how, &request.body, false)?;
    let kind = kind();
    write(request, |old| Ok(patch.apply(&kind, typed(), old, validation)?.object)).await
}

async fn write(request: &Request, change: impl Fn(&Value) -> Result<Value, Status>) -> Answer {
    let paths = Paths::of(request)?;
    let options = write_options(request, "UpdateOptions")?;
    let options = object_store::WriteOptions { subresource: "scale", ..options };
    let store = &request.server.store;
    let written: ObjectRef =
        store.update(&request.kind, &request.key()?, &options, &mut |old| {
            paths.scaled(old, &change(&paths.scale(old))?)
        })?;
    if !options.dry_run {
        store.written(written.revision()).await?;
    }
    Ok(answer::json(200, &paths.scale(written.value())))
}

fn kind() -> Kind {
    passing_kind("autoscaling", "v1", "Scale")
}

fn typed() -> Typed<'static> {
    builtin()
        .of_kind("autoscaling/v1", "Scale")
        .map_or_else(Typed::any, |found| Typed::new(&found.schema))
}
