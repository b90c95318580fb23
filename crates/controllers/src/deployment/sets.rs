//! A deployment's ReplicaSets: which one is new, how many replicas they have.

use std::cmp::Ordering;

use apimachinery::Meta;
use serde_json::{Value, json};

use crate::fields::{Fields, share};

pub(super) const HASH: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// The letters of a template's hash: those that Kubernetes takes for random names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// What a deployment asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) replicas: i64,
    pub(super) max_surge: i64,
    pub(super) max_unavailable: i64,
    pub(super) rolling: bool,
}

impl Wanted {
    pub(super) fn of(deployment: &Value) -> Self {
        let replicas = deployment.int("spec/replicas").unwrap_or(1);
        let rolling = deployment.text("spec/strategy/type") != "Recreate";
        let quarter = json!("25%");
        let limit = |field: &str, up: bool| {
            let path = format!("spec/strategy/rollingUpdate/{field}");
            let given = Some(deployment.at(&path)).filter(|value| !value.is_null());
            share(given.unwrap_or(&quarter), replicas, up).unwrap_or(0).max(0)
        };
        let (max_surge, mut max_unavailable) = match rolling {
            true => (limit("maxSurge", true), limit("maxUnavailable", false)),
            false => (0, 0),
        };
        // Both may come to nothing when percentages are rounded: then nothing could ever move.
        if rolling && max_surge == 0 && max_unavailable == 0 {
            max_unavailable = 1;
        }
        Self { replicas, max_surge, max_unavailable: max_unavailable.min(replicas), rolling }
    }

    /// Pods that there may be at once.
    pub(super) fn most(&self) -> i64 {
        self.replicas + self.max_surge
    }
}

/// `spec.replicas` of a set.
pub(super) fn size(set: &Value) -> i64 {
    set.int("spec/replicas").unwrap_or(1)
}

/// `spec.replicas` of many.
pub(super) fn total<'a>(sets: impl IntoIterator<Item = &'a Value>) -> i64 {
    sets.into_iter().map(size).sum()
}

/// A count of the status of many.
pub(super) fn sum<'a>(sets: impl IntoIterator<Item = &'a Value>, path: &str) -> i64 {
    sets.into_iter().map(|set| set.count(path)).sum()
}

/// The older first.
pub(super) fn by_age(a: &Value, b: &Value) -> Ordering {
    let key =
        |set: &'_ Value| (set.text("metadata/creationTimestamp").to_owned(), set.name().to_owned());
    key(a).cmp(&key(b))
}

/// The revision that a set or deployment carries; 0 when none.
pub(super) fn revision(object: &Value) -> i64 {
    object.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The oldest set of exactly this template.
pub(super) fn newest_of<'a>(deployment: &Value, sets: &[&'a Value]) -> Option<&'a Value> {
    let template = plain(deployment.at("spec/template"));
    let mut fitting: Vec<&Value> =
        sets.iter().copied().filter(|set| plain(set.at("spec/template")) == template).collect();
    fitting.sort_by(|a, b| by_age(a, b));
    fitting.first().copied()
}

/// A template without its hash, and without fields that say nothing.
fn plain(template: &Value) -> Value {
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

/// The hash of a template: FNV-1a over its canonical text and the number of collisions, in letters that make no words.
pub(super) fn hash(template: &Value, collisions: Option<i64>) -> String {
    let mut text = plain(template).to_string();
    if let Some(collisions) = collisions {
        text.push_str(&collisions.to_string());
    }
    let fnv = text
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    fnv.to_string()
        .bytes()
        .map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()]))
        .collect()
}
