//! A deployment's ReplicaSets: which one is new, how many replicas they have.

use std::cmp::Ordering;

use apimachinery::Meta;
use serde_json::{Value, json};

use crate::fields::{Fields, share};
use crate::template::plain;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

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
