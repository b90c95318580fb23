//! Custom resources: objects against their schema, and definitions.
//!
//! `x-kubernetes-validations` (CEL) are not evaluated: [`super::warnings`] says where a definition has some.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::Regex;
use serde_json::{Value, json};

use super::report::{Path, Report, entries, list, some, text};
use crate::Cause;
use crate::schema::{Limits, ListType, Shape, Typed};

/// Patterns that are kept compiled.
const PATTERNS: usize = 256;

/// What is wrong with a custom resource, by its definition's schema.
#[must_use]
pub fn against(typed: Typed<'_>, object: &Value) -> Vec<Cause> {
    let mut report = Report::default();
    let root = Path::Root("");
    for (name, value) in object.as_object().into_iter().flatten() {
        if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        if let Some(typed) = typed.known(name) {
            check(typed, value, &root.field(name), &mut report);
        }
    }
    required(typed, object, &root, &mut report);
    report.causes
}

fn required(typed: Typed<'_>, value: &Value, at: &Path<'_>, r: &mut Report) {
    let Some(fields) = typed.fields() else { return };
    for name in fields.required.iter().filter(|name| some(value, name).is_none()) {
        r.required(&at.field(name), "");
    }
}

fn check(typed: Typed<'_>, value: &Value, at: &Path<'_>, r: &mut Report) {
    let schema = typed.schema();
    if value.is_null() && schema.nullable {
        return;
    }
    let expected = match typed.shape() {
        Shape::Any | Shape::Quantity | Shape::Ref(_) => "",
        Shape::Boolean => "boolean",
        Shape::Integer => "integer",
        Shape::Number => "number",
        Shape::Text => "string",
        Shape::IntOrString => "integer,string",
        Shape::Object(_) | Shape::Map(_) => "object",
        Shape::List(_) => "array",
    };
    let found = kind(value);
    let fits = expected.is_empty()
        || expected.split(',').any(|one| one == found)
        || expected == "number" && found == "integer";
    if !fits {
        let why = format!("{at} in body must be of type {expected}: {found:?}");
        return r.wrong_type(at, found, &why);
    }
    if !schema.choices.is_empty() && !schema.choices.contains(value) {
        let all: Vec<String> = schema.choices.iter().map(Value::to_string).collect();
        let all: Vec<&str> = all.iter().map(|one| one.trim_matches('"')).collect();
        r.unsupported_value(at, &value.to_string(), &all);
    }
    if schema.format.as_ref() == "date-time" && value.as_str().is_some_and(|text| !is_time(text)) {
        let why = format!("{at} in body must be of type date-time: {value}");
        r.wrong_type(at, value.as_str().unwrap_or(""), &why);
    }
    if let Some(limits) = &schema.limits {
        within(limits, value, at, r);
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(typed) = typed.field(name) {
                    check(typed, value, &at.field(name), r);
                }
            }
            required(typed, value, at, r);
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                check(typed.item(), item, &at.index(i), r);
            }
            unique(typed, items, at, r);
        }
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number)
            if number.is_f64() && number.as_f64().is_some_and(|n| n.fract() != 0.0) =>
        {
            "number"
        }
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_time(text: &str) -> bool {
    crate::decode::is_time(text)
}

/// Items of sets and maps come once.
fn unique(typed: Typed<'_>, items: &[Value], at: &Path<'_>, r: &mut Report) {
    let keys = match typed.list_type() {
        ListType::Atomic => return,
        ListType::Set => &[][..],
        ListType::Map(keys) => keys,
    };
    let key = |item: &Value| {
        if keys.is_empty() {
            return item.clone();
        }
        let fields =
            keys.iter().filter_map(|key| Some((key.to_string(), item.get(key.as_ref())?.clone())));
        Value::Object(fields.collect())
    };
    for (i, item) in items.iter().enumerate() {
        if items[..i].iter().any(|other| key(other) == key(item)) {
            r.duplicate(&at.index(i), &key(item));
        }
    }
}

fn within(limits: &Limits, value: &Value, at: &Path<'_>, r: &mut Report) {
    let mut body = |why: String| r.invalid(at, value, &format!("{at} in body should {why}"));
    if let Some(number) = value.as_f64() {
        if let Some(least) = limits.minimum {
            match limits.exclusive_minimum {
                true if number <= least => body(format!("be greater than {least}")),
                false if number < least => body(format!("be greater than or equal to {least}")),
                _ => {}
            }
        }
        if let Some(most) = limits.maximum {
            match limits.exclusive_maximum {
                true if number >= most => body(format!("be less than {most}")),
                false if number > most => body(format!("be less than or equal to {most}")),
                _ => {}
            }
        }
        if let Some(of) = limits.multiple_of.filter(|of| *of > 0.0)
            && (number / of).fract() != 0.0
        {
            body(format!("be a multiple of {of}"));
        }
    }
    if let Some(text) = value.as_str() {
        return letters(limits, text, value, at, r);
    }
    if let Some(items) = value.as_array() {
        if let Some(least) = limits.min_items.filter(|least| items.len() < *least) {
            let why = format!("{at} in body should have at least {least} items");
            r.invalid(at, &json!(items.len()), &why);
        }
        if let Some(most) = limits.max_items.filter(|most| items.len() > *most) {
            r.too_many(at, items.len(), most);
        }
    }
    if let Some(map) = value.as_object() {
        if let Some(least) = limits.min_properties.filter(|least| map.len() < *least) {
            let why = format!("{at} in body should have at least {least} properties");
            r.invalid(at, &json!(map.len()), &why);
        }
        if let Some(most) = limits.max_properties.filter(|most| map.len() > *most) {
            r.too_many(at, map.len(), most);
        }
    }
    combined(limits, value, at, r);
}

/// Of a text, the first thing that is wrong.
fn letters(limits: &Limits, text: &str, value: &Value, at: &Path<'_>, r: &mut Report) {
    let count = text.chars().count();
    if let Some(most) = limits.max_length.filter(|most| count > *most) {
        return r.too_long(at, most);
    }
    if let Some(least) = limits.min_length.filter(|least| count < *least) {
        return r.invalid(
            at,
            value,
            &format!("{at} in body should be at least {least} chars long"),
        );
    }
    if let Some(source) = &limits.pattern
        && pattern(source).is_some_and(|pattern| !pattern.is_match(text))
    {
        return r.invalid(at, value, &format!("{at} in body should match '{source}'"));
    }
    combined(limits, value, at, r);
}

fn combined(limits: &Limits, value: &Value, at: &Path<'_>, r: &mut Report) {
    let holds = |schema: &crate::schema::Schema| {
        let mut inner = Report::default();
        check(Typed::new(schema), value, at, &mut inner);
        inner.causes.is_empty()
    };
    for schema in &limits.all_of {
        check(Typed::new(schema), value, at, r);
    }
    if !limits.any_of.is_empty() && !limits.any_of.iter().any(holds) {
        r.invalid_text(
            at,
            "",
            &format!("{:?} must validate at least one schema (anyOf)", at.to_string()),
        );
    }
    let count = limits.one_of.iter().filter(|schema| holds(schema)).count();
    if !limits.one_of.is_empty() && count != 1 {
        let found = if count == 0 {
            "Found none valid".to_owned()
        } else {
            format!("Found {count} valid alternatives")
        };
        let why =
            format!("{:?} must validate one and only one schema (oneOf). {found}", at.to_string());
        r.invalid_text(at, "", &why);
    }
    if limits.not.as_ref().is_some_and(holds) {
        r.invalid_text(at, "", &format!("{:?} must not validate the schema (not)", at.to_string()));
    }
}

/// A pattern, compiled once; none if it is none.
fn pattern(source: &str) -> Option<Arc<Regex>> {
    type Known = Mutex<HashMap<String, Option<Arc<Regex>>>>;
    static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(source) {
        return found.clone();
    }
    if known.len() == PATTERNS {
        known.clear();
    }
    let compiled = Regex::new(source).ok().map(Arc::new);
    known.insert(source.to_owned(), compiled.clone());
    compiled
}

/// Where a definition has rules in CEL, which nobody evaluates here.
pub(super) fn unchecked_rules(definition: &Value) -> Vec<String> {
    fn find(json: &Value, path: &str, into: &mut Vec<String>) {
        let Some(map) = json.as_object() else { return };
        if map.contains_key("x-kubernetes-validations") {
            into.push(path.to_owned());
        }
        for (name, inner) in entries(json, "properties") {
            find(inner, &format!("{path}.{name}"), into);
        }
        for inner in ["items", "additionalProperties"] {
            find(&json[inner], &format!("{path}[*]"), into);
        }
    }
    let mut found = Vec::new();
    for version in list(&definition["spec"], "versions") {
        find(&version["schema"]["openAPIV3Schema"], text(version, "name"), &mut found);
    }
    found
}

pub(super) fn definition(new: &Value, r: &mut Report) {
    let spec = &new["spec"];
    let at = Path::Root("spec");
    let names = &spec["names"];
    let (plural, group) = (text(names, "plural"), text(spec, "group"));
    let own = text(&new["metadata"], "name");
    if own != format!("{plural}.{group}") || plural.is_empty() {
        let why = "must be spec.names.plural+\".\"+spec.group";
        r.invalid_text(&Path::Root("metadata.name"), own, why);
    }
    if group.is_empty() {
        r.required(&at.field("group"), "");
    } else if !group.contains('.') {
        r.invalid_text(&at.field("group"), group, "should be a domain with at least one dot");
    }
    r.choice(&at.field("scope"), text(spec, "scope"), &["Cluster", "Namespaced"]);
    let at_names = at.field("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = text(names, field);
        let missing = name.is_empty() || field == "listKind" && text(names, "kind").is_empty();
        if missing {
            r.required(&at_names.field(field), "");
        } else {
            r.name(&at_names.field(field), &name.to_lowercase(), crate::names::dns_1035_label);
        }
    }
    let versions = list(spec, "versions");
    let stored = versions.iter().filter(|version| version["storage"] == true).count();
    let at_versions = at.field("versions");
    if stored != 1 {
        let why = "must have exactly one version marked as storage version";
        r.invalid(&at_versions, &spec["versions"], why);
    }
    for (i, version) in versions.iter().enumerate() {
        let at = at_versions.index(i);
        let at = at.field("schema");
        match some(&version["schema"], "openAPIV3Schema") {
            None => r.required(&at.field("openAPIV3Schema"), ""),
            Some(schema) if versions.len() == 1 => {
                let at = Path::Root("spec.validation.openAPIV3Schema");
                structural(&at, schema, true, r);
            }
            Some(schema) => structural(&at.field("openAPIV3Schema"), schema, true, r),
        }
    }
}

/// Every field says what it is.
fn structural(at: &Path<'_>, schema: &Value, root: bool, r: &mut Report) {
    let open = schema["x-kubernetes-int-or-string"] == true
        || schema["x-kubernetes-preserve-unknown-fields"] == true;
    let properties = at.field("properties");
    for (name, inner) in entries(schema, "properties") {
        structural(&properties.key(name), inner, false, r);
    }
    for field in ["items", "additionalProperties"] {
        if let Some(inner) = some(schema, field).filter(|inner| inner.is_object()) {
            structural(&at.field(field), inner, false, r);
        }
    }
    match text(schema, "type") {
        "" if root => r.required(&at.field("type"), "must not be empty at the root"),
        "" if !open => {
            r.required(&at.field("type"), "must not be empty for specified object fields")
        }
        "object" | "" => {}
        other if root => {
            r.invalid_text(&at.field("type"), other, "must be object at the root");
        }
        "array" if some(schema, "items").is_none() => {
            r.required(&at.field("items"), "must be specified");
        }
        "array" | "string" | "integer" | "number" | "boolean" => {}
        other => {
            let kinds = ["array", "boolean", "integer", "number", "object", "string"];
            r.unsupported(&at.field("type"), other, &kinds);
        }
    }
    if let Some(source) = some(schema, "pattern").and_then(Value::as_str)
        && Regex::new(source).is_err()
    {
        r.invalid_text(&at.field("pattern"), source, "must be a valid regular expression");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_in_cel_are_found_wherever_they_are() {
        let rule = json!([{"rule": "self > 0"}]);
        let inner = json!({"type": "integer", "x-kubernetes-validations": rule});
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"n": inner, "list": {"type": "array", "items": inner}}},
        }});
        let definition =
            json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}});
        assert_eq!(unchecked_rules(&definition), ["v1.spec.list[*]", "v1.spec.n"]);
    }

    #[test]
    fn alternatives_may_differ_in_nothing_but_what_must_be_there() {
        let one = |name: &str| json!({"required": [name]});
        let neither = json!({"not": {"anyOf": [one("simple"), one("hash")]}});
        let text = json!({"type": "string"});
        let balancer = json!({
            "type": "object", "properties": {"simple": text, "hash": text},
            "oneOf": [neither, one("simple"), one("hash")],
        });
        let schema = json!({"type": "object", "properties": {"balancer": balancer}});
        let schema = crate::schema::Schema::from_json(&schema, true).unwrap();
        let wrong =
            |object: Value| against(Typed::new(&schema), &json!({"balancer": object})).len();
        assert_eq!(wrong(json!({})), 0);
        assert_eq!(wrong(json!({"simple": "a"})), 0);
        assert_eq!(wrong(json!({"hash": "a"})), 0);
        assert_eq!(wrong(json!({"simple": "a", "hash": "b"})), 1);
    }
}
