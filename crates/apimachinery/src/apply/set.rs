//! A set of paths: the fields that one manager owns.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::Step;
use crate::schema::Typed;

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    members: BTreeSet<Step>,
    below: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    /// The set of paths of fields.
    #[must_use]
    pub fn of(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let steps: Vec<Step> = path.iter().map(|name| Step::field(name)).collect();
            set.insert(&steps);
        }
        set
    }

    /// No path is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.below.values().all(Self::is_empty)
    }

    /// Adds a path; an empty one is nothing.
    pub fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.below.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Whether one step from here is in it.
    #[must_use]
    pub fn has(&self, step: &Step) -> bool {
        self.members.contains(step)
    }

    /// What it holds below a step.
    #[must_use]
    pub fn at(&self, step: &Step) -> Option<&Self> {
        self.below.get(step).filter(|set| !set.is_empty())
    }

    /// Paths of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut below = self.below.clone();
        for (step, set) in &other.below {
            let merged = below.get(step).map_or_else(|| set.clone(), |known| known.union(set));
            below.insert(step.clone(), merged);
        }
        Self { members: &self.members | &other.members, below }
    }

    /// Paths of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let pairs =
            self.below.iter().filter_map(|(step, set)| Some((step, set, other.below.get(step)?)));
        let below = pairs.map(|(step, set, than)| (step.clone(), set.intersection(than)));
        Self { members: &self.members & &other.members, below: full(below) }
    }

    /// Paths of this one that are not of the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let below = self.below.iter().map(|(step, set)| {
            let rest =
                other.below.get(step).map_or_else(|| set.clone(), |than| set.difference(than));
            (step.clone(), rest)
        });
        Self { members: &self.members - &other.members, below: full(below) }
    }

    /// The same without the other's paths and all that is below them.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let kept = self.below.iter().filter(|(step, _)| !other.members.contains(step));
        let below = kept.map(|(step, set)| {
            let rest = other.below.get(step).map_or_else(|| set.clone(), |than| set.without(than));
            (step.clone(), rest)
        });
        Self { members: &self.members - &other.members, below: full(below) }
    }

    /// The same with all fields on the way that the schema names.
    #[must_use]
    pub fn with_named(&self, typed: Typed<'_>) -> Self {
        let mut members = self.members.clone();
        let mut below = BTreeMap::new();
        for (step, set) in &self.below {
            let inner = match step {
                Step::Field(name) => {
                    if typed.known(name).is_some() {
                        members.insert(step.clone());
                    }
                    typed.field(name).unwrap_or_else(Typed::any)
                }
                _ => typed.item(),
            };
            below.insert(step.clone(), set.with_named(inner));
        }
        Self { members, below }
    }

    /// Calls for each path.
    pub fn each(&self, mut call: impl FnMut(&[Step])) {
        self.walk(&mut Vec::new(), &mut call);
    }

    fn walk(&self, path: &mut Vec<Step>, call: &mut impl FnMut(&[Step])) {
        for step in &self.members {
            path.push(step.clone());
            call(path);
            path.pop();
        }
        for (step, set) in &self.below {
            path.push(step.clone());
            set.walk(path, call);
            path.pop();
        }
    }

    /// As `fieldsV1`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(self.to_map())
    }

    fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        for step in &self.members {
            map.insert(step.encode(), Value::Object(Map::new()));
        }
        for (step, set) in self.below.iter().filter(|(_, set)| !set.is_empty()) {
            let mut inner = set.to_map();
            if self.members.contains(step) {
                inner.insert(".".to_owned(), Value::Object(Map::new()));
            }
            map.insert(step.encode(), Value::Object(inner));
        }
        map
    }

    /// Reads `fieldsV1`; none if it is no such thing.
    #[must_use]
    pub fn from_json(json: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (name, inner) in json.as_object()? {
            if name == "." {
                continue;
            }
            let step = Step::decode(name)?;
            let below = Self::from_json(inner)?;
            let itself = below.is_empty() || inner.get(".").is_some();
            if itself {
                set.members.insert(step.clone());
            }
            if !below.is_empty() {
                set.below.insert(step, below);
            }
        }
        Some(set)
    }
}

fn full(below: impl Iterator<Item = (Step, FieldSet)>) -> BTreeMap<Step, FieldSet> {
    below.filter(|(_, set)| !set.is_empty()).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    pub(crate) fn any_set() -> impl Strategy<Value = FieldSet> {
        let step = prop_oneof![
            "[a-c]{1}".prop_map(|name| Step::field(&name)),
            (0..3_i64)
                .prop_map(|n| Step::Key(vec![("n".into(), json!(n)), ("p".into(), json!("TCP"))])),
            "[x-z]".prop_map(|text| Step::Item(json!(text))),
            (0..2_i64).prop_map(Step::Index),
        ];
        prop::collection::vec(prop::collection::vec(step, 1..4), 0..8).prop_map(|paths| {
            let mut set = FieldSet::default();
            for path in paths {
                set.insert(&path);
            }
            set
        })
    }

    proptest! {
        #[test]
        fn fields_v1_round_trips(set in any_set()) {
            prop_assert_eq!(FieldSet::from_json(&set.to_json()).unwrap(), set);
        }

        #[test]
        fn sets_keep_the_laws_of_sets(a in any_set(), b in any_set()) {
            prop_assert_eq!(a.union(&b), b.union(&a));
            prop_assert_eq!(a.intersection(&b), b.intersection(&a));
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
            prop_assert!(a.difference(&b).intersection(&b).is_empty());
            prop_assert!(a.difference(&a).is_empty());
        }
    }
}
