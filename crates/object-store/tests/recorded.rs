//! Requests, and what kube-apiserver 1.34.3 (without controllers) answered: the store answers the same, but for what differs
//! from run to run (uids, times, versions), which address a service happens to get, what this cluster leaves to others (protection of claims),
//! and what the admission plugin ServiceAccount does, which that server ran without (its own test is beside it, in `strategy`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use apimachinery::decode::{self, FieldValidation};
use apimachinery::patch::{Patch, PatchType};
use apimachinery::{Key, Kind, Meta, Status};
use object_store::{Part, Store, WriteOptions};
use serde::Deserialize;
use serde_json::{Value, json};

const WRITES: &str = include_str!("recorded/writes.json");
const CUSTOM: &str = include_str!("recorded/custom.json");
const INVALID: &str = include_str!("recorded/invalid.json");

/// Where the recorded server gave services their addresses.
const THEIR_SERVICES: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 0, 0);

#[derive(Deserialize)]
struct Scenario {
    name: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    method: String,
    path: String,
    query: String,
    r#type: String,
    body: Option<Value>,
    text: Option<String>,
    code: u16,
    answer: Value,
    warnings: Vec<String>,
}

impl Step {
    fn bytes(&self) -> Vec<u8> {
        match &self.text {
            Some(text) => text.clone().into_bytes(),
            None => self.body.as_ref().map(Value::to_string).unwrap_or_default().into_bytes(),
        }
    }

    fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// What a path names: kind, namespace, name, subresource.
fn target(store: &Store, path: &str) -> (Arc<Kind>, String, String, String) {
    let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let group = if parts.remove(0) == "api" { "" } else { parts.remove(0) };
    parts.remove(0);
    let namespace = if parts.len() > 2 && parts[0] == "namespaces" {
        parts.remove(0);
        parts.remove(0)
    } else {
        ""
    };
    let part = |at: usize| parts.get(at).copied().unwrap_or("").to_owned();
    let kinds = store.kinds();
    let kind = kinds.iter().find(|kind| kind.group == group && kind.plural == parts[0]);
    (Arc::clone(kind.unwrap()), namespace.to_owned(), part(1), part(2))
}

fn answer(store: &Store, step: &Step) -> Result<(Value, Vec<String>), Status> {
    let (kind, namespace, name, below) = target(store, &step.path);
    let schema = store.schema(&kind);
    let validation = FieldValidation::parse(step.query("fieldValidation").unwrap_or(""))?;
    let options = WriteOptions {
        manager: Some(step.query("fieldManager").unwrap_or("rec").to_owned()),
        part: if below == "status" { Part::Status } else { Part::Main },
        dry_run: step.query("dryRun").is_some(),
        ..WriteOptions::default()
    };
    let key = Key::namespaced(&namespace, &name);
    let placed = |mut object: Value| {
        if !namespace.is_empty() {
            object.metadata_mut().insert("namespace".to_owned(), json!(namespace));
        }
        object
    };
    if step.method == "PATCH" {
        let how = PatchType::of_media_type(&step.r#type).unwrap();
        if how == PatchType::Apply {
            let config =
                decode::config(&kind, &name, &namespace, &step.bytes(), validation)?.object;
            let force = step.query("force") == Some("true");
            let (object, _) = store.apply(&kind, &key, &config, force, &options)?;
            return Ok((object.value().clone(), Vec::new()));
        }
        let patch = Patch::read(how, &step.bytes(), schema.is_custom())?;
        let mut warnings = Vec::new();
        let object = store.update(&kind, &key, &options, &mut |old| {
            let patched = patch.apply(&kind, schema.typed(), old, validation)?;
            warnings = patched.warnings;
            Ok(patched.object)
        })?;
        return Ok((object.value().clone(), warnings));
    }
    let decoded = decode::object(&kind, schema.typed(), &step.bytes(), validation)?;
    let object = placed(decoded.object);
    let stored = match step.method.as_str() {
        "POST" => store.create(&kind, object, &options)?,
        _ => store.replace(&kind, &object, &options)?,
    };
    Ok((stored.value().clone(), decoded.warnings))
}

/// Whether the account that a new pod names could be made: where its name is none, the plugin refuses the pod before
/// anybody validates it.
fn has_account(store: &Store, step: &Step) -> bool {
    let name = step.body.as_ref().and_then(|pod| pod["spec"]["serviceAccountName"].as_str());
    let (Some(name), true) = (name, step.path.ends_with("/pods")) else { return true };
    let account = json!({"metadata": {"name": name, "namespace": "default"}});
    let made = store.create(&store.kind("", "serviceaccounts"), account, &WriteOptions::default());
    made.is_ok()
}

/// A pod without what its default account brings along.
fn without_account(spec: &mut Value) {
    let is_ours =
        |one: &Value| one["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
    let drop = |within: &mut Value, list: &str| {
        if let Some(all) = within[list].as_array_mut() {
            all.retain(|one| !is_ours(one));
            if all.is_empty() {
                within[list] = Value::Null;
            }
        }
    };
    drop(spec, "volumes");
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            drop(container, "volumeMounts");
        }
    }
    for field in ["serviceAccountName", "serviceAccount"] {
        if spec[field] == "default" {
            spec[field] = Value::Null;
        }
    }
}

/// What is the same in every run.
fn constant(value: &Value) -> Value {
    let mut value = value.clone();
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove(field);
        }
    }
    match value["kind"].as_str() {
        Some("Service") if value["spec"]["clusterIP"] != "None" => {
            for field in ["clusterIP", "clusterIPs"] {
                value["spec"].as_object_mut().unwrap().remove(field);
            }
        }
        // The real server sees to definitions later.
        Some("CustomResourceDefinition") => {
            value.as_object_mut().unwrap().remove("status");
        }
        Some("Pod") => without_account(&mut value["spec"]),
        Some("PersistentVolumeClaim") => {
            value["metadata"].as_object_mut().unwrap().remove("finalizers");
        }
        // Go's own difference of two structs.
        Some("Status") if value["message"].as_str().is_some_and(|text| text.contains("\n@@")) => {
            for at in ["/message", "/details/causes/0/message"] {
                let text = value.pointer_mut(at).unwrap();
                let end = text.as_str().unwrap().split("\n@@").next().unwrap().to_owned();
                *text = json!(end);
            }
        }
        // The text of the whole object, with its uid and times.
        Some("Status") if value["details"]["causes"][0]["field"] == "patch" => {
            for at in ["/message", "/details/causes/0/message"] {
                let text = value.pointer_mut(at).unwrap();
                let end = text.as_str().unwrap().rsplit("\": ").next().unwrap().to_owned();
                *text = json!(end);
            }
        }
        _ => {}
    }
    // Both servers walk some maps in any order.
    if let Some(causes) = value["details"]["causes"].as_array_mut()
        && causes.len() > 1
    {
        causes.sort_by_key(Value::to_string);
        let mut letters: Vec<char> = value["message"].as_str().unwrap().chars().collect();
        letters.sort_unstable();
        value["message"] = json!(letters.into_iter().collect::<String>());
    }
    let mut text = value.to_string();
    for uid in uids(&text) {
        text = text.replace(&uid, "UID");
    }
    let times = written_times(&text);
    for time in times {
        text = text.replace(&time, "TIME");
    }
    let mut value: Value = serde_json::from_str(&text).unwrap();
    tidy(&mut value);
    value
}

/// Everything that looks like a uid.
fn uids(text: &str) -> Vec<String> {
    const LENGTH: usize = 36;
    let is_uid = |part: &[u8]| {
        part.iter().enumerate().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => *c == b'-',
            _ => c.is_ascii_hexdigit(),
        })
    };
    let all = text.as_bytes().windows(LENGTH).filter(|part| is_uid(part));
    all.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Times of this year or later: written now, by them or by us.
fn written_times(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .match_indices("\"time\":\"")
        .filter_map(|(at, mark)| text.get(at + mark.len()..at + mark.len() + 20).map(str::to_owned))
        .collect();
    found.dedup();
    found
}

/// Without nulls, and managed fields in an order that does not depend on times.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            if let Some(Value::Array(managed)) = map.get_mut("managedFields") {
                managed.sort_by_key(|one| {
                    format!("{}{}{}", one["operation"], one["manager"], one["subresource"])
                });
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Where two values differ.
fn differences(path: &str, theirs: &Value, ours: &Value, into: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(one), Value::Object(two)) => {
            let mut names: Vec<&String> = one.keys().chain(two.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let none = Value::Null;
                let pair = (one.get(name).unwrap_or(&none), two.get(name).unwrap_or(&none));
                differences(&format!("{path}.{name}"), pair.0, pair.1, into);
            }
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            for (at, (one, two)) in one.iter().zip(two).enumerate() {
                differences(&format!("{path}[{at}]"), one, two, into);
            }
        }
        (one, two) if one == two => {}
        (one, two) => into.push(format!("{path}\n      theirs: {one}\n      ours:   {two}")),
    }
}

fn replay(text: &str) -> (usize, Vec<String>) {
    let scenarios: Vec<Scenario> = serde_json::from_str(text).unwrap();
    let only = std::env::var("ONLY").unwrap_or_default();
    let (mut count, mut wrong) = (0, Vec::new());
    for scenario in scenarios.iter().filter(|one| one.name.contains(&only)) {
        let store = Store::default();
        store.set_service_network(THEIR_SERVICES);
        let namespace = json!({"metadata": {"name": "default"}});
        store.create(&store.kind("", "namespaces"), namespace, &WriteOptions::default()).unwrap();
        for (at, step) in scenario.steps.iter().enumerate() {
            if !has_account(&store, step) {
                continue;
            }
            count += 1;
            let (ours, warnings) = match answer(&store, step) {
                Ok((object, warnings)) => (object, warnings),
                Err(status) => (status.to_json(), Vec::new()),
            };
            let mut found = Vec::new();
            differences("", &constant(&step.answer), &constant(&ours), &mut found);
            let theirs: Vec<&String> =
                step.warnings.iter().filter(|one| one.contains(" field \"")).collect();
            if step.code < 300 && theirs != warnings.iter().collect::<Vec<_>>() {
                found.push(format!(
                    "warnings\n      theirs: {theirs:?}\n      ours:   {warnings:?}"
                ));
            }
            if !found.is_empty() {
                let (name, method, path) = (&scenario.name, &step.method, &step.path);
                let found = found.join("\n    ");
                wrong.push(format!(
                    "{name}, step {at} ({method} {path}, {}):\n    {found}",
                    step.code
                ));
            }
        }
    }
    (count, wrong)
}

#[test]
fn writes_are_answered_as_by_the_real_server() {
    let (count, wrong) = replay(WRITES);
    assert!(wrong.is_empty(), "{} of {count} answers differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 60 || std::env::var("ONLY").is_ok());
}

#[test]
fn custom_resources_are_answered_as_by_the_real_server() {
    let (count, wrong) = replay(CUSTOM);
    assert!(wrong.is_empty(), "{} of {count} answers differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn wrong_objects_are_refused_as_by_the_real_server() {
    let (count, wrong) = replay(INVALID);
    assert!(wrong.is_empty(), "{} of {count} answers differ\n{}", wrong.len(), wrong.join("\n"));
}
