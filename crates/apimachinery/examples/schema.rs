//! Makes `schema/kinds.json` from a cluster's OpenAPI v3 documents: facts alone, without their texts.
//!
//! Reads JSON documents from the files named, or one from standard input:
//!
//!     for at in api/v1 apis/apps/v1 ...; do kubectl get --raw /openapi/v3/$at > $(echo $at | tr / _).json; done
//!     cargo run -p apimachinery --example schema -- *.json > crates/apimachinery/schema/kinds.json

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use apimachinery::builtin;
use apimachinery::schema::{Dialect, Schema};
use serde_json::{Value, json};

/// Types that requests and answers use beside the kinds that are served.
const BESIDE: &[(&str, &str, &str)] = &[
    ("", "v1", "Binding"),
    ("", "v1", "DeleteOptions"),
    ("", "v1", "Status"),
    ("autoscaling", "v1", "Scale"),
    ("policy", "v1", "Eviction"),
];
/// Words of a type that are facts.
const KIND: &str = "x-kubernetes-group-version-kind";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    if files.is_empty() {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        gather(&text, &mut all)?;
    }
    for file in files {
        gather(&std::fs::read_to_string(file)?, &mut all)?;
    }
    print(&all)
}

fn gather(text: &str, all: &mut BTreeMap<String, Value>) -> Outcome<()> {
    let document: Value = serde_json::from_str(text)?;
    let schemas = document["components"]["schemas"].as_object().ok_or("no components.schemas")?;
    for (name, schema) in schemas {
        // A group's document says of a type that all groups share only which kind it is there.
        let kinds = schema[KIND].as_array().cloned().unwrap_or_default();
        let known = all.entry(name.clone()).or_insert_with(|| schema.clone());
        if let Some(list) = known.get_mut(KIND).and_then(Value::as_array_mut) {
            for kind in kinds {
                if !list.contains(&kind) {
                    list.push(kind);
                }
            }
        }
    }
    Ok(())
}

fn print(all: &BTreeMap<String, Value>) -> Outcome<()> {
    let mut wanted: BTreeSet<(String, String, String)> = BTreeSet::new();
    for kind in builtin::kinds().iter() {
        for name in [kind.kind.clone(), kind.list_kind()] {
            wanted.insert((kind.group.clone(), kind.version.clone(), name));
        }
    }
    for (group, version, kind) in BESIDE {
        wanted.insert(((*group).to_owned(), (*version).to_owned(), (*kind).to_owned()));
    }
    let mut open: Vec<&String> = Vec::new();
    for (name, schema) in all {
        if kinds_of(schema).iter().any(|kind| wanted.contains(kind)) {
            open.push(name);
        }
    }
    let mut kept: BTreeMap<&String, String> = BTreeMap::new();
    while let Some(name) = open.pop() {
        let (name, json) = all.get_key_value(name).ok_or_else(|| format!("no type {name}"))?;
        if kept.contains_key(name) {
            continue;
        }
        let mut data = Schema::from_json(json, false)?.to_json(Dialect::Data);
        let kinds: Vec<(String, String, String)> =
            kinds_of(json).into_iter().filter(|kind| wanted.contains(kind)).collect();
        if !kinds.is_empty() {
            let kind =
                |(group, version, kind)| json!({"group": group, "version": version, "kind": kind});
            data[KIND] = kinds.into_iter().map(kind).collect();
        }
        references(&data, all, &mut open);
        kept.insert(name, data.to_string());
    }
    let mut out = std::io::stdout().lock();
    let lines: Vec<String> =
        kept.iter().map(|(name, data)| format!("{}: {data}", json!(name))).collect();
    writeln!(out, "{{\n{}\n}}", lines.join(",\n"))?;
    Ok(())
}

fn kinds_of(schema: &Value) -> Vec<(String, String, String)> {
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or("").to_owned();
    let list = schema[KIND].as_array().into_iter().flatten();
    list.map(|one| (text(one, "group"), text(one, "version"), text(one, "kind"))).collect()
}

fn references<'a>(json: &Value, all: &'a BTreeMap<String, Value>, open: &mut Vec<&'a String>) {
    match json {
        Value::Object(map) => {
            for (name, value) in map {
                match value.as_str().and_then(|text| all.get_key_value(text)) {
                    Some((found, _)) if name == "$ref" => open.push(found),
                    _ => references(value, all, open),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|one| references(one, all, open)),
        _ => {}
    }
}
