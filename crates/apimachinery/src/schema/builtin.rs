//! The types of the built-in kinds, read once.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde_json::Value;

use super::{Schema, Shape};

/// Facts read from a cluster by `examples/schema.rs`.
const KINDS: &str = include_str!("../../schema/kinds.json");
/// Types of the metrics API, which a plain control plane does not serve; the same form.
const METRICS: &str = include_str!("../../schema/metrics.json");
/// Fields whose zero value the API server drops: `type field field ...` a line.
const ZEROS: &str = include_str!("../../schema/zeros.txt");
/// Our own words about kinds and fields.
const WORDS: &str = include_str!("../../schema/words.json");

/// One named type.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name, like `io.k8s.api.core.v1.Pod`.
    pub name: String,
    /// Its type.
    pub schema: Schema,
    /// The kinds it is: group, version, kind.
    pub kinds: Vec<(String, String, String)>,
}

/// All named types.
#[derive(Debug)]
pub struct Definitions {
    by_name: BTreeMap<String, Definition>,
    by_kind: HashMap<(String, String), String>,
}

/// The types of the built-in kinds, of what they refer to, and of the metrics API.
///
/// # Panics
/// Never: the data is part of this crate, and a test reads all of it.
#[must_use]
pub fn builtin() -> &'static Definitions {
    static ALL: LazyLock<Definitions> = LazyLock::new(read);
    &ALL
}

impl Definitions {
    /// A type by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.by_name.get(name)
    }

    /// The type of a kind, by `apiVersion` and `kind`.
    #[must_use]
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Definition> {
        let name = self.by_kind.get(&(api_version.to_owned(), kind.to_owned()))?;
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.by_name.values()
    }

    /// A type and all it refers to, by name.
    #[must_use]
    pub fn closure<'a>(&'a self, roots: impl IntoIterator<Item = &'a str>) -> Vec<&'a Definition> {
        let mut found: BTreeMap<&str, &Definition> = BTreeMap::new();
        let mut open: Vec<&str> = roots.into_iter().collect();
        while let Some(name) = open.pop() {
            let Some(definition) = self.get(name) else { continue };
            if found.insert(&definition.name, definition).is_none() {
                references(&definition.schema, &mut open);
            }
        }
        found.into_values().collect()
    }
}

/// The names a type refers to.
fn references<'a>(schema: &'a Schema, into: &mut Vec<&'a str>) {
    match &schema.shape {
        Shape::Ref(name) => into.push(name),
        Shape::List(of) | Shape::Map(of) => references(of, into),
        Shape::Object(fields) => {
            for schema in fields.known.values().chain(fields.others.as_deref()) {
                references(schema, into);
            }
        }
        _ => {}
    }
}

#[expect(clippy::expect_used, reason = "the data is ours, and a test reads all of it")]
fn read() -> Definitions {
    let mut by_name = BTreeMap::new();
    let mut by_kind = HashMap::new();
    for text in [KINDS, METRICS] {
        let file: BTreeMap<String, Value> = serde_json::from_str(text).expect("a JSON object");
        for (name, json) in file {
            let schema = Schema::from_json(&json, false).expect("a schema");
            let kinds = kinds_of(&json);
            for (group, version, kind) in &kinds {
                let api_version =
                    if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
                by_kind.entry((api_version, kind.clone())).or_insert_with(|| name.clone());
            }
            by_name.insert(name.clone(), Definition { name, schema, kinds });
        }
    }
    for line in ZEROS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let definition = words.next().and_then(|name| by_name.get_mut(name));
        let Some(Definition { schema: Schema { shape: Shape::Object(fields), .. }, .. }) =
            definition
        else {
            continue;
        };
        for field in words {
            if let Some(schema) = fields.known.get_mut(field) {
                schema.drop_zero = true;
            }
        }
    }
    describe(&mut by_name);
    Definitions { by_name, by_kind }
}

#[expect(clippy::expect_used, reason = "the data is ours, and a test reads all of it")]
fn describe(by_name: &mut BTreeMap<String, Definition>) {
    let words: HashMap<String, HashMap<String, String>> =
        serde_json::from_str(WORDS).expect("texts by type and field");
    for (name, texts) in words {
        let Some(Definition { schema, .. }) = by_name.get_mut(&name) else { continue };
        if let Some(text) = texts.get("") {
            schema.description = text.as_str().into();
        }
        if let Shape::Object(fields) = &mut schema.shape {
            for (field, schema) in &mut fields.known {
                if let Some(text) = texts.get(field.as_ref()) {
                    schema.description = text.as_str().into();
                }
            }
        }
    }
}

fn kinds_of(json: &Value) -> Vec<(String, String, String)> {
    let all = json["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or("").to_owned();
    all.map(|one| (text(one, "group"), text(one, "version"), text(one, "kind"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Dialect, ListType, Typed};

    #[test]
    fn every_kind_that_is_served_has_a_type_with_metadata() {
        for kind in crate::builtin::kinds().iter() {
            let found = builtin().of_kind(&kind.api_version(), &kind.kind);
            let found = found.unwrap_or_else(|| panic!("no type for {kind}"));
            assert!(Typed::new(&found.schema).walk(&["metadata", "labels"]).is_some(), "{kind}");
            let list = builtin().of_kind(&kind.api_version(), &kind.list_kind());
            assert!(list.is_some(), "no list type for {kind}");
        }
    }

    #[test]
    fn no_type_refers_to_one_that_is_missing() {
        for definition in builtin().iter() {
            let mut names = Vec::new();
            references(&definition.schema, &mut names);
            for name in names {
                assert!(builtin().get(name).is_some(), "{} refers to {name}", definition.name);
            }
        }
    }

    #[test]
    fn what_is_printed_as_data_reads_back_the_same() {
        for definition in builtin().iter() {
            let mut schema = definition.schema.clone();
            forget_words(&mut schema);
            let back = Schema::from_json(&schema.to_json(Dialect::Data), false).unwrap();
            assert_eq!(back, schema, "{}", definition.name);
        }
    }

    #[test]
    fn container_ports_merge_by_port_and_protocol() {
        let pod = &builtin().of_kind("v1", "Pod").unwrap().schema;
        let ports = Typed::new(pod).walk(&["spec", "containers", "ports"]).unwrap();
        let keys = vec!["containerPort".into(), "protocol".into()];
        assert_eq!(ports.list_type(), &ListType::Map(keys));
        assert_eq!(ports.item().known("protocol").unwrap().default().unwrap(), "TCP");
    }

    #[test]
    fn words_are_about_types_and_fields_that_exist() {
        let words: HashMap<String, HashMap<String, String>> = serde_json::from_str(WORDS).unwrap();
        for (name, texts) in words {
            let definition = builtin().get(&name).unwrap_or_else(|| panic!("no type {name}"));
            for field in texts.keys().filter(|field| !field.is_empty()) {
                assert!(Typed::new(&definition.schema).known(field).is_some(), "{name}.{field}");
            }
        }
    }

    fn forget_words(schema: &mut Schema) {
        schema.description = "".into();
        match &mut schema.shape {
            Shape::List(of) | Shape::Map(of) => forget_words(of),
            Shape::Object(fields) => fields.known.values_mut().for_each(forget_words),
            _ => {}
        }
    }
}
