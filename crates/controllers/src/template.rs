//! Pod templates as values to compare: which fields count, and a short name for what they say.

use serde_json::Value;

/// The label that deployments add to a template; it is no part of what was asked for.
pub(crate) const HASH: &str = "pod-template-hash";
/// The letters of a template's hash: those that Kubernetes takes for random names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A template without its hash, and without fields that say nothing.
pub(crate) fn plain(template: &Value) -> Value {
    let mut template = tidy(template);
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
        if labels.is_empty()
            && let Some(metadata) = template["metadata"].as_object_mut()
        {
            metadata.remove("labels");
        }
    }
    template
}

fn tidy(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(name, value)| (name.clone(), tidy(value)));
            Value::Object(kept.filter(|(_, value)| !says_nothing(value)).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(tidy).collect()),
        other => other.clone(),
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// A short name of a template: FNV-1a over its canonical text and the number of collisions, in letters that make no words.
pub(crate) fn hash(template: &Value, collisions: Option<i64>) -> String {
    let mut text = plain(template).to_string();
    if let Some(collisions) = collisions {
        text.push_str(&collisions.to_string());
    }
    let fnv = text
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let letter = |digit: u8| char::from(LETTERS[usize::from(digit) % LETTERS.len()]);
    fnv.to_string().bytes().map(letter).collect()
}
