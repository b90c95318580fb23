//! The fields that an object sets, and how two versions differ.

use std::collections::BTreeMap;

use serde_json::Value;

use super::atom::{Atom, atom, entry, step};
use super::path::Step;
use super::set::FieldSet;
use crate::schema::Typed;

/// The paths that a value sets.
pub(super) fn fields_of(typed: Typed<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect(typed, value, &mut Vec::new(), &mut set);
    set
}

fn collect(typed: Typed<'_>, value: &Value, path: &mut Vec<Step>, set: &mut FieldSet) {
    match (atom(typed, value), value) {
        (Atom::Map(typed), Value::Object(map)) => {
            for (name, value) in map {
                let (inner, named) = entry(typed, name);
                path.push(Step::field(name));
                collect(inner, value, path, set);
                let empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
                if empty || !named {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Atom::List(typed, keys), Value::Array(list)) => {
            let steps: Vec<Option<Step>> =
                list.iter().map(|item| step(typed, keys, item)).collect();
            for (step, item) in steps.iter().zip(list) {
                let Some(known) = step else { continue };
                path.push(known.clone());
                if steps.iter().filter(|other| *other == step).count() == 1 {
                    collect(typed.item(), item, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
        (Atom::Map(_) | Atom::List(..), _) => {}
        (Atom::Leaf, _) => set.insert(path),
    }
}

/// How two versions differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// The same without some fields and what is below them.
    pub(super) fn without(self, fields: &FieldSet) -> Self {
        Self {
            added: self.added.without(fields),
            modified: self.modified.without(fields),
            removed: self.removed.without(fields),
        }
    }

    /// What is new or another.
    pub(super) fn touched(&self) -> FieldSet {
        self.added.union(&self.modified)
    }
}

/// Compares two versions.
pub(super) fn compare(typed: Typed<'_>, old: &Value, new: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    differ(typed, Some(old), Some(new), &mut Vec::new(), &mut comparison);
    comparison
}

fn differ(
    typed: Typed<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<Step>,
    into: &mut Comparison,
) {
    if old == new {
        return;
    }
    let Some(shown) = new.or(old) else { return };
    let same_kind = match (old, new) {
        (Some(old), Some(new)) => {
            let kinds = (atom(typed, old), atom(typed, new));
            matches!(kinds, (Atom::Map(_), Atom::Map(_)) | (Atom::List(..), Atom::List(..)))
        }
        _ => true,
    };
    let kind = if same_kind { atom(typed, shown) } else { Atom::Leaf };
    let empty = |value: Option<&Value>| match value {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => true,
    };
    match kind {
        Atom::Map(typed) if !(empty(old) && empty(new)) => maps(typed, old, new, path, into),
        Atom::List(typed, keys) if !(empty(old) && empty(new)) => {
            lists(typed, keys, old, new, path, into);
        }
        _ => {
            match (old, new) {
                (None, _) => into.added.insert(path),
                (_, None) => into.removed.insert(path),
                _ => into.modified.insert(path),
            }
            return;
        }
    }
    match (old, new) {
        (None, _) => into.added.insert(path),
        (_, None) => into.removed.insert(path),
        _ => {}
    }
}

fn maps(
    typed: Typed<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<Step>,
    into: &mut Comparison,
) {
    let (olds, news) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    let names = olds.into_iter().flat_map(|map| map.keys());
    let more = news
        .into_iter()
        .flat_map(|map| map.keys())
        .filter(|name| olds.is_none_or(|olds| !olds.contains_key(name.as_str())));
    for name in names.chain(more) {
        let (inner, _) = entry(typed, name);
        let pair = (olds.and_then(|map| map.get(name)), news.and_then(|map| map.get(name)));
        if pair.0 == pair.1 {
            continue;
        }
        path.push(Step::field(name));
        differ(inner, pair.0, pair.1, path, into);
        path.pop();
    }
}

fn lists(
    typed: Typed<'_>,
    keys: &[Box<str>],
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<Step>,
    into: &mut Comparison,
) {
    let index = |value: Option<&'_ Value>| {
        let mut by_step: BTreeMap<Step, Vec<Value>> = BTreeMap::new();
        for item in value.and_then(Value::as_array).into_iter().flatten() {
            if let Some(step) = step(typed, keys, item) {
                by_step.entry(step).or_default().push(item.clone());
            }
        }
        by_step
    };
    let (olds, news) = (index(old), index(new));
    let steps = olds.keys().chain(news.keys().filter(|step| !olds.contains_key(step)));
    for step in steps {
        let none = Vec::new();
        let (before, after) = (olds.get(step).unwrap_or(&none), news.get(step).unwrap_or(&none));
        path.push(step.clone());
        match (before.as_slice(), after.as_slice()) {
            (before @ ([] | [_]), after @ ([] | [_])) => {
                differ(typed.item(), before.first(), after.first(), path, into);
            }
            ([_, _, ..], [_, _, ..]) => {
                if before != after {
                    into.modified.insert(path);
                }
            }
            ([_, _, ..], after) => {
                if let Some(one) = after.first() {
                    differ(typed.item(), None, Some(one), path, into);
                }
                into.removed.insert(path);
            }
            (before, _) => {
                if let Some(one) = before.first() {
                    differ(typed.item(), Some(one), None, path, into);
                }
                into.added.insert(path);
            }
        }
        path.pop();
    }
}
