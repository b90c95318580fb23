//! Strategic merge patch: lists merge by the keys their schema names, and directives say what else is meant.
//!
//! Rules: Kubernetes' strategicpatch, as observed: `$patch: replace|delete|merge`, `$retainKeys`,
//! `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`; order is the patch's, items that only the object has keep
//! their places around it.

use serde_json::{Map, Value};

use crate::schema::{Merge, Typed};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER_OF: &str = "$setElementOrder/";

/// Applies a patch to an object.
pub(super) fn apply(typed: Typed<'_>, object: &mut Value, patch: &Value) -> Result<(), String> {
    let old = std::mem::take(object);
    let (Value::Object(old), Value::Object(patch)) = (old, patch) else {
        return Err("a strategic merge patch is about objects".to_owned());
    };
    *object = Value::Object(merge_map(Some(typed), old, patch)?);
    Ok(())
}

fn merge_map(
    typed: Option<Typed<'_>>,
    mut old: Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    match patch.get(PATCH).map(|directive| directive.as_str().unwrap_or("")) {
        None | Some("merge") => {}
        Some("replace") => {
            let mut rest = patch.clone();
            rest.remove(PATCH);
            return Ok(rest);
        }
        Some("delete") => return Ok(Map::new()),
        Some(other) => return Err(format!("unknown patch type found: {other}")),
    }
    retain(&mut old, patch)?;
    let mut ordered: Vec<&str> = Vec::new();
    for (name, order) in patch {
        if let Some(field) = name.strip_prefix(ORDER_OF) {
            reorder(typed, &mut old, patch, field, order)?;
            ordered.push(field);
        }
    }
    for (name, new) in patch {
        if name == RETAIN
            || name == PATCH
            || name.starts_with(ORDER_OF)
            || ordered.contains(&name.as_str())
        {
            continue;
        }
        if let Some(field) = name.strip_prefix(DELETE_FROM) {
            if let Some(Value::Array(list)) = old.get_mut(field) {
                let gone = list_of(new)?;
                list.retain(|one| !gone.contains(one));
            }
            continue;
        }
        let merged = match (old.remove(name), new) {
            (_, Value::Null) => None,
            (Some(Value::Object(old)), Value::Object(new)) => {
                let typed = typed.and_then(|typed| typed.field(name));
                Some(Value::Object(merge_map(typed, old, new)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let typed = typed.and_then(|typed| typed.field(name));
                Some(Value::Array(merge_list(typed, old, new)?))
            }
            (_, new) => plain(new, true),
        };
        if let Some(merged) = merged {
            old.insert(name.clone(), merged);
        }
    }
    Ok(old)
}

/// Drops what `$retainKeys` does not name.
fn retain(old: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    let Some(keys) = patch.get(RETAIN) else { return Ok(()) };
    let keys: Vec<&str> = list_of(keys)?.iter().filter_map(Value::as_str).collect();
    let stray = patch.iter().any(|(name, value)| {
        !value.is_null() && !name.starts_with('$') && !keys.contains(&name.as_str())
    });
    if stray {
        return Err("invalid patch format of retainKeys".to_owned());
    }
    old.retain(|name, _| keys.contains(&name.as_str()));
    Ok(())
}

/// Merges one list and puts it into the order the patch asks for.
fn reorder(
    typed: Option<Typed<'_>>,
    old: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    field: &str,
    order: &Value,
) -> Result<(), String> {
    let order = list_of(order)?;
    let typed = typed.and_then(|typed| typed.field(field));
    let (merge, _) = rules(typed);
    let before = old.get(field).and_then(Value::as_array).cloned();
    let merged = match (before.clone(), patch.get(field).and_then(Value::as_array)) {
        (None, None) => return Ok(()),
        (Some(before), None) => before,
        (None, Some(new)) => new.iter().filter_map(|one| plain(one, false)).collect(),
        (Some(before), Some(new)) => merge_list(typed, before, new)?,
    };
    let before = before.unwrap_or_default();
    old.insert(
        field.to_owned(),
        Value::Array(in_order(merged, order, &before, merge.key.as_deref())),
    );
    Ok(())
}

/// How a list merges, and the type of its items.
fn rules<'a>(typed: Option<Typed<'a>>) -> (Merge, Option<Typed<'a>>) {
    match typed {
        None => (Merge::default(), None),
        Some(typed) => {
            let declared = &typed.declared().merge;
            let merge = if declared.merge { declared } else { &typed.schema().merge };
            (merge.clone(), Some(typed.item()))
        }
    }
}

fn merge_list(
    typed: Option<Typed<'_>>,
    old: Vec<Value>,
    patch: &[Value],
) -> Result<Vec<Value>, String> {
    let (merge, item) = rules(typed);
    if !merge.merge {
        return Ok(patch.to_vec());
    }
    let objects = patch.iter().chain(&old).any(Value::is_object);
    if !objects {
        let mut merged = old.clone();
        for one in patch {
            if !merged.contains(one) {
                merged.push(one.clone());
            }
        }
        return Ok(in_order(merged, patch, &old, None));
    }
    let Some(key) = merge.key.as_deref() else {
        return Err("cannot merge lists without merge key".to_owned());
    };
    let (old, patch) = special(old, patch, key)?;
    let mut merged = old.clone();
    for one in &patch {
        let (Value::Object(new), Some(value)) = (one, one.get(key)) else {
            return Err(no_key(one, key));
        };
        match merged.iter_mut().find(|known| known.get(key) == Some(value)) {
            Some(known) => {
                let Value::Object(map) = std::mem::take(known) else {
                    return Err(no_key(one, key));
                };
                *known = Value::Object(merge_map(item, map, new)?);
            }
            None => merged.extend(plain(one, false)),
        }
    }
    Ok(in_order(merged, &patch, &old, Some(key)))
}

/// Takes items with a directive out of a patch's list: deletes, or replaces all.
fn special(
    mut old: Vec<Value>,
    patch: &[Value],
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), String> {
    let mut rest = Vec::new();
    let mut replace = false;
    for one in patch {
        match one.get(PATCH).map(|directive| directive.as_str().unwrap_or("")) {
            None => rest.push(one.clone()),
            Some("delete") => {
                let value = one.get(key).ok_or_else(|| no_key(one, key))?;
                old.retain(|known| known.get(key) != Some(value));
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err("merging lists cannot yet be specified in the patch".to_owned());
            }
            Some(other) => return Err(format!("unknown patch type found: {other}")),
        }
    }
    if replace {
        old.clear();
    }
    Ok((old, rest))
}

fn no_key(item: &Value, key: &str) -> String {
    format!("map: {} does not contain declared merge key: {key}", crate::decode::go_print(item))
}

/// The place of an item in an order, by its key or by itself.
fn place(order: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    order.iter().position(|one| match key {
        Some(key) => one.get(key).is_some() && one.get(key) == item.get(key),
        None => one == item,
    })
}

/// Items in the order asked for; those it does not name stay where they were relative to the others.
fn in_order(items: Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) -> Vec<Value> {
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(order, item, key).is_some());
    named.sort_by_key(|item| place(order, item, key));
    others.sort_by_key(|item| place(before, item, key));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut all = Vec::new();
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return all,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(one)) => {
                let places = (place(before, other, key), place(before, one, key));
                matches!(places, (Some(other), Some(one)) if other < one)
            }
        };
        all.extend(if other_first { others.next() } else { named.next() });
    }
}

/// A new value without directives; none when it asks to be deleted. `nulls`: those inside objects go too.
fn plain(value: &Value, nulls: bool) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            let directive = |name: &str| {
                name == RETAIN || name.starts_with(ORDER_OF) || name.starts_with(DELETE_FROM)
            };
            let kept = map.iter().filter(|(name, value)| {
                let goes = nulls && value.is_null();
                !goes && !directive(name)
            });
            let kept = kept.filter_map(|(name, value)| Some((name.clone(), plain(value, nulls)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(list) => {
            Some(Value::Array(list.iter().filter_map(|one| plain(one, nulls)).collect()))
        }
        other => Some(other.clone()),
    }
}

fn list_of(value: &Value) -> Result<&[Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| "a directive needs a list".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;
    use serde_json::json;

    fn pod(old: Value, patch: Value) -> Value {
        let typed = Typed::new(&builtin().of_kind("v1", "Pod").unwrap().schema);
        let mut object = json!({"spec": old});
        apply(typed, &mut object, &json!({"spec": patch})).unwrap();
        object["spec"].take()
    }

    #[test]
    fn containers_merge_by_name_and_ports_by_number() {
        let old = json!({"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 1, "name": "p"}]}, {"name": "b"}]});
        let new = pod(
            old,
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 2}, {"containerPort": 1, "hostPort": 5}]}]}),
        );
        let ports = json!([{"containerPort": 2}, {"containerPort": 1, "name": "p", "hostPort": 5}]);
        assert_eq!(
            new["containers"],
            json!([{"name": "a", "image": "x", "ports": ports}, {"name": "b"}])
        );
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let old = json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "volumes": [{"name": "v", "emptyDir": {}}]});
        let patch = json!({
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "b", "$patch": "delete"}, {"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}],
        });
        let new = pod(old.clone(), patch);
        assert_eq!(new["containers"], json!([{"name": "c", "image": "i"}, {"name": "a"}]));
        assert_eq!(new["volumes"], json!([{"name": "v", "hostPath": {"path": "/"}}]));
        let new = pod(old, json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}));
        assert_eq!(new["containers"], json!([{"name": "z"}]));
    }

    #[test]
    fn finalizers_merge_as_a_set() {
        let typed = Typed::new(&builtin().of_kind("v1", "Pod").unwrap().schema);
        let mut object = json!({"metadata": {"finalizers": ["a/a", "b/b"]}});
        apply(typed, &mut object, &json!({"metadata": {"finalizers": ["c/c"]}})).unwrap();
        let mut names: Vec<&str> = object["metadata"]["finalizers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["a/a", "b/b", "c/c"]);
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b/b"]}});
        apply(typed, &mut object, &patch).unwrap();
        assert_eq!(object["metadata"]["finalizers"].as_array().unwrap().len(), 2);
    }
}
