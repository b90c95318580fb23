//! Custom resources: what a CustomResourceDefinition makes the store know, and what its deletion takes along.
//!
//! A definition is established in the write that creates it, unless its names are taken: there is no time in which it
//! exists and is not served.

use std::collections::HashSet;
use std::sync::Arc;

use apimachinery::{Key, Kind, Kinds, Meta, Scope, Subresource, SubresourceSet};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::seconds;

/// Holds a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// The group of definitions.
const GROUP: &str = "apiextensions.k8s.io";
/// The plural of definitions.
const PLURAL: &str = "customresourcedefinitions";

/// Whether a kind is that of definitions.
pub(crate) fn is_definition(kind: &Kind) -> bool {
    kind.group == GROUP && kind.plural == PLURAL
}

/// Group and plural of definitions: where their table is.
pub(crate) fn table() -> (String, String) {
    (GROUP.to_owned(), PLURAL.to_owned())
}

/// The key of a resource's definition.
pub(crate) fn key(group: &str, plural: &str) -> Key {
    Key::cluster(format!("{plural}.{group}"))
}

/// The group and plural that a definition defines.
pub(crate) fn defined(definition: &Value) -> (String, String) {
    let spec = &definition["spec"];
    (text(&spec["group"]).to_owned(), text(&spec["names"]["plural"]).to_owned())
}

/// Whether a definition is served.
pub(crate) fn is_established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Established" && one["status"] == "True")
}

/// The kinds of a definition's versions that are served, each with its schema.
pub(crate) fn kinds(definition: &Value) -> Vec<(Arc<Kind>, Option<Value>)> {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let list = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let scope = if spec["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Cluster };
    let versions = spec["versions"].as_array().into_iter().flatten();
    versions
        .filter(|version| version["served"] == true)
        .map(|version| {
            let mut below = Vec::new();
            let has = |name: &str| version["subresources"].get(name).is_some_and(Value::is_object);
            below.extend(has("status").then_some(Subresource::Status));
            below.extend(has("scale").then_some(Subresource::Scale));
            let kind = Kind {
                group: text(&spec["group"]).to_owned(),
                version: text(&version["name"]).to_owned(),
                kind: text(&names["kind"]).to_owned(),
                plural: text(&names["plural"]).to_owned(),
                singular: text(&names["singular"]).to_owned(),
                short_names: list(&names["shortNames"]),
                categories: list(&names["categories"]),
                scope,
                subresources: SubresourceSet::of(&below),
            };
            (Arc::new(kind), version["schema"].get("openAPIV3Schema").cloned())
        })
        .collect()
}

/// Fills in what a definition leaves to the server, and says in its status whether it is served. `known`: all kinds now.
pub(crate) fn settle(definition: &mut Value, known: &Kinds, now: Timestamp) {
    let (group, plural) = defined(definition);
    let names = &mut definition["spec"]["names"];
    let kind = text(&names["kind"]).to_owned();
    for (name, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
        if text(&names[name]).is_empty() {
            names[name] = json!(value);
        }
    }
    let names = names.clone();
    if definition["spec"]["conversion"].is_null() {
        definition["spec"]["conversion"] = json!({"strategy": "None"});
    }
    let conflict = conflict(&group, &plural, &names, known);
    let stored = definition["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<Value> =
        stored.filter(|one| one["storage"] == true).map(|one| one["name"].clone()).collect();
    let was = is_established(definition);
    let status = &mut definition["status"];
    if !status.is_object() {
        *status = json!({});
    }
    let mut versions = status["storedVersions"].as_array().cloned().unwrap_or_default();
    versions.extend(stored.into_iter().filter(|one| !versions.contains(one)).collect::<Vec<_>>());
    status["storedVersions"] = json!(versions);
    let (accepted, reason, message) = match &conflict {
        None => (true, "NoConflicts", "no conflicts found"),
        Some((reason, message)) => (false, reason.as_str(), message.as_str()),
    };
    condition(status, "NamesAccepted", accepted, reason, message, now);
    if accepted {
        let message = "the initial names have been accepted";
        condition(status, "Established", true, "InitialNamesAccepted", message, now);
        status["acceptedNames"] = names;
    } else if !was {
        let message = "not all names are accepted";
        condition(status, "Established", false, "NotAccepted", message, now);
        status["acceptedNames"] = json!({"plural": "", "kind": ""});
    }
}

/// Marks a definition as one whose objects are going.
pub(crate) fn terminate(definition: &mut Value, now: Timestamp) {
    let message = "CustomResource deletion is in progress";
    let status = &mut definition["status"];
    condition(status, "Terminating", true, "InstanceDeletionInProgress", message, now);
}

/// The first name that another resource of the group has: a reason and a message.
fn conflict(group: &str, plural: &str, names: &Value, known: &Kinds) -> Option<(String, String)> {
    let others: Vec<&Arc<Kind>> =
        known.iter().filter(|one| one.group == group && one.plural != plural).collect();
    let mut words: HashSet<String> = HashSet::new();
    let mut kinds: HashSet<String> = HashSet::new();
    for other in others {
        words.extend([other.plural.clone(), other.singular.clone()]);
        words.extend(other.short_names.iter().cloned());
        kinds.extend([other.kind.clone(), other.list_kind()]);
    }
    let short = names["shortNames"].as_array().into_iter().flatten();
    let singular = [(text(&names["singular"]), "SingularConflict")].into_iter();
    let asked = [(plural, "PluralConflict")].into_iter().chain(singular);
    let asked = asked.chain(short.map(|name| (text(name), "ShortNamesConflict")));
    for (name, reason) in asked {
        if words.contains(name) {
            return Some((reason.to_owned(), format!("{name:?} is already in use")));
        }
    }
    for (field, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
        let name = text(&names[field]);
        if kinds.contains(name) {
            return Some((reason.to_owned(), format!("{name:?} is already in use")));
        }
    }
    None
}

fn condition(
    status: &mut Value,
    name: &str,
    on: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let value = if on { "True" } else { "False" };
    let mut new = json!({
        "type": name, "status": value, "reason": reason, "message": message,
        "lastTransitionTime": seconds(now),
    });
    let Some(all) = status["conditions"].as_array_mut() else { return };
    match all.iter_mut().find(|one| one["type"] == name) {
        Some(old) => {
            if old["status"] == value {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = new;
        }
        None => all.push(new),
    }
}

/// Whether a definition is going and waits for its objects alone.
pub(crate) fn is_waiting(definition: &Value) -> bool {
    definition.is_terminating() && definition.finalizers().any(|one| one == CLEANUP)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}
