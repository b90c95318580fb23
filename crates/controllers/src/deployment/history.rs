//! Revisions of a deployment: what each set remembers, and how many are kept.

use apimachinery::Meta;
use serde_json::{Map, Value, json};

use super::plan::Rollout;
use super::sets::{DESIRED, MAX, REVISION, REVISION_HISTORY, revision, size};
use crate::action::Action;
use crate::fields::Fields;
use crate::resource::REPLICA_SETS;

/// Old sets that are kept, unless the deployment says otherwise.
const DEFAULT_LIMIT: i64 = 10;
/// A limit that means all.
const NO_LIMIT: i64 = i32::MAX as i64;
/// The longest list of earlier revisions, in characters.
const LONGEST_HISTORY: usize = 2000;
/// Annotations of a deployment that its sets do not inherit.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
];

/// The annotations that a deployment's sets take over.
pub(super) fn inherited(deployment: &Value) -> Map<String, Value> {
    let all = deployment.map("metadata/annotations").iter();
    all.filter(|(name, _)| !OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Makes an existing set the newest revision, if it is not; a revision that it had before is remembered.
pub(super) fn promote(set: &Value, next: i64, annotations: &mut Map<String, Value>) {
    let had = revision(set);
    if had >= next {
        return;
    }
    annotations.insert(REVISION.to_owned(), json!(next.to_string()));
    if set.annotation(REVISION).is_none() {
        return;
    }
    let mut history: Vec<&str> =
        set.annotation(REVISION_HISTORY).into_iter().flat_map(|text| text.split(',')).collect();
    let had = had.to_string();
    history.push(&had);
    while history.join(",").len() > LONGEST_HISTORY {
        history.remove(0);
    }
    annotations.insert(REVISION_HISTORY.to_owned(), json!(history.join(",")));
}

impl Rollout<'_> {
    /// Deletes the oldest sets without pods, beyond the limit.
    pub(super) fn clean_up(&mut self) {
        let limit = self.deployment.int("spec/revisionHistoryLimit").unwrap_or(DEFAULT_LIMIT);
        if limit == NO_LIMIT {
            return;
        }
        let mut alive: Vec<&Value> = self.old.iter().filter(|set| !set.is_terminating()).collect();
        alive.sort_by_key(|set| revision(set));
        let excess = i64::try_from(alive.len()).unwrap_or(0) - limit;
        let idle = |set: &&&Value| {
            size(set) == 0
                && set.count("status/replicas") == 0
                && set.generation() <= set.count("status/observedGeneration")
        };
        let gone = alive.iter().take(usize::try_from(excess).unwrap_or(0)).filter(idle);
        self.actions.extend(gone.map(|set| Action::delete(REPLICA_SETS, set)));
    }
}
