//! How a place in an object merges: as one value, field by field, or item by item.

use serde_json::Value;

use super::path::Step;
use crate::schema::{ListType, Shape, Typed};

/// How a place merges.
#[derive(Clone, Copy, Debug)]
pub(super) enum Atom<'a> {
    /// As one value.
    Leaf,
    /// By fields or entries.
    Map(Typed<'a>),
    /// By items with keys; no keys: items are their own.
    List(Typed<'a>, &'a [Box<str>]),
}

/// How a place merges, given what is there: where the schema does not say, the value does.
pub(super) fn atom<'a>(typed: Typed<'a>, value: &Value) -> Atom<'a> {
    match (typed.shape(), value) {
        (Shape::Object(_) | Shape::Map(_), _) if typed.is_atomic() => Atom::Leaf,
        (Shape::Object(_) | Shape::Map(_), Value::Object(_) | Value::Null) => Atom::Map(typed),
        (Shape::Any, Value::Object(_)) if !typed.is_atomic() => Atom::Map(typed),
        (Shape::List(_), Value::Array(_) | Value::Null) => match typed.list_type() {
            ListType::Atomic => Atom::Leaf,
            ListType::Set => Atom::List(typed, &[]),
            ListType::Map(keys) => Atom::List(typed, keys),
        },
        _ => Atom::Leaf,
    }
}

/// The step to an item; none when it has no key.
pub(super) fn step(list: Typed<'_>, keys: &[Box<str>], item: &Value) -> Option<Step> {
    if keys.is_empty() {
        let scalar = matches!(item, Value::String(_) | Value::Number(_) | Value::Bool(_));
        return scalar.then(|| Step::Item(item.clone()));
    }
    let map = item.as_object()?;
    let mut fields = Vec::with_capacity(keys.len());
    for key in keys {
        let value = match map.get(key.as_ref()) {
            Some(value) => Some(value.clone()),
            None => list.item().known(key).and_then(Typed::default).cloned(),
        };
        fields.extend(value.map(|value| (key.clone(), value)));
    }
    fields.sort_by(|(one, _), (two, _)| one.cmp(two));
    (!fields.is_empty()).then_some(Step::Key(fields))
}

/// The type of an entry of a map, and whether the schema names it.
pub(super) fn entry<'a>(map: Typed<'a>, name: &str) -> (Typed<'a>, bool) {
    match map.known(name) {
        Some(typed) => (typed, true),
        None => (map.field(name).unwrap_or_else(Typed::any), false),
    }
}
