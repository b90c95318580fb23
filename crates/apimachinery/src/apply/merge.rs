//! An applied configuration over the newest version, and fields taken out of a version.

use serde_json::{Map, Value};

use super::atom::{Atom, atom, entry, step};
use super::path::Step;
use super::set::FieldSet;
use crate::schema::Typed;

/// `over` merged into `base`: what `over` says wins, item by item where lists have keys.
pub(super) fn merge(typed: Typed<'_>, base: &Value, over: &Value) -> Value {
    match (atom(typed, over), base, over) {
        (Atom::Map(typed), Value::Object(old), Value::Object(new)) => {
            let mut merged = old.clone();
            for (name, value) in new {
                let (inner, _) = entry(typed, name);
                let value = match old.get(name) {
                    Some(old) => merge(inner, old, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Atom::List(typed, keys), Value::Array(old), Value::Array(new)) => {
            Value::Array(merge_lists(typed, keys, old, new))
        }
        _ => over.clone(),
    }
}

/// Items of both: shared ones in the order of `new`; those of `old` alone stay where they were between them.
fn merge_lists(typed: Typed<'_>, keys: &[Box<str>], old: &[Value], new: &[Value]) -> Vec<Value> {
    let steps = |list: &[Value]| -> Vec<Option<Step>> {
        list.iter().map(|item| step(typed, keys, item)).collect()
    };
    let (old_steps, new_steps) = (steps(old), steps(new));
    let mut shared = new_steps.iter().filter(|step| old_steps.contains(step)).peekable();
    let mut merged_new: Vec<&Option<Step>> = Vec::with_capacity(new.len());
    let mut out = Vec::with_capacity(old.len().max(new.len()));
    let item = |at: usize| {
        let before: Vec<&Value> = old_steps
            .iter()
            .zip(old)
            .filter(|(step, _)| **step == new_steps[at])
            .map(|(_, item)| item)
            .collect();
        match before.as_slice() {
            [before] => merge(typed.item(), before, &new[at]),
            _ => new[at].clone(),
        }
    };
    let (mut l, mut r) = (0, 0);
    while l < old.len() || r < new.len() {
        if l < old.len() && r < new.len() {
            if old_steps[l] == new_steps[r] {
                merged_new.push(&new_steps[r]);
                out.push(item(r));
                l += 1;
                r += 1;
                shared.next();
                continue;
            }
            let awaited = shared.peek().is_some_and(|next| **next != old_steps[l]);
            if awaited && new_steps.contains(&old_steps[l]) {
                l += 1;
                continue;
            }
        }
        if l < old.len() {
            if !new_steps.contains(&old_steps[l]) {
                out.push(old[l].clone());
                l += 1;
                continue;
            }
            if merged_new.contains(&&old_steps[l]) {
                l += 1;
            }
        }
        if r < new.len() {
            merged_new.push(&new_steps[r]);
            out.push(item(r));
            if shared.peek().is_some_and(|next| **next == new_steps[r]) {
                shared.next();
            }
            r += 1;
        }
    }
    out
}

/// A version without some fields.
pub(super) fn remove(typed: Typed<'_>, value: &Value, gone: &FieldSet) -> Value {
    match (atom(typed, value), value) {
        (Atom::Map(typed), Value::Object(map)) => {
            let mut kept = Map::new();
            for (name, value) in map {
                let step = Step::field(name);
                if gone.has(&step) {
                    continue;
                }
                let value = match gone.at(&step) {
                    Some(below) => remove(entry(typed, name).0, value, below),
                    None => value.clone(),
                };
                kept.insert(name.clone(), value);
            }
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        (Atom::List(typed, keys), Value::Array(list)) => {
            let mut kept = Vec::with_capacity(list.len());
            for item in list {
                let step = step(typed, keys, item);
                if step.as_ref().is_some_and(|step| gone.has(step)) {
                    continue;
                }
                kept.push(match step.as_ref().and_then(|step| gone.at(step)) {
                    Some(below) => remove(typed.item(), item, below),
                    None => item.clone(),
                });
            }
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        _ => value.clone(),
    }
}
