//! What an autoscaler scales: anything with a scale subresource.

use apimachinery::selector::LabelSelector;
use apimachinery::{Key, Meta, Subresource};
use serde_json::{Value, json};

use crate::action::Action;
use crate::fields::Fields;
use crate::resource::{DEFINITIONS, Of};
use crate::view::View;

/// An object's scale.
#[derive(Clone, Debug)]
pub(super) struct Target {
    of: Option<Of>,
    object: Value,
    /// The path of the size that is asked for.
    path: String,
    pub(super) replicas: i64,
    /// The size as the object's own status has it.
    pub(super) status_replicas: i64,
    pub(super) selector: LabelSelector,
}

/// Finds what an autoscaler scales. In the error: why not, in the API's words.
pub(super) fn find(view: &View, autoscaler: &Value) -> Result<Target, String> {
    let reference = autoscaler.at("spec/scaleTargetRef");
    let group = reference.text("apiVersion").split_once('/').map_or("", |(group, _)| group);
    let name = reference.text("kind");
    let Some(kind) = view.store().kinds().in_group(group, name).cloned() else {
        return Err(format!("no matches for kind {name:?} in group {group:?}"));
    };
    if !kind.subresources.has(Subresource::Scale) {
        return Err("the server could not find the requested resource".to_owned());
    }
    let key = Key::namespaced(autoscaler.namespace(), reference.text("name"));
    let Some(object) = view.get(Of::from(&kind), &key) else {
        let resource = match kind.group.as_str() {
            "" => format!("{}/scale", kind.plural),
            group => format!("{}/scale.{group}", kind.plural),
        };
        return Err(format!("{resource} {:?} not found", key.name));
    };
    let object = object.value();
    let definition =
        view.get(DEFINITIONS, &Key::cluster(format!("{}.{}", kind.plural, kind.group)));
    let scale = definition.as_ref().and_then(|definition| {
        let versions = definition.value().list("spec/versions").iter();
        versions.map(|one| one.at("subresources/scale")).find(|scale| scale.is_object())
    });
    let path = |field: &str, usual: &str| match scale {
        Some(scale) => scale.text(field).trim_start_matches('.').replace('.', "/"),
        None => usual.to_owned(),
    };
    let replicas = path("specReplicasPath", "spec/replicas");
    let selector = match scale {
        None => LabelSelector::from_json(object.at("spec/selector")),
        Some(_) => {
            let text = object.text(&path("labelSelectorPath", ""));
            if text.is_empty() {
                return Err("selector is required".to_owned());
            }
            LabelSelector::parse(text).map_err(|status| status.message)?
        }
    };
    Ok(Target {
        of: Some(Of::from(&kind)),
        replicas: object.int(&replicas).unwrap_or(if scale.is_some() { 0 } else { 1 }),
        status_replicas: object.count(&path("statusReplicasPath", "status/replicas")),
        object: object.clone(),
        path: replicas,
        selector,
    })
}

impl Target {
    /// Asks for another size.
    pub(super) fn scale(&self, replicas: i64) -> Option<Action> {
        let mut patch = json!(replicas);
        for field in self.path.rsplit('/') {
            patch = json!({field: patch});
        }
        Some(Action::change(self.of.clone()?, &self.object, patch))
    }

    #[cfg(test)]
    pub(super) fn of_size(replicas: i64) -> Self {
        Self {
            of: None,
            object: Value::Null,
            path: "spec/replicas".to_owned(),
            replicas,
            status_replicas: replicas,
            selector: LabelSelector::from_json(&json!({})),
        }
    }
}
