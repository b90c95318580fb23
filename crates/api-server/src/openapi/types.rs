//! Named types of the kinds that are served: the built-in ones, and those of custom resources.

use std::collections::BTreeMap;

use apimachinery::Kind;
use apimachinery::schema::{Dialect, Schema, Shape, builtin};
use object_store::Store;
use serde_json::{Value, json};

use super::kind_json;
use crate::definitions;

/// Metadata of any object.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// Metadata of any list.
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
/// What every group uses beside its own kinds.
const EVERYWHERE: [&str; 3] = [
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
];
/// Which kinds a type is.
const KINDS: &str = "x-kubernetes-group-version-kind";

/// The name of a kind's type.
pub(super) fn name(kind: &Kind) -> String {
    match builtin().of_kind(&kind.api_version(), &kind.kind) {
        Some(definition) => definition.name.clone(),
        None => {
            let mut parts: Vec<&str> = kind.group.split('.').collect();
            parts.reverse();
            format!("{}.{}.{}", parts.join("."), kind.version, kind.kind)
        }
    }
}

/// The types of some kinds, of their lists, and of all they refer to.
pub(super) fn types(store: &Store, kinds: &[&Kind], dialect: Dialect) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut roots: Vec<String> = EVERYWHERE.iter().map(ToString::to_string).collect();
    roots.extend([OBJECT_META.to_owned(), LIST_META.to_owned()]);
    for kind in kinds {
        let api_version = kind.api_version();
        if builtin().of_kind(&api_version, &kind.kind).is_none() {
            custom(store, kind, dialect, &mut all);
            continue;
        }
        for one in [kind.kind.clone(), kind.list_kind()] {
            roots.extend(builtin().of_kind(&api_version, &one).map(|found| found.name.clone()));
        }
        let below = [("autoscaling/v1", "Scale"), ("policy/v1", "Eviction"), ("v1", "Binding")];
        roots.extend(
            below
                .iter()
                .filter_map(|(version, kind)| builtin().of_kind(version, kind))
                .map(|found| found.name.clone()),
        );
    }
    for definition in builtin().closure(roots.iter().map(String::as_str)) {
        let mut json = definition.schema.to_json(dialect);
        if !definition.kinds.is_empty() {
            let kinds = definition.kinds.iter();
            json[KINDS] =
                kinds.map(|(group, version, kind)| kind_json(group, version, kind)).collect();
        }
        all.insert(definition.name.clone(), json);
    }
    all
}

fn custom(store: &Store, kind: &Kind, dialect: Dialect, all: &mut BTreeMap<String, Value>) {
    let definition = definitions::of(store, kind);
    let version =
        definition.as_ref().and_then(|one| definitions::version(one.value(), &kind.version));
    let given = version.map(|version| &version["schema"]["openAPIV3Schema"]);
    let mut schema = given
        .and_then(|given| Schema::from_json(given, true).ok())
        .unwrap_or_else(|| Schema { preserve_unknown: true, ..Schema::default() });
    if let Shape::Object(fields) = &mut schema.shape {
        let text = Schema { shape: Shape::Text, ..Schema::default() };
        fields.known.insert("apiVersion".into(), text.clone());
        fields.known.insert("kind".into(), text);
        fields.known.insert("metadata".into(), Schema::of(OBJECT_META));
    }
    let name = name(kind);
    let mut json = schema.to_json(dialect);
    json[KINDS] = json!([kind_json(&kind.group, &kind.version, &kind.kind)]);
    let base = match dialect {
        Dialect::V2 => "#/definitions/",
        Dialect::V3 | Dialect::Data => "#/components/schemas/",
    };
    let list = json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": {"$ref": format!("{base}{name}")}},
            "kind": {"type": "string"},
            "metadata": {"$ref": format!("{base}{LIST_META}")},
        },
        KINDS: [kind_json(&kind.group, &kind.version, &kind.list_kind())],
    });
    all.insert(format!("{name}List"), list);
    all.insert(name, json);
}
